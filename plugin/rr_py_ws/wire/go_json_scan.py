"""The bytes of JSON as RoadRunner's decoder goes over them: space, words, texts, and what it steps over.

Each function gets the bytes, which end with a NUL, and a position, and says where what it read ends.
"""

from __future__ import annotations

import re
from typing import Any

from rr_py_ws.errors import RPCError

_MAX_DEPTH = 10_000
_SPACE = re.compile(rb"[ \t\n\r]*")
_NUMBER = re.compile(rb"[-0-9][-+.eE0-9]*")
_TEXT = re.compile(rb'[^"\\\0]*')
_ESCAPES = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))
_ESCAPE = re.compile(rb"\\(?:u(....)(?:\\u(?=[dD][c-fC-F])(....))?|(.))", re.DOTALL)
_HEX = b"0123456789abcdefABCDEF"
_SKIPPED = re.compile(rb'["{}\[\]\0]')
_SKIPPED_TEXT = re.compile(rb'(?:[^"\\\0]|\\[^\0])*', re.DOTALL)
LITERALS = {ord("t"): (b"true", True), ord("f"): (b"false", False), ord("n"): (b"null", None)}


def unexpected_end(where: str) -> RPCError:
    """Return the error for what ends too early, or is of another kind."""
    return RPCError(f"json: {where} unexpected end of JSON input")


def invalid_character(char: int, where: str) -> RPCError:
    """Return the error for a character that does not belong there."""
    shown = f" {chr(char)}" if char else ""
    return RPCError(f"json: invalid character{shown} as {where}")


def no_beginning(char: int) -> RPCError:
    """Return the error for what no value of the type begins with."""
    return RPCError(f"invalid character '{chr(char)}' looking for beginning of value")


def skip_space(buffer: bytes, at: int) -> int:
    """Return where the next thing begins."""
    found = _SPACE.match(buffer, at)
    assert found is not None  # it matches nothing, too
    return found.end()


def deeper(buffer: bytes, at: int, depth: int) -> int:
    """Return the depth of what is inside.

    Raises:
        RPCError: that is too deep.
    """
    if depth >= _MAX_DEPTH:
        raise RPCError(f'invalid character "{chr(buffer[at])}" exceeded max depth')
    return depth + 1


def read_literal(buffer: bytes, at: int) -> tuple[Any, int]:
    """Read true, false or null; the first character is one of `LITERALS`.

    Raises:
        RPCError: it is another word.
    """
    word, value = LITERALS[buffer[at]]
    if at + len(word) > len(buffer):
        raise unexpected_end(word.decode())
    for place, expected in enumerate(word):
        if buffer[at + place] != expected:
            raise invalid_character(buffer[at + place], word.decode())
    return value, at + len(word)


def read_raw_text(buffer: bytes, start: int) -> tuple[bytes, int]:
    """Return what is between quotes, and where that ends; its escapes are sound then.

    Raises:
        RPCError: it has no end, or an escape is not sound.
    """
    at = start
    while True:
        found = _TEXT.match(buffer, at)
        assert found is not None  # it matches nothing, too
        at = found.end()
        if buffer[at] == ord('"'):
            return buffer[start:at], at + 1
        if not buffer[at]:
            raise unexpected_end("string")
        at += 1
        if buffer[at] == ord("u"):
            if at + 5 >= len(buffer):
                raise unexpected_end("escaped string")
            for char in buffer[at + 1 : at + 5]:
                if char not in _HEX:
                    text = f"json: invalid character {chr(char)} in \\u hexadecimal character escape"
                    raise RPCError(text)
            at += 5
        elif buffer[at] in _ESCAPES:
            at += 1
        else:
            raise unexpected_end("escaped string")


def unescape(raw: bytes) -> bytes:
    """Return what is between quotes without its escapes, which are sound."""

    def replace(found: re.Match[bytes]) -> bytes:
        high, low, short = found.groups()
        if short is not None:
            return bytes((_ESCAPES[short[0]],))
        text = _character(int(high, 16)) if low is None else _pair(int(high, 16), int(low, 16))
        return text.encode()

    return _ESCAPE.sub(replace, raw) if b"\\" in raw else raw


def _character(code: int) -> str:
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)


def _pair(high: int, low: int) -> str:
    if 0xD800 <= high < 0xDC00:
        return chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)
    return _character(high) + _character(low)


def skip_text(buffer: bytes, at: int, where: str) -> tuple[bytes, int]:
    """Step over a text; return what is between its quotes, and where it ends.

    Raises:
        RPCError: it has no end; the error says where.
    """
    found = _SKIPPED_TEXT.match(buffer, at)
    assert found is not None  # it matches nothing, too
    if buffer[found.end()] != ord('"'):
        raise unexpected_end(where)
    return found[0], found.end() + 1


def skip_value(buffer: bytes, at: int, depth: int) -> int:
    """Step over a value, looking only at what is needed to find its end.

    Raises:
        RPCError: it has none.
    """
    at = skip_space(buffer, at)
    char = buffer[at]
    if char == ord("{"):
        return _skip_nested(buffer, at + 1, depth + 1, b"{}", "object")
    if char == ord("["):
        return _skip_nested(buffer, at + 1, depth + 1, b"[]", "array")
    if char == ord('"'):
        return skip_text(buffer, at + 1, "string of object")[1]
    if char in LITERALS:
        return read_literal(buffer, at)[1]
    found = _NUMBER.match(buffer, at)
    if found is None:
        raise unexpected_end("null")
    return found.end()


def _skip_nested(buffer: bytes, at: int, depth: int, brackets: bytes, kind: str) -> int:
    """Step over an object or list; brackets of the other kind are not asked to match."""
    is_open = 1
    while True:
        found = _SKIPPED.search(buffer, at)
        assert found is not None  # the buffer ends with NUL
        char, at = found[0], found.end()
        if char == b'"':
            at = skip_text(buffer, at, "string of object")[1]
        elif char == b"\0":
            raise unexpected_end(f"{kind} of object")
        elif char in b"{[":
            is_open += char[0] == brackets[0]
            depth = deeper(buffer, found.start(), depth)
        else:
            depth -= 1
            is_open -= char[0] == brackets[1]
            if not is_open:
                return at
