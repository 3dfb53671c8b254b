"""The frames that nearly all clients send, read without a protocol core.

A join, a leave and the answer to a ping arrive as one whole frame in one read. Reading such a frame is a
comparison and one exclusive or. Everything else is left to those who know all the rules.
"""

from __future__ import annotations

from websockets.exceptions import PayloadTooBig, ProtocolError

from rr_py_ws.adapters.ws.protocol.deflate import Inflater

_TEXT = 0x81
_DEFLATED_TEXT = 0xC1
_PONG = 0x8A
_MASKED = 0x80
_HEADER = 6
_LONGEST = 125


def read_small_frame(data: bytes, inflate_to: int = 0) -> bytes | None:
    """Read one final, masked text or pong frame of at most 125 bytes (RFC 6455 section 5.2).

    Args:
        data: what arrived, beginning with a frame.
        inflate_to: bytes that a compressed text may have; 0 when compression was not agreed on.

    Returns:
        the text, which is UTF-8 and not empty; nothing (`b""`) for a pong; None when this is another kind of
        frame, or a bad one, or less or more than one.
    """
    size = len(data) - _HEADER
    if not 0 <= size <= _LONGEST or data[1] != _MASKED | size:
        return None
    if data[0] == _TEXT and size:
        text = _unmask(data, size)
        return text if _is_utf8(text) else None
    if data[0] == _DEFLATED_TEXT and inflate_to:
        text = _inflate(_unmask(data, size), inflate_to)
        return text if text and _is_utf8(text) else None
    return b"" if data[0] == _PONG else None


def _unmask(data: bytes, size: int) -> bytes:
    mask = data[2:_HEADER] * (size // 4 + 1)
    bits = int.from_bytes(data[_HEADER:], "big") ^ int.from_bytes(mask[:size], "big")
    return bits.to_bytes(size, "big")


def _inflate(data: bytes, limit: int) -> bytes:
    """Decompress a whole message; nothing when that is not possible."""
    try:
        return Inflater().inflate(data, limit, last=True)
    except (PayloadTooBig, ProtocolError):
        return b""


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
