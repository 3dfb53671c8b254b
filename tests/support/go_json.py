"""Strings as Go's JSON encoders write them: slow, and written down from their rules, to compare with."""

from __future__ import annotations

ESCAPES = {0x22: r"\"", 0x5C: r"\\", 0x0A: r"\n", 0x0D: r"\r", 0x09: r"\t"}
SIX = {*range(0x20), *b"<>&", 0x2028, 0x2029} - ESCAPES.keys()


def go_decode(data: bytes) -> list[int | None]:
    """Decode UTF-8 as Go's utf8.DecodeRune does, written down from RFC 3629; None is an invalid byte.

    What is invalid costs one byte, however many bytes would have belonged to it.
    """
    points: list[int | None] = []
    at = 0
    while at < len(data):
        first = data[at]
        size = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        rest = data[at + 1 : at + size]
        point = first if size == 1 else first & (0x7F >> size)
        for byte in rest:
            point = point << 6 | byte & 0x3F
        smallest = (0, 0x80, 0x800, 0x10000)[size - 1]
        if (
            0x80 <= first < 0xC0
            or first >= 0xF8
            or len(rest) < size - 1
            or any(byte & 0xC0 != 0x80 for byte in rest)
            or not smallest <= point <= 0x10FFFF
            or 0xD800 <= point <= 0xDFFF
        ):
            points.append(None)
            at += 1
        else:
            points.append(point)
            at += size
    return points


def go_encode(data: bytes) -> bytes:
    """Write a JSON string character by character, by the table of what RoadRunner's JSON library does."""
    out = '"'
    for point in go_decode(data):
        if point is None:
            out += r"\ufffd"
        elif point in SIX:
            out += f"\\u{point:04x}"
        else:
            out += ESCAPES.get(point, chr(point))
    return (out + '"').encode()
