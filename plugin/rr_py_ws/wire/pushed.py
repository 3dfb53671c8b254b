"""Reads back what `push` has encoded, for those whose pushes are dropped and who are told so."""

from __future__ import annotations

import zlib
from functools import lru_cache

import orjson

_RSV1 = 0x40
_OPCODE = 0x0F
_BINARY = 2
_BEFORE_TOPIC = len(b'{"topic":')
_AFTER_TOPIC = b'","payload":'
"""Where it first occurs, the topic ends: inside of it there is a backslash before each quote."""
_ENOUGH = 4096
"""Bytes of a compressed push that are decompressed to find the topic; all of it when that is too long."""


@lru_cache(maxsize=1)  # whoever is stuck at the same place drops the same bytes object, one after another
def pushed_topics(frames: bytes) -> tuple[str, ...]:
    """Return the topic of each push in a run of whole frames, as often as there are pushes.

    Args:
        frames: made by an `Encoding`, joined.
    """
    topics = []
    known: dict[bytes, str] = {}
    at, end = 0, len(frames)
    while at < end:
        first, length = frames[at], frames[at + 1]
        at += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(frames[at : at + size])
            at += size
        if first & _RSV1:
            name = _deflated_name(first & _OPCODE, frames[at : at + length])
        else:
            name = _name(first & _OPCODE, frames, at)
        if name not in known:
            known[name] = _decode(name, text=first & _OPCODE != _BINARY)
        topics.append(known[name])
        at += length
    return tuple(topics)


def _name(opcode: int, content: bytes, at: int) -> bytes:
    """Cut out the topic.

    Raises:
        ValueError: it goes on behind this content.
    """
    if opcode != _BINARY:
        return content[at + _BEFORE_TOPIC : content.index(_AFTER_TOPIC, at) + 1]
    start = at + 2
    end = start + int.from_bytes(content[at:start])
    if end > len(content):
        raise ValueError("incomplete")
    return content[start:end]


def _deflated_name(opcode: int, deflated: bytes) -> bytes:
    try:
        return _name(opcode, zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, _ENOUGH), 0)
    except ValueError:
        return _name(opcode, zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated), 0)


def _decode(name: bytes, *, text: bool) -> str:
    return str(orjson.loads(name)) if text else name.decode("utf-8", "surrogateescape")
