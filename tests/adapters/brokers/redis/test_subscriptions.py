"""What Redis sees of joins, leaves and publishes, and what else may be in that Redis."""

from __future__ import annotations

import asyncio
from itertools import chain

import pytest

from rr_py_ws.adapters.brokers.redis import RedisBroker
from rr_py_ws.config import RedisOptions
from rr_py_ws.errors import BrokerError
from support.broker_node import Node, started
from support.redis_nodes import Start, redis_broker
from support.redis_servers import Monitor, RedisServer
from support.waiting import eventually


async def test_d15_d27_d28_no_key_is_touched_by_joins_messages_and_leaves(
    own: RedisServer, node: Node, monitor: Monitor
) -> None:
    """RoadRunner sent SADD, SREM and EXISTS for each join and leave, and SMEMBERS for each message."""
    await node.subscribe("a", "b")
    await node.publish("a", b"1")
    await node.receive_all()
    node.unsubscribe("a", "b")
    await eventually(lambda: own.channels() == ["the end"])
    names = {name for name, *_ in monitor.commands()}
    assert names - {"PUBSUB", "PING", "HELLO"} == {"SUBSCRIBE", "PUBLISH", "UNSUBSCRIBE"}
    assert own.ask("DBSIZE") == 0


@pytest.mark.parametrize("make_key", [("SADD", "a", "a connection id"), ("SET", "a", "text")])
async def test_d14_a_key_under_a_topics_name_harms_nobody_and_stays_as_it_is(
    own: RedisServer, node: Node, make_key: tuple[str, ...]
) -> None:
    """RoadRunner panicked on a key of another type, and added members to a set of the application."""
    own.ask(*make_key)
    before = own.ask("GET", "a") if make_key[0] == "SET" else own.ask("SMEMBERS", "a")
    await node.subscribe("a")
    await node.publish("a", b"1")
    assert await node.receive_all() == [("a", b"1")]
    node.unsubscribe("a")
    await eventually(lambda: "a" not in own.channels())
    assert (own.ask("GET", "a") if make_key[0] == "SET" else own.ask("SMEMBERS", "a")) == before


async def test_d10_ids_of_other_nodes_in_a_set_keep_no_message_from_anybody(
    own: RedisServer, node: Node, start: Start
) -> None:
    """A Go node keeps connection ids under the topic's name; an id it did not know ended its delivery."""
    own.ask("SADD", "a", *(f"connection {number}" for number in range(10)))
    other = await start(own.address)
    await asyncio.gather(node.subscribe("a"), other.subscribe("a"))
    for number in range(20):
        await node.publish("a", b"%d" % number)
    expected = [("a", b"%d" % number) for number in range(20)]
    assert await node.wait_received(20) == await other.wait_received(20) == expected


async def test_a_topic_is_subscribed_once_however_many_join(node: Node, monitor: Monitor) -> None:
    await asyncio.gather(*(node.subscribe("a", "b") for _ in range(50)))
    for _ in range(50):
        await node.subscribe("a")
    assert monitor.commands("SUBSCRIBE") == [["SUBSCRIBE", "a", "b"]]


async def test_the_second_join_of_a_topic_has_nothing_to_wait_for(node: Node) -> None:
    await node.subscribe("a")
    assert node.broker.subscribe(["a", "a"]) is None


async def test_joins_of_one_turn_are_one_command(node: Node, monitor: Monitor) -> None:
    await asyncio.gather(*(node.subscribe(f"topic {number}") for number in range(100)))
    assert monitor.commands("SUBSCRIBE") == [["SUBSCRIBE", *(f"topic {number}" for number in range(100))]]


