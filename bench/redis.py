"""Redis between publishers and receivers: what it costs, how much passes, how long it takes."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import hiredis

from bench.generator import HOST, Generator
from bench.measure import Effort, Line, Scenario, Start, calls_in_flight, cost_of_delivery
from bench.servers import Server, by_redis, scratch, start_ours, start_redis

_WINDOW = 512
"""Calls in flight when as much as possible is to pass."""


async def delivery(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Everybody is in one topic of one process. The peer is our own memory broker."""
    with nodes("redis") as (_, node), nodes("memory", broker="memory") as (memory,):
        for window in (4, 64):
            line = Line(f"by Redis, not memory, {calls_in_flight(window)}", "us", most_ratio=1.3)
            for _ in range(effort.rounds):
                line.add_costs([await cost_of_delivery(server, effort, window) for server in (node, memory)])
            yield line


async def pair(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """One node publishes, another has the clients, each in a topic of its own; nothing may be lost.

    20 us from one message to the next are 50,000 messages in a second.
    """
    passing = Line(f"node pair, {calls_in_flight(_WINDOW)}", "us wall", most=20.0)
    parts = [
        Line(f"- CPU of the {who}", "us") for who in ("Redis server", "publishing node", "receiving node")
    ]
    with nodes("publishing", "receiving") as servers:
        _, publishing, receiving = servers
        for _ in range(effort.rounds):
            async with Generator() as generator:
                await generator.connect(receiving.ws_port, effort.connections, topics=effort.connections)
                before = [server.cpu() for server in servers]
                load = await generator.publish(publishing.rpc_port, _WINDOW, seconds=effort.seconds)
                used = [server.cpu() - cpu for server, cpu in zip(servers, before, strict=True)]
            passing.add([load.seconds * 1e6 / load.messages])
            passing.saturated |= load.saturated
            for part, nanoseconds in zip(parts, used, strict=True):
                part.add([nanoseconds / 1e3 / load.messages])
    for line in (passing, *parts):
        yield line


async def latency(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """From the RPC call to the client, one message at a time. The peer is our own memory broker."""
    line = Line("latency of a node pair, not memory", "us wall", most=1000.0)
    with nodes("publishing", "receiving") as (_, one, other), nodes("memory", broker="memory") as (memory,):
        for _ in range(effort.rounds):
            line.add(
                [
                    await _latency(publishing, receiving, effort)
                    for publishing, receiving in ((one, other), (memory, memory))
                ]
            )
    yield line


async def _latency(publishing: Server, receiving: Server, effort: Effort) -> float:
    """Median of microseconds."""
    async with Generator() as generator:
        await generator.connect(receiving.ws_port, 1)
        return (await generator.publish(publishing.rpc_port, seconds=effort.seconds)).p50


@contextmanager
def nodes(*names: str, broker: str = "redis", **websockets: Any) -> Iterator[list[Server]]:
    """Nodes of ours, on a Redis server of their own, which comes first; or with a memory broker."""
    with scratch() as directory, ExitStack() as stack:
        servers = [stack.enter_context(start_redis(directory))] if broker == "redis" else []
        sections = {"broadcast": by_redis(servers[0])} if servers else {}
        for name in names:
            node = start_ours(directory, name, websockets=websockets, **sections)
            servers.append(stack.enter_context(node))
        yield servers


def ask(redis: Server, *command: str) -> Any:
    """Send a command to a Redis server, and return its reply."""
    with socket.create_connection((HOST, redis.rpc_port)) as connection:
        connection.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]
        reader = hiredis.Reader(encoding="utf-8")
        while (reply := reader.gets()) is False:
            reader.feed(connection.recv(1 << 16))
        return reply


SCENARIOS: dict[str, Scenario] = {"redis": delivery, "redis-pair": pair, "redis-latency": latency}
