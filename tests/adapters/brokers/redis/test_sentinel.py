"""A master that sentinels watch, and what nodes do when it changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rr_py_ws.errors import BrokerError
from support.broker_node import Node
from support.ports import free_port
from support.redis_nodes import IMPATIENT, Start, redis_broker
from support.redis_servers import RedisServer, Sentinels
from support.waiting import eventually


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    """Each test breaks its own."""
    with ExitStack() as stack:
        yield Sentinels(stack, tmp_path)


async def publishes_through(node: Node, server: RedisServer) -> None:
    """Wait until both connections are to this server, and see that messages pass."""
    await eventually(lambda: node.broker.ready and server.channels() == ["a"], "a move")
    assert (server.clients("normal"), server.clients("pubsub")) == (1, 1)
    node.received.clear()
    await node.publish("a", b"1")
    await node.wait_for("a", b"1")


async def test_a_master_is_found_and_its_successor_too(sentinels: Sentinels, start: Start) -> None:
    node = await start(*sentinels.addresses, master_name="main")
    await node.subscribe("a")
    first = sentinels.master
    await publishes_through(node, first)
    first.kill()
    await eventually(lambda: not node.broker.ready)
    with pytest.raises(BrokerError, match="redis is not available"):
        node.send("a", b"lost")
    await eventually(lambda: node.missed == ["a"], "the end of the gap")
    await publishes_through(node, next(server for server in sentinels.servers if server is not first))
    assert redis_broker(node).counters.gaps == 1


async def test_a_master_that_stood_still_and_has_a_successor_is_left(
    sentinels: Sentinels, start: Start
) -> None:
    """It still takes what is published to it, for a while, and tells nobody."""
    node = await start(*sentinels.addresses, master_name="main", read_timeout=60.0)
    await node.subscribe("a")
    first, second = sentinels.servers
    first.freeze()
    await eventually(lambda: sentinels.master is second, "a failover")
    await publishes_through(node, second)
    first.thaw()
    assert "role:master" in first.ask("INFO", "replication")
    await publishes_through(node, second)


async def test_a_planned_failover(sentinels: Sentinels, start: Start) -> None:
    node = await start(*sentinels.addresses, master_name="main")
    await node.subscribe("a")
    assert sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", "main") == "OK"
    await publishes_through(node, sentinels.servers[1])


async def test_sentinels_that_are_down_are_passed_over(sentinels: Sentinels, start: Start) -> None:
    sentinels.sentinels[0].kill()
    sentinels.sentinels[1].freeze()
    node = await start(*sentinels.addresses, master_name="main", dial_timeout=0.3, **IMPATIENT)
    assert node.broker.ready
    for sentinel in sentinels.sentinels[1:]:
        sentinel.kill()
    await node.subscribe("a")
    await publishes_through(node, sentinels.servers[0])


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[RedisServer]:
    """One alone; its master is not there."""
    server = RedisServer(tmp_path, sentinel=(f"sentinel monitor main 127.0.0.1 {free_port()} 1",))
    server.start()
    yield server
    server.close()


async def test_a_name_that_no_sentinel_knows_is_said(sentinel: RedisServer, start: Start) -> None:
    node = await start(sentinel.address, master_name="mian")
    with pytest.raises(BrokerError, match=f"the sentinel at {sentinel.address} knows no master 'mian'"):
        node.send("a", b"1")


async def test_sentinels_with_a_password(sentinel: RedisServer, start: Start) -> None:
    assert sentinel.ask("ACL", "SETUSER", "default", "resetpass", ">right") == "OK"
    node = await start(sentinel.address, master_name="main", sentinel_password="wrong")
    with pytest.raises(BrokerError, match=r"no sentinel names a master: .*WRONGPASS"):
        node.send("a", b"1")
    node = await start(sentinel.address, master_name="main", sentinel_password="right", password="other")
    with pytest.raises(BrokerError, match="Connection refused"):  # by the master
        node.send("a", b"1")


async def test_no_sentinel_at_all(start: Start) -> None:
    node = await start(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", master_name="main")
    with pytest.raises(BrokerError, match=r"no sentinel names a master: (.*Connection refused){2}"):
        node.send("a", b"1")
