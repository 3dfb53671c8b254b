"""Sharded pub/sub: each topic at the master of its slot, also when that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from rr_py_ws.adapters.brokers.redis.names import slot_of
from rr_py_ws.errors import BrokerError
from support.broker_node import Node
from support.ports import free_port
from support.redis_nodes import Start, redis_broker
from support.redis_servers import Cluster, RedisServer
from support.waiting import eventually


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path)


TOPICS = [f"topic {number}" for number in range(50)]


async def everything_passes(nodes: list[Node], text: str) -> None:
    """From each node to each, on every topic; in order for each topic."""
    for node in nodes:
        node.received.clear()
    for sender, node in enumerate(nodes):
        for number in range(3):
            for topic in TOPICS:
                await node.publish(topic, f"{text} {sender} {number}".encode())
    for node in nodes:
        await node.wait_received(len(nodes) * 3 * len(TOPICS))
        for topic in TOPICS:
            assert [payload for name, payload in node.received if name == topic] == [
                f"{text} {sender} {number}".encode() for sender in range(len(nodes)) for number in range(3)
            ]


@pytest.mark.parametrize(
    "channel", ["foo", "", "{user1000}.following", "a{}b", "foo{{bar}}zap", "foo{bar}{zap}", "é{"]
)
async def test_slots_are_those_of_redis(cluster: Cluster, channel: str) -> None:
    assert slot_of(channel.encode()) == cluster.nodes[0].ask("CLUSTER", "KEYSLOT", channel)


async def test_each_topic_is_at_the_master_of_its_slot(cluster: Cluster, start: Start) -> None:
    nodes = [await start(cluster.addresses[0], sharded=True), await start(*cluster.addresses, sharded=True)]
    for node in nodes:
        assert node.broker.ready
        await node.subscribe(*TOPICS)
        assert node.broker.subscribe(TOPICS) is None
    for server in cluster.masters:
        expected = {topic for topic in TOPICS if cluster.owner(topic) is server}
        assert set(server.ask("PUBSUB", "SHARDCHANNELS")) == expected
        assert expected
    await everything_passes(nodes, "message")
    cluster.owner("topic 7").ask("SPUBLISH", "topic 7", "raw")
    for node in nodes:
        await node.wait_for("topic 7", b"raw")
        node.unsubscribe(*TOPICS)
    for server in cluster.masters:
        await eventually(
            lambda asked=server: asked.ask("PUBSUB", "SHARDCHANNELS") == [], "the end of subscriptions"
        )


async def test_10_000_topics(cluster: Cluster, start: Start) -> None:
    node = await start(*cluster.addresses, sharded=True)
    topics = [f"many {number}" for number in range(10_000)]
    await asyncio.gather(*(node.subscribe(topic) for topic in topics))
    for topic in topics:
        await node.publish(topic, topic.encode())
    assert sorted(await node.wait_received(10_000)) == sorted((topic, topic.encode()) for topic in topics)


async def is_known(cluster: Cluster, nodes: list[Node], topic: str, owner: RedisServer) -> None:
    """Wait until all servers say who has a slot, and all nodes are subscribed there."""
    await eventually(lambda: all(cluster.owner(topic, asked) is owner for asked in cluster.alive), "gossip")
    subscribed = [topic, len(nodes)]
    await eventually(lambda: owner.ask("PUBSUB", "SHARDNUMSUB", topic) == subscribed, "subscriptions")
    await eventually(lambda: all(node.broker.ready for node in nodes))


async def test_a_slot_that_moves_takes_its_topics_along(own_cluster: Cluster, start: Start) -> None:
    """No publish fails, no subscription ends; that messages may have been missed is told."""
    nodes = [await start(*own_cluster.addresses, sharded=True) for _ in range(2)]
    for node in nodes:
        await node.subscribe(*TOPICS)
    for topic in TOPICS[:3]:
        old = own_cluster.owner(topic)
        new = next(server for server in own_cluster.masters if server is not old)
        own_cluster.move(topic, new)
        await nodes[0].publish(topic, b"while it moves")
        await is_known(own_cluster, nodes, topic, new)
        await everything_passes(nodes, f"after the move of {topic}")
    for node in nodes:
        assert set(node.missed) == set(TOPICS[:3])
        assert redis_broker(node).counters.publish_failures == 0


async def test_a_master_that_dies_is_replaced_by_its_replica(own_cluster: Cluster, start: Start) -> None:
    node = await start(*own_cluster.addresses, sharded=True)
    await node.subscribe(*TOPICS)
    topic = TOPICS[0]
    dead = own_cluster.owner(topic)
    others = next(name for name in TOPICS if own_cluster.owner(name) is not dead)
    dead.kill()
    await eventually(lambda: not node.broker.ready)
    with pytest.raises(BrokerError, match="redis is not available"):
        await node.publish(topic, b"1")
    await node.publish(others, b"still works")
    await node.wait_for(others, b"still works")
    await eventually(lambda: own_cluster.owner(topic) is not dead, "a successor")
    await is_known(own_cluster, [node], topic, own_cluster.owner(topic))
    await everything_passes([node], "later")
    assert topic in node.missed
    assert others not in node.missed


async def test_a_join_while_the_cluster_is_down_waits(tmp_path: Path, start: Start) -> None:
    with ExitStack() as stack:
        server = RedisServer(tmp_path, "--cluster-enabled", "yes")
        stack.callback(server.close)
        node = await start(server.address, sharded=True, pool_timeout=20.0)
        assert not node.broker.ready
        with pytest.raises(BrokerError, match="Connection refused"):
            node.send("a", b"1")
        join = asyncio.ensure_future(node.subscribe("a", "b"))
        server.start()
        await eventually(lambda: server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383) == "OK")
        await join
        await eventually(lambda: node.broker.ready)
        await node.publish("a", b"1")
        await node.wait_for("a", b"1")


async def test_a_topic_that_is_left_while_it_has_no_server_is_forgotten(start: Start) -> None:
    node = await start(f"127.0.0.1:{free_port()}", sharded=True, pool_timeout=0.01)
    with pytest.raises(BrokerError, match="Connection refused"):
        await node.subscribe("a")
    node.unsubscribe("a")


async def test_a_server_without_shards_is_named(redis: RedisServer, start: Start) -> None:
    node = await start(redis.address, sharded=True)
    with pytest.raises(BrokerError, match="This instance has cluster support disabled"):
        node.send("a", b"1")


async def test_close_while_everything_is_gone(cluster: Cluster, start: Start) -> None:
    node = await start(*cluster.addresses, sharded=True)
    for number in count():
        topic = f"closing {number}"
        if cluster.owner(topic) is cluster.masters[0]:
            break
    join = asyncio.ensure_future(node.subscribe(topic))
    await asyncio.sleep(0)
    await node.broker.close()
    await asyncio.gather(join, return_exceptions=True)
    with pytest.raises(BrokerError, match="not running"):
        node.send(topic, b"1")
