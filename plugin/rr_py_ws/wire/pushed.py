"""Reads back what `push` has encoded, for those whose pushes are dropped and who are told so."""

from __future__ import annotations

from functools import lru_cache

import orjson

_OPCODE = 0x0F
_BINARY = 2
_BEFORE_TOPIC = len(b'{"topic":')
_AFTER_TOPIC = b'","payload":'
"""Where it first occurs, the topic ends: inside of it there is a backslash before each quote."""


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
        if first & _OPCODE == _BINARY:
            start = at + 2
            name = frames[start : start + int.from_bytes(frames[at:start])]
        else:
            name = frames[at + _BEFORE_TOPIC : frames.index(_AFTER_TOPIC, at) + 1]
        if name not in known:
            known[name] = _decode(name, text=first & _OPCODE != _BINARY)
        topics.append(known[name])
        at += length
    return tuple(topics)


def _decode(name: bytes, *, text: bool) -> str:
    return str(orjson.loads(name)) if text else name.decode("utf-8", "surrogateescape")