async def test_10_000_topics_are_subscribed_in_batches_and_left_again(
    own: RedisServer, node: Node, monitor: Monitor
) -> None:
    topics = [f"topic {number}" for number in range(10_000)]
    joins = [node.subscribe(topic) for topic in topics]
    await asyncio.gather(*joins)
    commands = monitor.commands("SUBSCRIBE")
    assert sorted(chain.from_iterable(command[1:] for command in commands)) == sorted(topics)
    assert max(map(len, commands)) == 501
    for topic in topics:
        await node.publish(topic, topic.encode())
    assert await node.wait_received(10_000) == [(topic, topic.encode()) for topic in topics]
    node.unsubscribe(*topics)
    await eventually(lambda: own.channels() == [])
    assert len(monitor.commands("UNSUBSCRIBE")) == 20


async def test_a_page_reload_does_not_reach_redis(own: RedisServer, node: Node, monitor: Monitor) -> None:
    """The last client of a topic leaves and is back at once."""
    await node.subscribe("a", "other")
    for _ in range(20):
        node.unsubscribe("a")
        await node.subscribe("a")
    node.unsubscribe("other")
    await eventually(lambda: own.channels() == ["a"])
    assert monitor.commands("SUBSCRIBE", "UNSUBSCRIBE") == [
        ["SUBSCRIBE", "a", "other"],
        ["UNSUBSCRIBE", "other"],
    ]


async def test_a_topic_that_is_joined_while_it_is_being_unsubscribed_works(own: RedisServer) -> None:
    """However the two commands lie in the pipeline, after the confirmed join messages arrive."""
    broker = RedisBroker("default", RedisOptions(addrs=(own.address,)), linger=0.0)
    async with started(broker) as node:
        for number in range(100):
            await node.subscribe("a")
            node.unsubscribe("a")
            for _ in range(number % 10):
                await asyncio.sleep(0)
            await node.subscribe("a")
            await node.publish("a", b"%d" % number)
            await node.wait_for("a", b"%d" % number)
        assert node.missed == []


async def test_channels_are_topics_and_payloads_are_raw(own: RedisServer, node: Node) -> None:
    """So that Go nodes, redis-cli and applications that publish to Redis themselves go on working."""
    await node.subscribe("news")
    command = ("redis-cli", "-p", str(own.port), "PUBLISH", "news", 'żółw {"a": 1}')
    publisher = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert await publisher.communicate() == (b"1\n", None)
    assert await node.wait_received(1) == [("news", 'żółw {"a": 1}'.encode())]


async def test_a_plain_redis_client_sees_what_is_published_here(own: RedisServer, node: Node) -> None:
    listener = await asyncio.create_subprocess_exec(
        "redis-cli", "-p", str(own.port), "SUBSCRIBE", "news", stdout=asyncio.subprocess.PIPE
    )
    assert listener.stdout
    try:
        assert await listener.stdout.readuntil(b"1\n") == b"subscribe\nnews\n1\n"
        await node.publish("news", b"hello, PHP")
        assert await listener.stdout.readuntil(b"PHP\n") == b"message\nnews\nhello, PHP\n"
    finally:
        listener.kill()
        await listener.wait()


async def test_a_prefix_is_part_of_the_channel_and_not_of_the_topic(own: RedisServer, start: Start) -> None:
    node = await start(own.address, prefix="app:")
    await node.subscribe("news")
    assert own.channels() == ["app:news"]
    own.ask("PUBLISH", "news", "not for us")
    own.ask("PUBLISH", "app:news", "1")
    await node.publish("news", b"2")
    assert await node.receive_all() == [("news", b"1"), ("news", b"2")]


async def test_a_message_of_this_node_comes_back_once_and_only_by_redis(own: RedisServer, node: Node) -> None:
    await node.subscribe("a")
    await node.publish("a", b"1")
    assert await node.receive_all() == [("a", b"1")]
    assert redis_broker(node).counters.received == 2  # with that of `receive_all`


async def test_a_topic_that_is_no_text_is_refused(node: Node) -> None:
    """A lone surrogate that stands for no byte; JSON can say it, UTF-8 cannot."""
    with pytest.raises(BrokerError, match="not text"):
        await node.publish("\ud800", b"1")
    with pytest.raises(BrokerError, match="not text"):
        await node.subscribe("\ud800")
    node.unsubscribe("\ud800")
