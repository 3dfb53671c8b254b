"""Byte sequences that are UTF-8 and that are not (RFC 3629; the Unicode standard, table 3-7)."""

from __future__ import annotations

from typing import NamedTuple

VALID = {
    "two bytes": "é",
    "three bytes": "€",
    "four bytes": "😀",
    "words": "κόσμε Hello-µ@ßöäüàá-UTF-8!!",
    "all lengths": "aé€😀😀€éa",
    "combining": "e\u0301\u0327",
    "joined emoji": "👩\u200d👩\u200d👧",
    "right to left": "שלום \u202eabc\u202c",
    "byte order mark": "\ufeffa",
    "first of one byte that needs no escape": " ",
    "last of one byte": "\u007f",
    "first of two bytes": "\u0080",
    "last of two bytes": "\u07ff",
    "first of three bytes": "\u0800",
    "before the surrogates": "\ud7ff",
    "after the surrogates": "\ue000",
    "replacement character": "\ufffd",
    "last of three bytes": "\uffff",
    "first of four bytes": "\U00010000",
    "last of all": "\U0010ffff",
    "private use": "\ue000\uf8ff\U000f0000\U00100000",
    **{f"noncharacter U+{code:04X}": chr(code) for code in (0xFDD0, 0xFDEF)},
    **{
        f"noncharacter U+{plane << 16 | last:04X}": chr(plane << 16 | last)
        for plane in range(0x11)
        for last in (0xFFFE, 0xFFFF)
    },
}


class Bad(NamedTuple):
    """What is no UTF-8.

    Attributes:
        data: the bytes, with an ASCII character after those that are only incomplete.
        seen: how many of them are enough to know.
    """

    data: bytes
    seen: int


def _bad(text: str, seen: int) -> Bad:
    return Bad(bytes.fromhex(text), seen)


INVALID = {
    "first continuation byte": _bad("80", 1),
    "last continuation byte": _bad("bf", 1),
    "two continuation bytes": _bad("80bf", 1),
    "all continuation bytes": Bad(bytes(range(0x80, 0xC0)), 1),
    "one continuation byte too many": _bad("c3a980", 3),
    "FE": _bad("fe", 1),
    "FF": _bad("ff", 1),
    "FE FE FF FF": _bad("fefeffff", 1),
    "two bytes without the second": _bad("c320", 2),
    "three bytes without the second": _bad("e220", 2),
    "three bytes without the third": _bad("e28220", 3),
    "four bytes without the second": _bad("f020", 2),
    "four bytes without the third": _bad("f09f20", 3),
    "four bytes without the fourth": _bad("f09f9820", 4),
    "a character inside another": _bad("e282c3a9", 3),
    "five bytes": _bad("f888808080", 1),
    "six bytes": _bad("fc8480808080", 1),
    "five bytes without the last": _bad("f888808020", 1),
    "overlong slash in two bytes": _bad("c0af", 1),
    "overlong slash in three bytes": _bad("e080af", 2),
    "overlong slash in four bytes": _bad("f08080af", 2),
    "overlong slash in five bytes": _bad("f8808080af", 1),
    "overlong slash in six bytes": _bad("fc80808080af", 1),
    "overlong NUL in two bytes": _bad("c080", 1),
    "overlong NUL in three bytes": _bad("e08080", 2),
    "overlong NUL in four bytes": _bad("f0808080", 2),
    "largest overlong of two bytes": _bad("c1bf", 1),
    "largest overlong of three bytes": _bad("e09fbf", 2),
    "largest overlong of four bytes": _bad("f08fbfbf", 2),
    # Python's decoder looks at the third byte of a surrogate before it decides; the second would be enough.
    "surrogate D800": _bad("eda080", 3),
    "surrogate DB7F": _bad("edadbf", 3),
    "surrogate DB80": _bad("edae80", 3),
    "surrogate DBFF": _bad("edafbf", 3),
    "surrogate DC00": _bad("edb080", 3),
    "surrogate DFFF": _bad("edbfbf", 3),
    "surrogate pair": _bad("eda080edb080", 3),
    "last surrogate pair": _bad("edafbfedbfbf", 3),
    "above U+10FFFF": _bad("f4908080", 2),
    "F5": _bad("f5808080", 1),
    "F7": _bad("f7bfbfbf", 1),
    **{f"lonely {first:02X}": Bad(bytes([first, 0x20]), 1) for first in (0xC0, 0xC1, 0xF5, 0xF8, 0xFC)},
    **{f"lonely {first:02X}": Bad(bytes([first, 0x20]), 2) for first in (0xC2, 0xDF, 0xE0, 0xEF, 0xF0, 0xF4)},
}

INCOMPLETE = {
    "one of two": b"\xc3",
    "one of three": b"\xe2",
    "two of three": b"\xe2\x82",
    "one of four": b"\xf0",
    "two of four": b"\xf0\x9f",
    "three of four": b"\xf0\x9f\x98",
}
