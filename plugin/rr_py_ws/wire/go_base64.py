"""Base64 as Go's `encoding/base64` reads it: line ends are skipped, and nothing else is."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterator

_PIECE = 256 * 1024
"""Digits that are decoded at a time, about a millisecond; whole quanta."""
_DIGITS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def decode_base64(text: str) -> bytes:
    """Decode a text.

    Raises:
        ValueError: it is no base64.
    """
    return b"".join(decode_pieces(text))


def decode_pieces(text: str) -> Iterator[bytes]:
    """Decode a text, a piece at a time. What is wrong behind a piece shows only when that is decoded.

    Raises:
        ValueError: it is no base64.
    """
    text = text.replace("\r", "").replace("\n", "")
    size = len(text)
    if size % 4:  # Python takes any padding behind a text that needs none
        raise ValueError("incomplete")
    if text.endswith("==="):
        raise ValueError("more padding than there can be")
    if size <= _PIECE:
        yield a2b_base64(text, strict_mode=True)
        return
    if text.find("=", 0, size - 4) >= 0:
        raise ValueError("padding before the end")
    for start in range(0, size, _PIECE):
        yield a2b_base64(text[start : start + _PIECE], strict_mode=True)


def error_position(text: bytes) -> int:
    """Return the position that Go names in its error; -1 when there is none."""
    have = 0  # digits of the quantum, which is four
    size = len(text)
    for at, char in enumerate(text):
        if char in _DIGITS:
            have = (have + 1) % 4
        elif char == ord("="):
            if have < 2:
                return at
            rest = [place for place in range(at + 1, size) if text[place] not in b"\r\n"]
            if have == 2:
                if not rest:
                    return size
                if text[rest[0]] != ord("="):
                    return rest[0] - 1
                del rest[0]
            return rest[0] if rest else -1
        elif char not in b"\r\n":
            return at
    return size - have if have else -1
