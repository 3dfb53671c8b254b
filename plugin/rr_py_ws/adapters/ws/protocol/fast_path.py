"""The frames that nearly all clients send, read without the protocol.

A join, a leave and the answer to a ping arrive as one whole frame in one read. Reading such a frame is a
comparison and one exclusive or. So is a text of many topics, or one of several in a read. Everything else is
left to the protocol, which knows all the rules.
"""

from __future__ import annotations

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import apply_mask  # type: ignore[attr-defined]  # in C where that was built

from rr_py_ws.adapters.ws.protocol.deflate import Inflater
from rr_py_ws.native import twin

_TEXT = 0x81
_DEFLATED_TEXT = 0xC1
_PONG = 0x8A
_MASKED = 0x80
_HEADER = 6
_LONGEST = 125
_LONGER_HEADER = 8
_IN_TWO_BYTES = 126


@twin
def read_small_frame(data: bytes) -> bytes | None:
    """Read one final, masked text or pong frame of at most 125 bytes (RFC 6455 section 5.2).

    Args:
        data: what arrived, beginning with a frame.

    Returns:
        the text, which is UTF-8 and not empty; nothing (`b""`) for a pong; None when this is another kind of
        frame, or a bad one, or less or more than one.
    """
    size = len(data) - _HEADER
    if not 0 <= size <= _LONGEST or data[1] != _MASKED | size:
        return None
    if data[0] == _PONG:
        return b""
    if data[0] != _TEXT or not size:
        return None
    text = _unmask(data)
    try:
        text.decode()
    except UnicodeDecodeError:
        return None  # the protocol says in its close frame what is wrong
    return text


def read_text_frame(data: bytes, at: int, limit: int) -> tuple[int, bytes] | None:
    """Read one final, masked text frame of less than 64 KiB.

    Args:
        data: what arrived.
        at: where the frame begins.
        limit: bytes that the text may have.

    Returns:
        the bytes of the frame, and the text, which is UTF-8 and not empty; None when this is another kind of
        frame, or a bad one, or not all there.
    """
    head = data[at : at + _LONGER_HEADER]
    if len(head) < _LONGER_HEADER or head[0] != _TEXT:
        return None
    size, begin, least = head[1] - _MASKED, at + _HEADER, 1
    if size == _IN_TWO_BYTES:
        size, begin, least = head[2] << 8 | head[3], at + _LONGER_HEADER, _LONGEST + 1
    elif size > _LONGEST:
        return None
    end = begin + size
    if not least <= size <= limit or end > len(data):
        return None
    text = apply_mask(data[begin:end], data[begin - 4 : begin])
    try:
        text.decode()
    except UnicodeDecodeError:
        return None  # the protocol says in its close frame what is wrong
    return end - at, text


def inflate_small_frame(data: bytes, limit: int) -> bytes | None:
    """Read the same, if it is a compressed text (RFC 7692), which may have `limit` bytes."""
    size = len(data) - _HEADER
    if not 0 <= size <= _LONGEST or data[0] != _DEFLATED_TEXT or data[1] != _MASKED | size:
        return None
    try:
        text = Inflater().inflate(_unmask(data), limit, last=True)
        text.decode()
    except (UnicodeDecodeError, PayloadTooBig, ProtocolError):
        return None
    return text or None


def _unmask(frame: bytes) -> bytes:
    """Return the payload. The mask is one number as long as it: one operation, not one for each byte."""
    size = len(frame) - _HEADER
    mask = (frame[2:_HEADER] * (size // 4 + 1))[:size]
    bits = int.from_bytes(frame[_HEADER:], "big") ^ int.from_bytes(mask, "big")
    return bits.to_bytes(size, "big")
