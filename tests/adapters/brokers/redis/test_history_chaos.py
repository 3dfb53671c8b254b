"""Failovers to replicas that lag, again and again, while clients come back: what they are told is true.

`CHAOS_ROUNDS` says how often, see test_chaos.py.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from support.history_clients import Client, Publisher
from support.history_node import HistoryNode, HistoryNodes
from support.redis_servers import Proxy, RedisServer, redis_server
from support.waiting import eventually

ROUNDS = max(1, int(os.environ.get("CHAOS_ROUNDS", "8")) // 8)
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1_000_000)

pytestmark = pytest.mark.timeout(60 + 20 * ROUNDS)


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
