"""How many elements an encoded argument has, found out before anything is decoded.

A decoder makes hundreds of bytes out of an element of one or two: of 8 MiB that hold four million empty
messages it makes gigabytes. So what is large is counted first, without making anything, and in steps, so that
others can have their turns in between. An element is a field in protobuf, a value or a key in msgpack, and
in JSON a comma or an opening bracket, also inside a text. Where the bytes break the rules of the codec the
count ends: the decoder stops there, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from rr_py_ws.errors import RPCError
from rr_py_ws.wire.goridge import Flag

STEP = 512
"""Elements that are counted at a time; about half a millisecond."""
_CHUNK = 64 * 1024
"""Bytes of JSON that are looked through at a time."""
_LONGEST_VARINT = 10
_FIXED_SIZES = {1: 8, 5: 4}
_GROUPS = {3: 1, 4: -1}
_MESSAGE_TAG = 0x0A  # field 1, length-delimited: `messages` in the requests of both schemas
_FIELD_TAGS = (0x12, 0x1A, 0x22)  # fields 2 to 4, length-delimited: broker, topics, payload
_FEW_FIELDS = 8

# The msgpack types that are in none of the ranges of small ones: how many bytes follow,
_NUMBERS = dict(zip(range(0xCA, 0xD4), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True))
_FIXED = {**dict.fromkeys(range(0xC0, 0xC4), 0), **_NUMBERS, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
# or of how many bytes the length is that follows: of binary, extensions (and a byte for their type) and text;
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXTENSIONS = (0xC7, 0xC8, 0xC9)
# of lists and maps, with the number of elements of each entry.
_ENTRIES = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def is_one_message(codec: Flag, body: bytes) -> bool:
    """Whether an argument is one message with a few topics, as nearly all large ones are.

    It may be one when this is False: only what PHP's library writes is recognized, a message of fields in
    their order that ends with its payload. That takes a fifth of the time of counting.
    """
    if codec is not Flag.PROTO or not body or body[0] != _MESSAGE_TAG:
        return False
    try:
        length, at = _varint(body, 1)
        if at + length != len(body):
            return False
        for _ in range(_FEW_FIELDS):
            if body[at] not in _FIELD_TAGS:
                return False
            length, at = _varint(body, at + 1)
            at += length
            if at >= len(body):
                return at == len(body)
    except (IndexError, ValueError):
        pass
    return False


def count_elements(codec: Flag, body: bytes) -> Iterator[int]:
    """Count the elements of an argument; yields how many there are so far, and in the end how many there are.

    Raises:
        RPCError: a list or map of msgpack announces more than can follow. Its decoder would make room for it.
    """
    if codec is Flag.PROTO:
        return _count_proto(body)
    if codec is Flag.JSON:
        return _count_json(body)
    if codec is Flag.MSGPACK:
        return _count_msgpack(body)
    return iter((0,))  # nothing else is decoded


def _count_json(body: bytes) -> Iterator[int]:
    found = 1
    for start in range(0, len(body), _CHUNK):
        end = start + _CHUNK
        # What is not the first in its list or map has a comma before it, what is has a bracket.
        found += sum(body.count(mark, start, end) for mark in (b",", b"[", b"{"))
        yield found


def _count_proto(body: bytes) -> Iterator[int]:
    at = end_of_message = groups = found = 0
    size = len(body)
    try:
        while at < size:
            found += 1
            if not found % STEP:
                yield found
            is_outside = at >= end_of_message
            tag, at = (body[at], at + 1) if body[at] < 0x80 else _varint(body, at)
            wire_type = tag & 7
            if wire_type == 2:
                length, at = _varint(body, at)
                # The fields of a message are walked through, everything else is stepped over.
                if tag == _MESSAGE_TAG and is_outside and not groups:
                    end_of_message = at + length
                else:
                    at += length
            elif wire_type == 0:
                _, at = _varint(body, at)
            elif wire_type in _FIXED_SIZES:
                at += _FIXED_SIZES[wire_type]
            elif wire_type in _GROUPS:  # an unknown field that holds fields; what is in it is no message
                groups += _GROUPS[wire_type]
            else:
                break
    except (IndexError, ValueError):
        pass
    yield found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Read a number; return it, and where the next thing begins."""
    byte = body[at]
    if byte < 0x80:  # nearly all are that small
        return byte, at + 1
    value = 0
    for place in range(_LONGEST_VARINT):
        byte = body[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a number of more than ten bytes")


def _count_msgpack(body: bytes) -> Iterator[int]:
    at, expected, found, size = 0, 1, 0, len(body)
    while expected and at < size:
        kind = body[at]
        at += 1
        expected -= 1
        found += 1
        if not found % STEP:
            yield found
        if kind < 0x80 or kind >= 0xE0:  # a small number
            continue
        if kind < 0x90:
            expected += 2 * (kind & 0x0F)
        elif kind < 0xA0:
            expected += kind & 0x0F
        elif kind < 0xC0:
            at += kind & 0x1F
        elif kind in _FIXED:
            at += _FIXED[kind]
        elif kind in _BYTES:
            at += _number(body, at, _BYTES[kind]) + _BYTES[kind] + (kind in _EXTENSIONS)
        else:
            width, for_each = _ENTRIES[kind]
            expected += for_each * _number(body, at, width)
            at += width
        if expected > size - at:  # each takes a byte at least
            raise RPCError("msgpack: incomplete input")
    yield found


def _number(body: bytes, at: int, width: int) -> int:
    return int.from_bytes(body[at : at + width], "big")
