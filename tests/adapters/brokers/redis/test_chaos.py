"""Nodes that go on publishing while everything between them fails, and a checker that knows what must arrive.

Of what Redis has accepted, each node receives everything, once, in the order of its publisher; or it tells
of a gap in exactly that place. `CHAOS_ROUNDS` says how often something fails; `make chaos-redis` is long.
"""

from __future__ import annotations

import asyncio
import os
import random
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from rr_py_ws.errors import BrokerError
from support.broker_node import Node, done, started
from support.redis_nodes import IMPATIENT, make_broker, redis_broker
from support.redis_servers import Cluster, Proxy, RedisServer, Sentinels, redis_server
from support.waiting import eventually

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "8"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1_000_000)
TOPICS = [f"topic {number}" for number in range(10)]

pytestmark = pytest.mark.timeout(60 + 10 * ROUNDS)


class Publisher:
    """Publishes numbers through one node, one after another, to topics in turn.

    Attributes:
        accepted: topic and payload of each message that was answered, in order.
    """

    def __init__(self, name: str, node: Node) -> None:
        self._name = name
        self._node = node
        self.accepted: list[tuple[str, bytes]] = []

    async def run(self) -> None:
        for number in count():
            message = (random.choice(TOPICS), f"{self._name} {number}".encode())
            with suppress(BrokerError):
                await done(self._node.send(*message))
                self.accepted.append(message)
            if number % 10 == 0:
                await asyncio.sleep(0.002)  # some thousand in a second: more would only take longer to check


def numbers(messages: list[tuple[str, bytes | None]], topic: str, publisher: str) -> list[int | None]:
    """The numbers of one publisher in one topic; None is a gap."""
    payloads = [payload for name, payload in messages if name == topic]
    return [
        None if payload is None else int(payload.split()[1])
        for payload in payloads
        if payload is None or payload.split()[0] == publisher.encode()
    ]


def check(node: Node, publishers: list[Publisher]) -> None:
    for publisher in publishers:
        for topic in TOPICS:
            received = numbers(node.received, topic, publisher._name)
            accepted = numbers(list(publisher.accepted), topic, publisher._name)
            _check_one(received, [number for number in accepted if number is not None])


def _check_one(received: list[int | None], accepted: list[int]) -> None:
    """Walk over what arrived; between two neighbours without a gap nothing accepted may be missing.

    What was accepted is in order, and may be so much that it must not be looked through for each.
    """
    last, gap = -1, False
    for number in received:
        if number is None:
            gap = True
            continue
        assert number > last, f"{number} after {last}: doubled or out of order"
        lost = accepted[bisect_right(accepted, last) : bisect_left(accepted, number)]
        assert gap or not lost, f"{lost} are missing before {number}, and nothing was said"
        last, gap = number, False
    lost = accepted[bisect_right(accepted, last) :]
    assert not lost, f"{lost} are missing at the end"


@asynccontextmanager
async def publishing(nodes: list[Node]) -> AsyncIterator[list[Publisher]]:
    """Publishers run; afterwards what they have published must have arrived."""
    for node in nodes:
        await node.subscribe(*TOPICS, "the end")
    publishers = [Publisher(str(number), node) for number, node in enumerate(nodes)]
    tasks = [asyncio.create_task(publisher.run()) for publisher in publishers]
    try:
        yield publishers
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    # What was published before this arrives before this, from each publisher.
    for topic in TOPICS:
        for publisher in publishers:
            message = (topic, f"{publisher._name} 1000000000".encode())
            await publisher._node.publish(*message)
            publisher.accepted.append(message)
    for node in nodes:
        for publisher in publishers:
            for topic in TOPICS:
                await node.wait_for(topic, f"{publisher._name} 1000000000".encode())
        check(node, publishers)


async def all_ready(nodes: list[Node]) -> None:
    await eventually(lambda: all(node.broker.ready for node in nodes), "nodes that are ready")


