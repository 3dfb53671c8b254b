"""Redis between publishers and receivers: what it costs, how much passes, how long it takes."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.load import HOST, REQUEST, Fleet, join_frame
from bench.publisher import Publisher
from bench.scenarios import Effort, Line, Scenario, Start, calls_in_flight, cost_of_delivery
from bench.servers import Server, start_ours, start_redis

_WINDOW = 512
"""Calls in flight when as much as possible is to pass."""


async def delivery(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Everybody is in one topic of one process. The peer is our own memory broker."""
    with _nodes("ours") as (_, node), _memory() as memory:
        for window in (4, 64):
            line = Line(f"by Redis, not memory, {calls_in_flight(window)}", "us", most_ratio=1.3)
            for _ in range(effort.rounds):
                line.add([await cost_of_delivery(server, effort, window) for server in (node, memory)])
            yield line


async def pair(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """One node publishes, another has the clients, each in a topic of its own; nothing may be lost.

    20 us from one message to the next are 50,000 messages in a second.
    """
    passing = Line(f"node pair, {calls_in_flight(_WINDOW)}", "us wall", most=20.0)
    parts = [
        Line(f"  CPU of the {who}", "us") for who in ("publishing node", "Redis server", "receiving node")
    ]
    for _ in range(effort.rounds):
        with _nodes("publishing", "receiving") as servers:
            for line, figure in zip([passing, *parts], await _cost_of_passing(*servers, effort), strict=True):
                line.add([figure])
    for line in (passing, *parts):
        yield line


async def latency(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """From the RPC call to the client, one message at a time. The peer is our own memory broker."""
    line = Line("latency of a node pair, not memory", "us wall", most=1000.0)
    with _nodes("publishing", "receiving") as (_, publishing, receiving), _memory() as memory:
        for _ in range(effort.rounds):
            line.add([_latency(publishing, receiving, effort), _latency(memory, memory, effort)])
    yield line


async def _cost_of_passing(
    redis: Server, publishing: Server, receiving: Server, effort: Effort
) -> list[float]:
    """Microseconds for a message: from one to the next, and of CPU of each process."""
    fleet = Fleet(receiving.ws_port, topics=effort.connections)
    await fleet.connect(effort.connections)
    publisher = await Publisher.connect(publishing.rpc_port, topics=effort.connections)
    servers = (publishing, redis, receiving)
    cpu, began = [server.cpu() for server in servers], time.perf_counter()
    made = await publisher.run(_WINDOW, seconds=effort.seconds)
    await fleet.expect(made)
    wall = time.perf_counter() - began
    used = [server.cpu() - before for server, before in zip(servers, cpu, strict=True)]
    await publisher.close()
    await fleet.close()
    return [wall * 1e6 / made, *(nanoseconds / 1e3 / made for nanoseconds in used)]


def _latency(publishing: Server, receiving: Server, effort: Effort) -> float:
    """Median of microseconds. Nothing else happens meanwhile, so the sockets may block."""
    publisher = Publisher()
    with (
        socket.create_connection((HOST, receiving.ws_port)) as client,
        socket.create_connection((HOST, publishing.rpc_port)) as php,
    ):
        for sent, expected in ((REQUEST, b"\r\n\r\n"), (join_frame(0), b'"@join"')):
            client.sendall(sent)
            answer = b""
            while expected not in answer:
                answer += client.recv(4096)
        times = []
        for number in range(int(500 * effort.seconds)):
            began = time.perf_counter()
            php.sendall(publisher.call(number))
            client.recv(4096)
            times.append((time.perf_counter() - began) * 1e6)
            php.recv(4096)
    return median(times)


@contextmanager
def _nodes(*names: str) -> Iterator[list[Server]]:
    """A Redis server, and nodes of ours on it."""
    with TemporaryDirectory() as directory, ExitStack() as stack:
        redis = stack.enter_context(start_redis(Path(directory)))
        broker = f"{{driver: redis, config: {{addrs: ['{redis.address}']}}}}"
        nodes = [stack.enter_context(start_ours(Path(directory), name, broker)) for name in names]
        yield [redis, *nodes]


@contextmanager
def _memory() -> Iterator[Server]:
    with TemporaryDirectory() as directory, start_ours(Path(directory), "memory") as server:
        yield server


SCENARIOS: dict[str, Scenario] = {"redis": delivery, "redis-pair": pair, "redis-latency": latency}
