"""The frames that nearly all clients send, read without a protocol core.

A join, a leave and the answer to a ping arrive as one whole frame in one read. Reading such a frame is a
comparison and one exclusive or. Everything else is left to those who know all the rules.
"""

from __future__ import annotations

_TEXT = 0x81
_PONG = 0x8A
_MASKED = 0x80
_HEADER = 6
_LONGEST = 125


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
    if data[0] == _TEXT and size:
        mask = data[2:_HEADER] * (size // 4 + 1)
        bits = int.from_bytes(data[_HEADER:], "big") ^ int.from_bytes(mask[:size], "big")
        text = bits.to_bytes(size, "big")
        return text if _is_utf8(text) else None
    return b"" if data[0] == _PONG else None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