class World:
    """Three nodes, each with a proxy of its own before the one server; and what can happen to them."""

    def __init__(self, server: RedisServer, proxies: list[Proxy], nodes: list[Node]) -> None:
        self.server = server
        self.proxies = proxies
        self.nodes = nodes
        self.faults: list[Callable[[], Awaitable[None]]] = [
            self.kill_server,
            self.freeze_server,
            self.divide,
            self.cut,
            self.kill_publishing,
            self.kill_subscribed,
            self.overflow,
            self.leave_and_join,
        ]

    async def kill_server(self) -> None:
        await self.lose(self.server.kill, 2)
        self.server.start()

    async def freeze_server(self) -> None:
        await self.lose(self.server.freeze, 2)
        self.server.thaw()

    async def divide(self) -> None:
        number = random.randrange(len(self.nodes))
        await self.lose(self.proxies[number].divide, 2, self.nodes[number])
        self.proxies[number].heal()

    async def cut(self) -> None:
        number = random.randrange(len(self.nodes))
        await self.lose(self.proxies[number].cut, 2, self.nodes[number])

    async def kill_publishing(self) -> None:
        await self.lose(lambda: self.server.ask("CLIENT", "KILL", "TYPE", "normal"), 1)

    async def kill_subscribed(self) -> None:
        await self.lose(lambda: self.server.ask("CLIENT", "KILL", "TYPE", "pubsub"), 1)

    async def overflow(self) -> None:
        """More than may wait for a subscriber, at once: small messages, Valkey does not count large ones."""
        many = f"for _ = 1, 100 do redis.call('PUBLISH', '{TOPICS[0]}', string.rep('x', 10000)) end"
        self.server.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 100kb 0 0")
        await self.lose(lambda: self.server.ask("EVAL", many, "0"), 1)
        self.server.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60")

    async def lose(self, fault: Callable[[], object], connections: int, *nodes: Node) -> None:
        """Let something happen, and wait until so many connections of each node have noticed."""
        expected = [(redis_broker(node).counters, connections) for node in nodes or self.nodes]
        expected = [(counters, counters.connections_lost + more) for counters, more in expected]
        fault()
        await eventually(lambda: all(counters.connections_lost >= enough for counters, enough in expected))

    async def leave_and_join(self) -> None:
        """A page reload in the middle of it: nothing may be missed."""
        node = random.choice(self.nodes)
        node.broker.unsubscribe(TOPICS)
        await done(node.broker.subscribe(TOPICS))


async def test_nothing_is_lost_in_silence_doubled_or_out_of_order(tmp_path: Path) -> None:
    random.seed(SEED)
    print(f"CHAOS_SEED={SEED}")  # noqa: T201  # shown when it fails
    async with AsyncExitStack() as stack:
        server = stack.enter_context(redis_server(tmp_path))
        proxies = [await stack.enter_async_context(Proxy(server.port)) for _ in range(3)]
        nodes = [
            await stack.enter_async_context(
                started(make_broker(proxy.address, pool_timeout=20.0, **IMPATIENT))
            )
            for proxy in proxies
        ]
        world = World(server, proxies, nodes)
        async with publishing(nodes) as publishers:
            for number in range(ROUNDS):
                await all_ready(nodes)
                before = len(publishers[0].accepted)
                await eventually(lambda enough=before + 20: len(publishers[0].accepted) > enough)
                await world.faults[number % len(world.faults)]()
            await all_ready(nodes)
        assert sum(len(publisher.accepted) for publisher in publishers) > 100


async def test_failovers_lose_nothing_in_silence(tmp_path: Path) -> None:
    """Each master is killed in turn and comes back as the replica of its successor."""
    random.seed(SEED)
    async with AsyncExitStack() as stack:
        sentinels = Sentinels(stack.enter_context(ExitStack()), tmp_path)
        nodes = [
            await stack.enter_async_context(
                started(make_broker(*sentinels.addresses, master_name="main", **IMPATIENT))
            )
            for _ in range(2)
        ]
        async with publishing(nodes):
            for _ in range(max(1, ROUNDS // 50)):
                # The sentinel that is asked may hear of the successor later than the nodes.
                await eventually(lambda: has_replica(sentinels.master), "a replica")
                master = sentinels.master
                master.kill()
                await eventually(lambda: not any(node.broker.ready for node in nodes))
                await all_ready(nodes)
                master.start()
            await all_ready(nodes)


def has_replica(master: RedisServer) -> bool:
    return "slave0:" in master.ask("INFO", "replication")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path)


async def test_shards_that_move_all_the_time(cluster: Cluster) -> None:
    """Slots move without a failure of any connection: no publish fails, and topics come back in order."""
    random.seed(SEED)
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                started(make_broker(*cluster.addresses, sharded=True, **IMPATIENT))
            )
            for _ in range(2)
        ]
        await all_ready(nodes)
        async with publishing(nodes):
            for number in range(max(2, ROUNDS // 2)):
                topic = TOPICS[number % len(TOPICS)]
                old = cluster.owner(topic)
                new = random.choice([server for server in cluster.masters if server is not old])
                cluster.move(topic, new)
                await eventually(
                    lambda topic=topic, new=new: (
                        all(cluster.owner(topic, asked) is new for asked in cluster.alive)
                        and new.ask("PUBSUB", "SHARDNUMSUB", topic) == [topic, len(nodes)]
                    ),
                    "a slot that has moved",
                )
                await all_ready(nodes)
