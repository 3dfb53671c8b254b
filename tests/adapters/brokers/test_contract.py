"""What every broker must do, whatever it is made of.

A new broker is one more entry in `BROKERS`. The rules are those of `core.ports.Broker`: a call may answer
now or later, and messages may come now or later, so nothing here counts on either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.brokers.redis import RedisBroker
from rr_py_ws.config import RedisOptions
from rr_py_ws.core.ports import Broker
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication
from support.broker_node import Node, done, started
from support.linked import LinkedBroker
from support.loops import both_loops
from support.redis_servers import Cluster, RedisServer

Fixture = Callable[[str], object]


def memory(fixture: Fixture) -> Broker:
    return MemoryBroker()


def redis(fixture: Fixture) -> Broker:
    server = fixture("redis")
    assert isinstance(server, RedisServer)
    return RedisBroker("default", RedisOptions(addrs=(server.address,), prefix="a prefix:"))


def redis_by_unix_socket(fixture: Fixture) -> Broker:
    path = fixture("redis_socket")
    assert isinstance(path, Path)
    return RedisBroker("default", RedisOptions(addrs=(str(path),)))


def redis_cluster(fixture: Fixture) -> Broker:
    cluster = fixture("cluster")
    assert isinstance(cluster, Cluster)
    # Messages of the test before may still be on their way from server to server.
    return RedisBroker("default", RedisOptions(addrs=cluster.addresses, prefix=f"{uuid4()}:"))


def memory_behind_a_link(fixture: Fixture) -> Broker:
    return LinkedBroker(MemoryBroker())


def redis_behind_a_link(fixture: Fixture) -> Broker:
    return LinkedBroker(redis(fixture))


BROKERS = [memory, memory_behind_a_link, redis, redis_behind_a_link, redis_by_unix_socket, redis_cluster]
"""Each makes a broker that is not started; it may ask for a fixture."""


@pytest.fixture(params=BROKERS, ids=lambda make: make.__name__)
def broker(request: pytest.FixtureRequest) -> Broker:
    """A broker before `start`."""
    make: Callable[[Fixture], Broker] = request.param
    return make(request.getfixturevalue)


@pytest.fixture
async def node(broker: Broker) -> AsyncIterator[Node]:
    async with started(broker) as running:
        yield running
        assert running.missed == []


async def test_a_broker_is_ready_from_its_start_to_its_end(broker: Broker) -> None:
    assert not broker.ready
    await broker.start(lambda publication: None, lambda topics: None)
    assert broker.ready
    await broker.close()
    assert not broker.ready


async def test_a_message_of_a_subscribed_topic_arrives_once(node: Node) -> None:
    await node.subscribe("foo")
    await node.publish("foo", b"hello, PHP")
    assert await node.receive_all() == [("foo", b"hello, PHP")]


async def test_d9_messages_arrive_in_publish_order_over_all_topics(node: Node) -> None:
    await node.subscribe("a", "b", "c")
    messages = [("abc"[number * 7 % 3], b"%d" % number) for number in range(500)]
    for message in messages:
        await node.publish(*message)
    assert await node.wait_received(500) == messages


async def test_messages_handed_over_without_waiting_keep_their_order(node: Node) -> None:
    """Calls that a PHP process has sent in one packet."""
    await node.subscribe("a", "b")
    messages = [("ab"[number % 2], b"%d" % number) for number in range(200)]
    answers = [node.send(*message) for message in messages]
    for answer in answers:
        await done(answer)
    assert await node.wait_received(200) == messages


@both_loops
async def test_what_was_accepted_is_here_when_the_broker_has_settled(node: Node) -> None:
    """The answer to a publisher may overtake the message; a server that stops must not lose it by that."""
    topics = [f"topic {number}" for number in range(50)]
    await node.subscribe(*topics)
    for round in range(20):
        for topic in topics:
            answer = node.send(topic, b"%d" % round)
        await done(answer)
        await node.broker.settle()
        assert len(node.received) == (round + 1) * len(topics)


async def test_a_broker_settles_whether_it_runs_or_not(broker: Broker) -> None:
    await broker.settle()
    await broker.start(lambda publication: None, lambda topics: None)
    await broker.settle()
    await broker.close()
    await broker.settle()


async def test_d5_a_message_published_after_subscribe_answered_arrives(node: Node) -> None:
    for number in range(50):
        await node.subscribe(f"topic {number}")
        await node.publish(f"topic {number}", b"%d" % number)
    assert await node.receive_all() == [(f"topic {number}", b"%d" % number) for number in range(50)]


@pytest.mark.parametrize(
    "payload",
    [b"", b"\0", bytes(range(256)), b"\r\n$5\r\n", b'{"a":"\xc3\xa9"}', b"x" * 1_000_000],
    ids=["empty", "NUL", "all bytes", "looks like a protocol", "JSON", "a million bytes"],
)
async def test_d20_a_payload_arrives_as_it_was(node: Node, payload: bytes) -> None:
    await node.subscribe("foo")
    await node.publish("foo", payload)
    assert await node.wait_received(1) == [("foo", payload)]


@pytest.mark.parametrize(
    "topic",
    [
        "a b",
        "a,b",
        "News",
        "*",
        "foo*",
        "[a]",
        "é/€/😀",
        "a\r\nPUBLISH b 1",
        "\0",
        "x" * 60_000,
        "\udcff\udcfe",
    ],
    ids=repr,
)
async def test_a_topic_is_any_text_and_no_pattern(node: Node, topic: str) -> None:
    """The last one is a topic of bytes that are no UTF-8."""
    await node.subscribe(topic)
    await node.subscribe("other")
    await node.publish("foobar", b"no")
    await node.publish(topic, b"1")
    assert await node.receive_all() == [(topic, b"1")]


async def test_topics_are_case_sensitive(node: Node) -> None:
    await node.subscribe("News", "news")
    await node.publish("news", b"1")
    assert await node.receive_all() == [("news", b"1")]


async def test_subscribing_again_brings_no_second_copy(node: Node) -> None:
    for _ in range(3):
        await node.subscribe("foo", "foo")
    await node.publish("foo", b"1")
    assert await node.receive_all() == [("foo", b"1")]


async def test_leaving_one_topic_leaves_the_others(node: Node) -> None:
    await node.subscribe("a", "b")
    node.unsubscribe("a")
    await node.publish("a", b"1")
    await node.publish("b", b"2")
    assert await node.receive_all() == [("b", b"2")]


async def test_a_topic_can_be_subscribed_again_at_once(node: Node) -> None:
    """One client leaves as another joins; the new one has been told that it is in."""
    for number in range(20):
        await node.subscribe("foo")
        await node.publish("foo", b"%d" % number)
        await node.wait_received(number + 1)
        node.unsubscribe("foo")
    assert [payload for _, payload in node.received] == [b"%d" % number for number in range(20)]


async def test_d4_leaving_what_was_never_joined_changes_nothing(node: Node) -> None:
    await node.subscribe("foo")
    node.unsubscribe("bar", "")
    node.unsubscribe()
    node.unsubscribe("bar")
    await node.publish("foo", b"1")
    assert await node.receive_all() == [("foo", b"1")]


async def test_subscribing_to_nothing_is_no_error(node: Node) -> None:
    await node.subscribe()


async def test_the_empty_topic_can_be_subscribed(node: Node) -> None:
    """RoadRunner lets clients join it; nobody ever publishes to it."""
    await node.subscribe("", "foo")
    node.unsubscribe("")
    await node.publish("foo", b"1")
    assert await node.receive_all() == [("foo", b"1")]


async def test_a_topic_of_nobody_accepts_messages(node: Node) -> None:
    await node.publish("nobody is here", b"1")
    assert await node.receive_all() == []


async def test_many_publishers_lose_nothing(node: Node) -> None:
    """Each publisher's own messages are in order; those of different publishers come as they come."""
    await node.subscribe("foo")

    async def publisher(name: str) -> None:
        for number in range(50):
            await node.publish("foo", f"{name} {number}".encode())

    await asyncio.gather(*(publisher(name) for name in "abcd"))
    payloads = [payload.decode().split() for _, payload in await node.receive_all()]
    for name in "abcd":
        assert [number for who, number in payloads if who == name] == [str(number) for number in range(50)]
    assert len(payloads) == 200


async def test_publishing_before_the_start_is_refused(broker: Broker) -> None:
    with pytest.raises(BrokerError):
        await done(broker.publish(Publication("foo", b"1")))
    await broker.close()


async def test_after_close_publishing_is_refused_and_nothing_arrives(broker: Broker) -> None:
    node = Node(broker)
    await broker.start(node.on_publication, node.on_gap)
    await node.subscribe("foo")
    await broker.close()
    with pytest.raises(BrokerError):
        await node.publish("foo", b"1")
    node.unsubscribe("foo")
    assert node.received == []


@both_loops
async def test_close_may_be_called_twice_and_without_start(broker: Broker) -> None:
    await broker.close()
    await broker.close()
