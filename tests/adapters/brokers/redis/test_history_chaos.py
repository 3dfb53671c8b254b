"""Failovers to replicas that lag, again and again, while clients come back: what they are told is true.

`CHAOS_ROUNDS` says how often, see test_chaos.py.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from rr_py_ws.errors import BrokerError
from support.history_node import HistoryNode, HistoryNodes
from support.redis_servers import Proxy, RedisServer, redis_server
from support.waiting import eventually

ROUNDS = max(1, int(os.environ.get("CHAOS_ROUNDS", "8")) // 8)
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1_000_000)

pytestmark = pytest.mark.timeout(60 + 20 * ROUNDS)


class Publisher:
    """Publishes numbers, one after another.

    Attributes:
        accepted: those that Redis has answered for.
        lost: of these, those that were in no copy when a server failed.
    """

    def __init__(self, node: HistoryNode) -> None:
        self._node = node
        self._next = 0
        self.accepted: list[int] = []
        self.lost: set[int] = set()

    async def publish(self, count: int = 1) -> None:
        for _ in range(count):
            self._next += 1
            with suppress(BrokerError):
                if await self._node.keep("h", b"%d" % self._next):
                    self.accepted.append(self._next)
                else:
                    self.lost.add(self._next)  # delivered, and in no history

    async def publish_accepted(self) -> int:
        """Publish until Redis has answered for one: a node may not know yet that its connection is broken."""
        before = len(self.accepted)

        async def is_accepted() -> bool:
            await self.publish()
            return len(self.accepted) > before

        await eventually(is_accepted, "a publish")
        return self.accepted[-1]


class Client:
    """Has what it was sent, and checks that nothing is missing that it was not told of."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._node: HistoryNode | None = None
        self._seen = 0
        self._last = 0
        self._position: str | None = None
        self.skipped: set[int] = set()
        self.recovered = 0

    async def join(self, node: HistoryNode) -> None:
        found = await node.recover("h", self._position or 0)
        self._node, self._seen = node, len(node.received)
        if found.reason or self._position is None:
            self._last = 0
            self.skipped.clear()
        else:
            self.recovered += 1
        for publication in found.replay:
            self._take(int(publication.payload), publication.position)
        if not found.replay and found.position is not None:
            self._position = found.position

    def leave(self) -> None:
        """Read what has come since the join."""
        assert self._node is not None
        positions = {publication.payload: publication.position for publication in self._node.pushed}
        for topic, payload in self._node.received[self._seen :]:
            if topic == "h" and payload is None:
                self._last = 0
                self.skipped.clear()
            elif topic == "h" and payload is not None:
                self._take(int(payload), positions.get(payload))
        self._seen = len(self._node.received)

    def _take(self, number: int, position: str | None) -> None:
        assert number > self._last, f"{number} after {self._last}: doubled or out of order"
        if self._last:
            missing = {one for one in self._publisher.accepted if self._last < one < number}
            assert missing <= self._publisher.lost, f"{missing - self._publisher.lost} are missing"
            self.skipped |= missing
        self._last = number
        self._position = position or self._position


class Fleet:
    """Two servers, one of which takes over from the other, and three nodes; nobody is on the last one."""

    def __init__(self, stack: AsyncExitStack, directory: Path) -> None:
        self._servers = [stack.enter_context(redis_server(directory)) for _ in range(2)]
        self._proxies: list[Proxy] = []
        self.nodes: list[HistoryNode] = []

    async def start(self, stack: AsyncExitStack, nodes: HistoryNodes) -> None:
        for _ in range(3):
            proxy = await stack.enter_async_context(Proxy(self._servers[0].port))
            self._proxies.append(proxy)
            self.nodes.append(await nodes.start(proxy.address, sweep=0.5))

    async def fail_over(self, publisher: Publisher, meanwhile: Callable[[], object]) -> None:
        """The replica has what there is now, and not what is published until the server fails."""
        master, replica = self._servers
        copy(master, replica)
        begin = len(publisher.accepted)
        deaf = [proxy for proxy in self._proxies[:2] if random.random() < 0.5]
        for proxy in deaf:
            proxy.divide()
        await publisher.publish(random.randrange(5))
        if random.random() < 0.5:
            meanwhile()
        publisher.lost.update(publisher.accepted[begin:])
        master.kill()
        for proxy in self._proxies:
            proxy.lead_to(replica.port)
        for proxy in deaf:
            proxy.heal()
        await eventually(lambda: all(node.broker.ready for node in self.nodes), "connections")
        master.start()
        self._servers.reverse()


def copy(master: RedisServer, replica: RedisServer) -> None:
    replica.ask("REPLICAOF", "127.0.0.1", master.port)
    with master.session() as ask:
        ask("SET", "something", "what is waited for")
        assert ask("WAIT", 1, 10_000) == 1
    replica.ask("REPLICAOF", "NO", "ONE")


async def test_failovers_that_lose_messages_are_told_to_all_who_miss_them(tmp_path: Path) -> None:
    random.seed(SEED)
    print(f"CHAOS_SEED={SEED}")  # noqa: T201  # shown when it fails
    async with AsyncExitStack() as stack:
        fleet = Fleet(stack, tmp_path)
        await fleet.start(stack, await stack.enter_async_context(HistoryNodes()))
        publisher = Publisher(fleet.nodes[2])
        clients = [Client(publisher) for _ in range(6)]
        for number, client in enumerate(clients):
            await client.join(fleet.nodes[number % 2])
        for _ in range(ROUNDS):
            await publisher.publish(random.randrange(1, 5))
            away = random.sample(clients, 3)
            for client in away:
                client.leave()
            await fleet.fail_over(publisher, clients[0].leave)
            joins = [client.join(random.choice(fleet.nodes[:2])) for client in away]
            await asyncio.gather(*joins, publisher.publish(3))
        last = b"%d" % await publisher.publish_accepted()
        for node in fleet.nodes[:2]:
            await node.wait_for("h", last)
        for client in clients:
            client.leave()
            assert not client.skipped, f"{client.skipped} are missing, and nothing was said"
        assert any(client.recovered for client in clients)
