"""Real failovers, mostly to replicas that lag, by Sentinel and in a cluster, while clients come and go.

Nobody stands between nodes and servers here: who takes over, when, and how nodes learn of it is up to Redis.
`CHAOS_ROUNDS` says how often, see test_chaos.py.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.core.history import Receipt
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication
from support.history_clients import Client, Publisher
from support.history_node import HistoryNode, HistoryNodes
from support.redis_servers import Cluster, RedisServer, Sentinels
from support.waiting import eventually, eventually_sync

ROUNDS = max(1, int(os.environ.get("CHAOS_ROUNDS", "8")) // 15)
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1_000_000)

Fail = Callable[[list["Fleet"], RedisServer, RedisServer, Callable[[], bool]], Awaitable[None]]
"""Lets a master fail: fleets of nodes, it, its replica, and whether another is master."""

pytestmark = pytest.mark.timeout(120 + 40 * ROUNDS)


class Fleet:
    """Two nodes with clients that come and go, and a third that publishes, where nobody is.

    Args:
        nodes: these three.
        topic: that they are in.
        by_bus: see `Client`.
    """

    def __init__(self, nodes: list[HistoryNode], topic: str, *, by_bus: bool = False) -> None:
        self._nodes = nodes
        self.publisher = Publisher(nodes[2], topic)
        self.clients = [Client(self.publisher, by_bus=by_bus) for _ in range(6)]
        self._before = 0

    async def start(self) -> None:
        for number, client in enumerate(self.clients):
            await self._join(client, self._nodes[number % 2])
        await self.publisher.publish_accepted()

    async def _join(self, client: Client, node: HistoryNode) -> None:
        """Join, again and again as a client does, until the node can."""

        async def is_in() -> bool:
            with suppress(BrokerError):
                await client.join(node)
                return True
            return False

        await eventually(is_in, "a join")

    def has_recovered(self) -> bool:
        return any(client.recovered for client in self.clients)

    async def come_and_go(self) -> None:
        """Now and then a client goes to another node, or comes back to its own."""
        while True:
            client = random.choice(self.clients)
            client.leave()
            await asyncio.sleep(random.random() / 20)
            await self._join(client, random.choice(self._nodes[:2]))

    async def publish(self) -> None:
        """As users do, also while nothing can be kept."""
        while True:
            await self.publisher.publish()
            await asyncio.sleep(random.random() / 50)

    async def publish_some(self) -> None:
        """Wait until some messages more are kept; somebody publishes meanwhile."""
        enough = len(self.publisher.accepted) + 3
        await eventually(lambda: len(self.publisher.accepted) >= enough, "messages that are kept")

    def copied(self) -> None:
        """The replica has what was published so far, and nothing of what comes."""
        self._before = len(self.publisher.accepted)

    def failed(self) -> None:
        """What was published since the copy is lost."""
        self.publisher.lost.update(self.publisher.accepted[self._before :])

    async def rest(self) -> None:
        """Everybody has been told, or has it all."""
        last = b"%d" % await self.publisher.publish_accepted()
        for node in self._nodes[:2]:
            await node.wait_for(self.publisher.topic, last)
        for client in self.clients:
            client.leave()
            assert not client.skipped, f"{client.skipped} are missing, and nothing was said"
        self.publisher.is_in_doubt = False


@asynccontextmanager
async def at_work(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """They go on meanwhile, and nothing is wrong for them."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.result()
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [one for one in ended if isinstance(one, Exception)]
        assert not failed, failed


async def die(
    fleets: list[Fleet], master: RedisServer, replica: RedisServer, has_successor: Callable[[], bool]
) -> None:
    """A master dies with what its replica lacks, while clients come and go."""
    async with at_work(*(fleet.come_and_go() for fleet in fleets)):
        for fleet in fleets:
            await eventually(fleet.has_recovered, "a client that came back")
            await fleet.publisher.publish(random.randrange(1, 5))
        cut_off(master, replica)
        for fleet in fleets:
            fleet.copied()
        if random.random() < 0.5:
            master.ask("CLIENT", "KILL", "TYPE", "pubsub")  # some nodes do not see what comes now
        for fleet in fleets:
            await fleet.publisher.publish(random.randrange(5))
        for fleet in fleets:
            fleet.failed()
        master.kill()
        async with at_work(*(fleet.publish() for fleet in fleets)):
            await eventually(has_successor, "a successor", pause=0.05)
            for fleet in fleets:
                await fleet.publish_some()
    replica.ask("CONFIG", "SET", "masterauth", "")
    master.start()


async def stand_still(
    fleets: list[Fleet], master: RedisServer, replica: RedisServer, has_successor: Callable[[], bool]
) -> None:
    """A master stands still until there is another one, and goes on as if it were the master.

    What it is asked for then is in no other copy, nor is what it had not yet passed on.
    """
    for fleet in fleets:
        fleet.publisher.is_in_doubt = True
    async with at_work(*(work for fleet in fleets for work in (fleet.come_and_go(), fleet.publish()))):
        for fleet in fleets:
            await eventually(fleet.has_recovered, "a client that came back")
        if random.random() < 0.5:
            cut_off(master, replica)
        master.freeze()
        await eventually(has_successor, "a successor", pause=0.05)
        if random.random() < 0.5:
            for fleet in fleets:
                await fleet.publish_some()
        replica.ask("CONFIG", "SET", "masterauth", "")
        master.thaw()
        await eventually(lambda: is_replica(master), "a master that has heard of the other one", pause=0.05)
        for fleet in fleets:
            await fleet.publish_some()


