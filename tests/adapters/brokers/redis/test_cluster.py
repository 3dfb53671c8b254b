"""Classic pub/sub in a cluster: to which of its servers a node is connected does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rr_py_ws.errors import BrokerError
from support.broker_node import Node
from support.redis_nodes import Start, redis_broker
from support.redis_servers import Cluster, RedisServer
from support.waiting import eventually


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path)


def connected(cluster: Cluster) -> RedisServer | None:
    """The server that a node publishes through."""
    return next((server for server in cluster.alive if server.clients("normal")), None)


async def test_nodes_at_different_servers_reach_each_other(cluster: Cluster, start: Start) -> None:
    """And a Go node, or redis-cli, at any of them."""
    nodes = [await start(address) for address in cluster.addresses[:3]]  # one address: just this server
    nodes.append(await start(*cluster.addresses))
    for node in nodes:
        await node.subscribe("a")
    for number, node in enumerate(nodes):
        await node.publish("a", b"%d" % number)
    for server in cluster.nodes:
        server.ask("PUBLISH", "a", "raw")
    for node in nodes:
        await node.wait_received(len(nodes) + 6)
        assert sorted(node.received) == sorted(
            [("a", b"%d" % number) for number in range(len(nodes))] + [("a", b"raw")] * 6
        )


async def test_a_node_whose_server_dies_goes_to_another(own_cluster: Cluster, start: Start) -> None:
    node = await start(*own_cluster.addresses)
    await node.subscribe("a")
    for _ in range(2):  # of six
        own = connected(own_cluster)
        assert own
        own.kill()
        await eventually(lambda: not node.broker.ready)
        await eventually(lambda: node.broker.ready, "another server")
        node.received.clear()
        await node.publish("a", b"1")
        await node.wait_for("a", b"1")
    assert redis_broker(node).counters.gaps == 2


async def test_a_seed_is_enough_to_find_the_others(own_cluster: Cluster, start: Start) -> None:
    seed, other = own_cluster.nodes[0], own_cluster.nodes[5]
    node = await start(seed.address, seed.address)  # more than one address: a cluster
    other.kill()  # a replica: the masters are what is known besides the seeds
    assert connected(own_cluster) is seed
    seed.kill()
    await eventually(lambda: not node.broker.ready)
    await eventually(lambda: node.broker.ready, "another server")


async def test_a_server_that_is_cut_off_from_the_others_is_left(own_cluster: Cluster, start: Start) -> None:
    """What is published there reaches nobody else. It says so itself after a while."""
    node = await start(*own_cluster.addresses)
    await node.subscribe("a")
    own = connected(own_cluster)
    assert own
    own.ask("CLUSTER", "RESET")
    await eventually(
        lambda: node.broker.ready and connected(own_cluster) not in (own, None), "another server"
    )


async def test_addresses_that_are_no_cluster_are_named(
    own: RedisServer, redis: RedisServer, start: Start
) -> None:
    node: Node = await start(own.address, redis.address)
    with pytest.raises(BrokerError, match="This instance has cluster support disabled"):
        node.send("a", b"1")
