"""The command of a batch, which is put together from parts that are encoded one by one."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis
import pytest

from rr_py_ws.adapters.brokers.redis.batch import Batch
from rr_py_ws.adapters.brokers.redis.calls import pack_words
from rr_py_ws.adapters.brokers.redis.scripts import APPEND
from rr_py_ws.adapters.brokers.redis.topics import Topics
from rr_py_ws.config import HistoryRule, RedisOptions
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.wire.publication import Publication

_TOPICS = Topics(HistoryRules([HistoryRule(topics=("*",), size=10, ttl=60.0)]), str.encode, RedisOptions())


def _prepare(batch: Batch) -> tuple[int, bytes]:
    for section in batch.sections:
        section.about = pack_words(f"about {section.topic.name}")
    return 2, pack_words("all", "of them")


def _words(encoded: bytes) -> Any:
    """Read a command as Redis does: nothing may be left of it."""
    reader = hiredis.Reader()
    reader.feed(encoded)
    words = reader.gets()
    assert not reader.has_data()
    return words


@pytest.mark.parametrize("once", [b"", b"the key"])
async def test_redis_reads_of_a_batch_what_was_added(once: bytes) -> None:
    batch = Batch(_prepare, once)
    for topic, payload, exclude in (("a", b"1\r\n", ()), ("bä", b"", ("me",)), ("a", b"\0" * 1000, ())):
        found = _TOPICS.find(topic)
        assert found is not None
        future = asyncio.get_running_loop().create_future()
        batch.add(found, Publication(topic, payload, exclude=exclude), future, False)
    name = "bä".encode()
    rest = [
        *(
            b"rrws:h:{a}:a",
            b"rrws:m:{a}:a",
            b"rrws:h:{%b}:%b" % (name, name),
            b"rrws:m:{%b}:%b" % (name, name),
        ),
        *([once] if once else []),
        *(b"all", b"of them"),
        *(b"a", b"rrws:k:{a}:a", b"about a", b"1\r\n", b"3:8f93c1e6 ", b"\0" * 1000, b"1000:060b1780 "),
        *(name, b"rrws:k:{%b}:%b" % (name, name), b"about " + name, b"", b'0:00000000 ["me"]'),
    ]
    keys = b"%d" % (4 + bool(once))
    assert _words(batch.by_digest()) == [b"EVALSHA", APPEND.digest, keys, *rest]
    assert _words(batch.with_text()) == [b"EVAL", APPEND.text, keys, *rest]