def is_replica(server: RedisServer) -> bool:
    return "role:slave" in server.ask("INFO", "replication")


def cut_off(master: RedisServer, replica: RedisServer) -> None:
    """The replica gets what there is, and nothing more: its master refuses the password that it gives now."""
    with master.session() as ask:
        ask("SET", "{x}", "what is waited for")
        assert ask("WAIT", 1, 10_000) == 1
    replica.ask("CONFIG", "SET", "masterauth", "nobody has asked for one")
    master.ask("CLIENT", "KILL", "TYPE", "replica")
    eventually_sync(
        lambda: "connected_slaves:0" in master.ask("INFO", "replication"), "a replica that is cut off"
    )


def is_followed(master: RedisServer | None) -> bool:
    return master is not None and "state=online" in master.ask("INFO", "replication")


@pytest.mark.parametrize("fail", [die, stand_still] if ROUNDS > 1 else [die])  # it takes sentinels long
async def test_failovers_by_sentinel(fail: Fail, tmp_path: Path) -> None:
    random.seed(SEED)
    print(f"CHAOS_SEED={SEED}")  # noqa: T201  # shown when it fails
    async with AsyncExitStack() as stack:
        sentinels = Sentinels(stack.enter_context(ExitStack()), tmp_path)
        nodes = await stack.enter_async_context(HistoryNodes())
        options = {"master_name": "main", "sweep": 0.5}
        fleet = Fleet([await nodes.start(*sentinels.addresses, **options) for _ in range(3)], "h")
        await fleet.start()
        for _ in range(ROUNDS):
            await eventually(lambda: is_followed(sentinels.master), "a replica")
            master = sentinels.master
            replica = next(server for server in sentinels.servers if server is not master)
            await fail([fleet], master, replica, lambda replica=replica: sentinels.master is replica)
            await fleet.rest()


@pytest.mark.parametrize("fail", [die, stand_still])
async def test_failovers_in_a_cluster(fail: Fail, tmp_path: Path) -> None:
    """Nodes that listen to one server for all, beside nodes that listen to the master of each topic."""
    random.seed(SEED)
    print(f"CHAOS_SEED={SEED}")  # noqa: T201  # shown when it fails
    async with AsyncExitStack() as stack:
        cluster = Cluster(stack.enter_context(ExitStack()), tmp_path)
        nodes = await stack.enter_async_context(HistoryNodes())
        fleets = []
        for sharded in (False, True):
            options = {"sharded": sharded, "sweep": 0.5}
            started = [await nodes.start(*cluster.addresses, **options) for _ in range(3)]
            fleets.append(Fleet(started, "h{x} sharded" if sharded else "h{x} classic", by_bus=True))
            await fleets[-1].start()
        for _ in range(ROUNDS):
            await eventually(lambda: is_followed(cluster.find_owner("{x}")), "a replica")
            master = cluster.owner("{x}")
            replica = replica_of(cluster, master)
            await fail(
                fleets, master, replica, lambda replica=replica: cluster.find_owner("{x}", replica) is replica
            )
            for fleet in fleets:
                await fleet.rest()


def replica_of(cluster: Cluster, master: RedisServer) -> RedisServer:
    port = f"master_port:{master.port}\r\n"
    return next(server for server in cluster.alive if port in server.ask("INFO", "replication"))


async def test_an_idempotency_key_is_where_its_message_is(tmp_path: Path) -> None:
    """A publisher that tries again after a failover: only what was lost is published twice."""
    async with AsyncExitStack() as stack:
        sentinels = Sentinels(stack.enter_context(ExitStack()), tmp_path)
        nodes = await stack.enter_async_context(HistoryNodes())
        node = await nodes.start(*sentinels.addresses, master_name="main")
        await node.recover("h", 0)
        kept = await publish_under_a_key(node, "kept")
        master = sentinels.master
        replica = next(server for server in sentinels.servers if server is not master)
        cut_off(master, replica)
        lost = await publish_under_a_key(node, "lost")
        await node.wait_for("h", b"lost")  # its answer may be here before
        master.kill()
        await eventually(lambda: sentinels.master is replica, "a successor", pause=0.05)

        again: list[Receipt] = []

        async def is_answered() -> bool:
            with suppress(BrokerError):
                again.append(await publish_under_a_key(node, "kept"))
            return bool(again)

        await eventually(is_answered, "a connection to the successor")
        assert again == [Receipt(kept.position, duplicate=True)]
        anew = await publish_under_a_key(node, "lost")
        assert not anew.duplicate
        assert anew.position not in (None, lost.position)
        await eventually(lambda: node.received.count(("h", b"lost")) == 2, "the message once more")
        assert node.received == [("h", b"kept"), ("h", b"lost"), ("h", None), ("h", b"lost")]


async def publish_under_a_key(node: HistoryNode, name: str) -> Receipt:
    """Publish a text to the topic `h` under an idempotency key of the same name."""
    accepted = node.broker.publish_once(Publication("h", name.encode()), name)
    return await accepted if isinstance(accepted, Awaitable) else accepted
