"""What every broker with histories must do, whatever keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.brokers.redis import RedisBroker
from rr_py_ws.config import HistoryRule, RedisOptions
from rr_py_ws.core.history import Page, Query
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ports import Broker
from support.broker_node import started
from support.history_node import HistoryNode, payloads
from support.loops import both_loops
from support.redis_servers import Cluster, RedisServer
from support.waiting import eventually

Fixture = Callable[[str], Any]

RULES = HistoryRules(
    [
        HistoryRule(topics=("h.small",), size=3, ttl=60.0),
        HistoryRule(topics=("h.short",), size=100, ttl=0.3),
        HistoryRule(topics=("h.bytes",), size=100, ttl=60.0, bytes=100),
        HistoryRule(topics=("h*",), size=1000, ttl=60.0),
    ]
)


def memory(fixture: Fixture) -> Broker:
    return MemoryBroker(RULES)


def redis(fixture: Fixture) -> Broker:
    server: RedisServer = fixture("redis")
    return RedisBroker("default", RedisOptions(addrs=(server.address,), prefix=f"{uuid4()}:"), rules=RULES)


def redis_of_our_own(fixture: Fixture) -> Broker:
    server: RedisServer = fixture("redis")
    options = RedisOptions(addrs=(server.address,), prefix=f"{uuid4()}:", exclusive=True)
    return RedisBroker("default", options, rules=RULES)


def redis_cluster(fixture: Fixture) -> Broker:
    cluster: Cluster = fixture("cluster")
    return RedisBroker("default", RedisOptions(addrs=cluster.addresses, prefix=f"{uuid4()}:"), rules=RULES)


def redis_sharded(fixture: Fixture) -> Broker:
    cluster: Cluster = fixture("cluster")
    options = RedisOptions(addrs=cluster.addresses, prefix=f"{uuid4()}:", sharded=True)
    return RedisBroker("default", options, rules=RULES)


BROKERS = [memory, redis, redis_of_our_own, redis_cluster, redis_sharded]


@pytest.fixture(params=BROKERS, ids=lambda make: make.__name__)
async def node(request: pytest.FixtureRequest) -> AsyncIterator[HistoryNode]:
    broker: Broker = request.param(request.getfixturevalue)
    running = HistoryNode(broker)
    async with started(broker, running):
        yield running
        assert running.missed == []


pytestmark = both_loops


async def keep(node: HistoryNode, topic: str, count: int, first: int = 0) -> list[str]:
    """Publish numbers; return their positions when they are here."""
    await node.subscribe(topic)
    kept = [await node.keep(topic, b"%d" % number) for number in range(first, first + count)]
    positions = [position for position in kept if position is not None]
    assert len(positions) == count
    # By position: in a cluster, what was published before may arrive after its answer, and among these.
    await eventually(lambda: {*positions} <= {pushed.position for pushed in node.pushed}, "all of these")
    return positions


def numbers(*range_of: int) -> list[bytes]:
    return [b"%d" % number for number in range(*range_of)]


async def read(node: HistoryNode, topic: str, *query: Any) -> Page:
    history = node.broker.history
    assert history is not None
    found = history.read(topic, Query(*query))
    return await found if isinstance(found, Awaitable) else found


async def test_each_message_has_a_position_that_its_publisher_is_told(node: HistoryNode) -> None:
    positions = await keep(node, "h", 3)
    assert len(set(positions)) == 3
    assert [pushed.position for pushed in node.pushed] == positions
    assert all(pushed.time > 1e9 for pushed in node.pushed)


async def test_a_topic_without_a_rule_has_none(node: HistoryNode) -> None:
    await node.subscribe("plain")
    assert await node.keep("plain", b"1") is None
    await eventually(lambda: node.payloads("plain") == [b"1"])
    assert node.pushed[0].position is None
    found = await node.join({"plain": 0, "h": 0})
    assert (found["plain"].reason, found["plain"].position) == ("off", None)
    assert found["h"].reason == ""
    assert (await read(node, "plain", "", 10)).reason == "off"


async def test_every_position_can_be_come_back_to(node: HistoryNode) -> None:
    began = await node.recover("h", 0)
    assert began.position is not None
    positions = [began.position, *await keep(node, "h", 5)]
    for number, position in enumerate(positions):
        found = await node.recover("h", position)
        assert (found.reason, found.position, payloads(found)) == ("", position, numbers(number, 5))
        assert [message.position for message in found.replay] == positions[number + 1 :]


async def test_the_newest_messages_can_be_wished_for(node: HistoryNode) -> None:
    positions = await keep(node, "h", 5)
    for count in range(5):
        found = await node.recover("h", count)
        assert (found.reason, payloads(found)) == ("", numbers(5 - count, 5))
    assert (await node.recover("h", 1)).position == positions[3]
    assert payloads(await node.recover("h", 100)) == numbers(0, 5)


async def test_what_is_more_than_the_size_is_trimmed(node: HistoryNode) -> None:
    positions = await keep(node, "h.small", 6)
    expected = [("trimmed", []), ("trimmed", []), ("", numbers(3, 6)), ("", numbers(4, 6))]
    found = [await node.recover("h.small", position) for position in positions[:4]]
    assert [(recovery.reason, payloads(recovery)) for recovery in found] == expected
    assert found[0].position == positions[-1]


async def test_what_is_more_than_the_bytes_is_trimmed(node: HistoryNode) -> None:
    began = await node.recover("h.bytes", 0)
    for size in (40, 40, 40, 70, 300, 10):
        await node.keep("h.bytes", b"x" * size)
        there = [len(message.payload) for message in (await read(node, "h.bytes", "", 10)).publications]
        assert sum(there) <= 100 or len(there) == 1
    assert there == [10]
    await eventually(lambda: len(node.pushed) == 6)
    assert (await node.recover("h.bytes", began.position or "")).reason == "trimmed"


async def test_what_is_too_old_is_trimmed_to_the_moment(node: HistoryNode) -> None:
    positions = await keep(node, "h.short", 2)
    assert payloads(await node.recover("h.short", positions[0])) == [b"1"]
    end = asyncio.get_running_loop().time() + 0.31
    await eventually(lambda: asyncio.get_running_loop().time() > end, "the end of their time")
    assert (await node.recover("h.short", positions[0])).reason == "trimmed"
    assert (await node.recover("h.short", positions[1])).reason == ""
    assert (await read(node, "h.short", "", 10)).publications == []
    # The counter goes on.
    await keep(node, "h.short", 1, first=2)
    assert payloads(await node.recover("h.short", positions[1])) == [b"2"]


@pytest.mark.parametrize("position", ["", "no position", "another.3.4", "x" * 100])
async def test_a_position_of_no_history_is_told(node: HistoryNode, position: str) -> None:
    await keep(node, "h", 2)
    found = await node.recover("h", position)
    assert (found.reason, payloads(found)) == ("epoch", [])


async def test_a_position_ahead_is_told(node: HistoryNode) -> None:
    (position,) = await keep(node, "h", 1)
    epoch, _, *rest = position.split(".")
    assert (await node.recover("h", ".".join([epoch, "7", *rest]))).reason == "ahead"


async def test_more_than_the_limit_is_not_sent(node: HistoryNode) -> None:
    positions = await keep(node, "h", 305)
    assert (await node.recover("h", positions[3])).reason == "limit"
    assert payloads(await node.recover("h", positions[4])) == numbers(5, 305)
    newest = await node.recover("h", 1000)
    assert (newest.reason, payloads(newest)) == ("limit", numbers(5, 305))


async def test_a_key_publishes_once(node: HistoryNode) -> None:
    for topic in ("h", "plain"):
        await node.subscribe(topic)
        first = await node.keep(topic, b"1", key="a")
        assert await node.keep(topic, b"2", key="a") == first
        await node.keep(topic, b"3", key="b")
        await node.keep(topic, b"4")
        await eventually(lambda topic=topic: node.payloads(topic)[-1:] == [b"4"])  # type: ignore[misc]
        assert node.payloads(topic) == [b"1", b"3", b"4"]


async def test_keys_belong_to_one_topic(node: HistoryNode) -> None:
    """Redis keeps both in one key, whose parts must not run into each other."""
    topics = [("h{q}", "b:c"), ("h{q}:b", "c"), ("h{q}:b:c", "")]
    for topic, key in topics:
        await node.subscribe(topic)
        await node.keep(topic, topic.encode(), key=key)
    await eventually(lambda: len(node.pushed) == 3)


async def test_what_skips_the_history_is_delivered_and_not_kept(node: HistoryNode) -> None:
    (position,) = await keep(node, "h", 1)
    assert await node.keep("h", b"skips", skip_history=True) is None
    assert await node.keep("h", b"once", skip_history=True, key="k") is None
    assert await node.keep("h", b"once", skip_history=True, key="k") is None
    await keep(node, "h", 1, first=1)
    # In a cluster what was published may arrive after its answer.
    await eventually(lambda: node.payloads("h") == [b"0", b"skips", b"once", b"1"])
    assert payloads(await node.recover("h", position)) == [b"1"]


async def test_who_is_excluded_is_told_with_the_message(node: HistoryNode) -> None:
    names = ("me", 'a "name", of\nany {kind}', "ж")
    began = await node.recover("h", 0)
    await node.keep("h", b"1", exclude=names)
    await node.keep("h", b"2", exclude=names, skip_history=True)
    await eventually(lambda: len(node.pushed) == 2)
    assert [pushed.exclude for pushed in node.pushed] == [names, names]
    found = await node.recover("h", began.position or "")
    assert [message.exclude for message in found.replay] == [names]
    assert [message.exclude for message in (await read(node, "h", "", 10)).publications] == [names]


async def test_a_history_that_is_cleared_keeps_its_counter(node: HistoryNode) -> None:
    positions = await keep(node, "h", 3)
    history = node.broker.history
    assert history is not None
    cleared = history.clear("h")
    assert (await cleared if isinstance(cleared, Awaitable) else cleared) == positions[-1]
    assert (await node.recover("h", positions[-1])).reason == ""
    assert (await node.recover("h", positions[1])).reason == "trimmed"
    await keep(node, "h", 1, first=3)
    assert payloads(await node.recover("h", positions[-1])) == [b"3"]


async def test_a_history_is_read_in_pages(node: HistoryNode) -> None:
    positions = await keep(node, "h", 7)
    page, read_so_far = await read(node, "h", "", 3), []
    while page.publications:
        read_so_far += [message.payload for message in page.publications]
        assert page.position == positions[-1]
        assert page.reason == ("limit" if len(read_so_far) < 7 else "")
        page = await read(node, "h", page.publications[-1].position, 3)
    assert read_so_far == numbers(0, 7)
    newest = await read(node, "h", "", 2, True)
    assert ([message.payload for message in newest.publications], newest.reason) == ([b"6", b"5"], "limit")
    since = await read(node, "h", positions[4], 5, True)
    assert ([message.payload for message in since.publications], since.reason) == ([b"6", b"5"], "")
    assert (await read(node, "h", "another.1.1", 3)).reason == "epoch"


async def test_a_page_after_what_is_trimmed_is_what_is_left(node: HistoryNode) -> None:
    positions = await keep(node, "h.small", 6)
    page = await read(node, "h.small", positions[0], 2)
    assert ([message.payload for message in page.publications], page.reason) == (numbers(3, 5), "trimmed")


async def test_names_of_topics_may_be_anything(node: HistoryNode) -> None:
    topics = ["h{a}b", "h}", "h{", "h{}x", "h{}}", "h{a}}{b}", "h ж\n\0", "h" + "x" * 500, "h{a", "h:}{"]
    for topic in topics:
        found = await node.recover(topic, 0)
        await node.keep(topic, topic.encode())
        await eventually(lambda topic=topic: node.payloads(topic) == [topic.encode()])  # type: ignore[misc]
        if found.reason != "off":
            assert found.position is not None
            assert payloads(await node.recover(topic, found.position)) == [topic.encode()]
