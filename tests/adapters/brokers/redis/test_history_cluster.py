"""Histories in a cluster of its own, which the test may break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from rr_py_ws.adapters.brokers.redis.names import HistoryNames, slot_of
from rr_py_ws.core.history import Query
from rr_py_ws.errors import BrokerError
from support.history_node import HistoryNode, HistoryNodes, payloads
from support.redis_servers import Cluster
from support.waiting import eventually

STREAM, META = HistoryNames(b"h").stream.decode(), HistoryNames(b"h").meta.decode()
KINDS = pytest.mark.parametrize("sharded", [False, True], ids=["classic", "sharded"])


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path)


@pytest.fixture
async def nodes() -> AsyncIterator[HistoryNodes]:
    async with HistoryNodes() as running:
        yield running


async def keep(node: HistoryNode, *messages: bytes) -> list[str]:
    """Publish, once more if it fails, and wait until each is here; return the positions."""
    positions = []
    for payload in messages:
        position = None
        while position is None:
            with suppress(BrokerError):
                position = await node.keep("h", payload)
            await asyncio.sleep(0.01)
        positions.append(position)
        await node.wait_for("h", payload)
    return positions


async def read_from_redis(node: HistoryNode) -> None:
    """Wait until the node knows a master that answers; what is published before cannot be kept."""
    history = node.broker.history
    assert history is not None
    page = history.read("h", Query("", 1))
    assert isinstance(page, Awaitable)
    await page


@KINDS
async def test_a_master_that_dies_hands_its_histories_to_its_replica(
    own_cluster: Cluster, nodes: HistoryNodes, sharded: bool
) -> None:
    node = await nodes.start(*own_cluster.addresses, sharded=sharded, pool_timeout=20.0)
    began = str((await node.recover("h", 0)).position)
    await keep(node, b"1", b"2")
    dead = own_cluster.owner("h")
    with dead.session() as ask:
        ask("SET", "{h}", "what is waited for")
        assert ask("WAIT", 1, 10_000) == 1
    dead.kill()
    await eventually(lambda: own_cluster.owner("h") is not dead, "a successor")
    found = await node.recover("h", began)
    assert (found.reason, payloads(found)) == ("", [b"1", b"2"])
    await eventually(lambda: node.broker.ready, "connections to all")
    await read_from_redis(node)
    positions = await keep(node, b"3")
    other = await nodes.start(*own_cluster.addresses, sharded=sharded, pool_timeout=20.0)
    assert payloads(await other.recover("h", began)) == [b"1", b"2", b"3"]
    assert (await other.recover("h", positions[-1])).reason == ""
    assert node.missed == []


@KINDS
async def test_a_slot_that_moves_takes_its_histories_along(
    own_cluster: Cluster, nodes: HistoryNodes, sharded: bool
) -> None:
    """As `redis-cli --cluster reshard` moves one: the keys first, then the slot."""
    node = await nodes.start(*own_cluster.addresses, sharded=sharded)
    began = str((await node.recover("h", 0)).position)
    await keep(node, b"1", b"2")
    old = own_cluster.owner("h")
    new = next(server for server in own_cluster.masters if server is not old)
    slot = slot_of(b"h")
    assert new.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", old.ask("CLUSTER", "MYID")) == "OK"
    assert old.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", new.ask("CLUSTER", "MYID")) == "OK"
    assert await node.keep("h", b"3")
    moved = old.ask("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", STREAM, META)
    assert moved == "OK"
    assert await node.keep("h", b"4")  # the old master asks to go to the new one
    for server in (new, *own_cluster.masters):
        assert server.ask("CLUSTER", "SETSLOT", slot, "NODE", new.ask("CLUSTER", "MYID")) == "OK"
    await keep(node, b"5")
    other = await nodes.start(*own_cluster.addresses, sharded=sharded)
    found = await other.recover("h", began)
    assert (found.reason, payloads(found)) == ("", [b"1", b"2", b"3", b"4", b"5"])
    await eventually(lambda: len(node.pushed) == 5, "all messages")
    assert node.payloads("h") == [b"1", b"2", b"3", b"4", b"5"]
    assert node.missed == []


async def test_marks_and_messages_find_each_other_between_those_of_others(
    cluster: Cluster, nodes: HistoryNodes
) -> None:
    """Servers of a cluster pass messages on one by one: others may come between mark and message."""
    node = await nodes.start(*cluster.addresses, prefix="between:")
    began = await node.recover("h", 0)
    owner = cluster.owner("between:h")
    others = [server for server in cluster.alive if server is not owner]
    expected = []
    with ExitStack() as stack:
        sessions = [stack.enter_context(server.session()) for server in others]
        for number in range(100):
            answers = [node.keep("h", b"%d.%d" % (number, at)) for at in range(5)]
            publishing = asyncio.gather(*answers)
            await asyncio.sleep(0)
            for at, ask in enumerate(sessions):
                ask("PUBLISH", "between:h", f"other {number}.{at}")
            assert all(await publishing)
            expected += [b"%d.%d" % (number, at) for at in range(5)]
    await eventually(lambda: len(node.pushed) == 1000, "all messages")
    kept = [pushed.payload for pushed in node.pushed if pushed.position]
    assert kept == expected
    assert all(pushed.payload.startswith(b"other") for pushed in node.pushed if not pushed.position)
    found = await node.recover("h", 300)
    assert payloads(found)[-50:] == expected[-50:]
    assert began.position is not None
    assert node.missed == []
