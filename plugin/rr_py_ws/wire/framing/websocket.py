"""WebSocket frames as a server sends them (RFC 6455 section 5.2)."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

FIN = 0x80
RSV1 = 0x40
"""Set on the first frame of a compressed message (RFC 7692 section 6)."""

_SHORT = Struct("!BB")
_MEDIUM = Struct("!BBH")
_LONG = Struct("!BBQ")
_HEAD_SIZES = {126: _MEDIUM.size, 127: _LONG.size}


class Opcode(IntEnum):
    """RFC 6455 section 5.2."""

    TEXT = 1
    BINARY = 2
    PING = 9


def server_frame(opcode: int, payload: bytes) -> bytes:
    """Encode one unfragmented, unmasked frame with the shortest form of its length.

    Args:
        opcode: with `RSV1` added when the payload is compressed.
        payload: any bytes.
    """
    return frame_head(opcode, len(payload)) + payload


def frame_head(opcode: int, length: int) -> bytes:
    """Encode what precedes a payload of so many bytes; see `server_frame`."""
    if length < 126:
        return _SHORT.pack(FIN | opcode, length)
    if length < 65536:
        return _MEDIUM.pack(FIN | opcode, 126, length)
    return _LONG.pack(FIN | opcode, 127, length)


def frame_payload(frame: bytes) -> memoryview:
    """Return the payload of a frame that `server_frame` has made, without copying it."""
    return memoryview(frame)[_HEAD_SIZES.get(frame[1], _SHORT.size) :]
