"""The frames that nearly all clients send, read without the protocol.

A join, a leave and the answer to a ping arrive as one whole frame in one read. Reading such a frame is a
comparison and one exclusive or. Everything else is left to the protocol, which knows all the rules.
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
    opcode = data[0]
    if opcode == _PONG:
        return b""
    if not (opcode == _TEXT and size) and not (opcode == _DEFLATED_TEXT and inflate_to):
        return None
    # The mask as one number as long as the payload: one operation instead of one for each byte.
    mask = (data[2:_HEADER] * (size // 4 + 1))[:size]
    bits = int.from_bytes(data[_HEADER:], "big") ^ int.from_bytes(mask, "big")
    text = bits.to_bytes(size, "big")
    try:
        if opcode == _DEFLATED_TEXT:
            text = Inflater().inflate(text, inflate_to, last=True)
        text.decode()
    except (UnicodeDecodeError, PayloadTooBig, ProtocolError):
        return None  # the protocol says in its close frame what is wrong
    return text or None
