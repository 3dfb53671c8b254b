"""What clients that misbehave cost the others: how long a message takes to those who behave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from statistics import quantiles

from bench.load import HOST, Fleet
from bench.misbehaving import Mob
from bench.publisher import Publisher
from bench.scenarios import Effort, Line, Scenario, Start
from bench.servers import Server

_FLOOD_SIZE = 32 * 1024
_FLOOD_PAUSE = 0.01


async def latency(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Nine in ten clients behave; the peer is the same server without the others.

    The others have joined a topic more, to which 3 MB are published each second, with them and without them:
    so much that what they do not read must go somewhere.
    """
    healthy, others = effort.connections - effort.connections // 10, effort.connections // 10
    typical, late = (
        Line(f"{name} latency, {others} of {effort.connections} misbehave", "ms", most_ratio=most)
        for name, most in (("median", None), ("p99", 2.0))
    )
    with starts[0]() as server:
        async with _flood(server):
            for _ in range(effort.rounds):
                mob = Mob(server.ws_port, [0, 1])
                await mob.gather(others)
                await asyncio.sleep(effort.seconds)  # their queues fill
                beside = await _latencies(server, healthy, effort.seconds)
                await mob.disperse()
                alone = await _latencies(server, healthy, effort.seconds)
                for line, percent in ((typical, 50), (late, 99)):
                    line.add([quantiles(times, n=100)[percent - 1] * 1e3 for times in (beside, alone)])
    for line in (typical, late):
        yield line


async def _latencies(server: Server, count: int, seconds: float) -> list[float]:
    """Seconds from the call to the arrival, of each message at each client; one message after another."""
    fleet = Fleet(server.ws_port)
    await fleet.connect(count)
    call = Publisher().call
    reader, writer = await asyncio.open_connection(HOST, server.rpc_port)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        fleet.sent.append(time.perf_counter())
        writer.write(call(len(fleet.sent) - 1))
        await reader.read(4096)
        await fleet.expect(len(fleet.sent))
    writer.close()
    await writer.wait_closed()
    await fleet.close()
    return fleet.latencies


@asynccontextmanager
async def _flood(server: Server) -> AsyncIterator[None]:
    """Publish a lot to the second topic, all the time."""
    call = Publisher(topics=2, size=_FLOOD_SIZE).call(1)
    reader, writer = await asyncio.open_connection(HOST, server.rpc_port)

    async def publish() -> None:
        while True:
            writer.write(call)
            await reader.read(4096)
            await asyncio.sleep(_FLOOD_PAUSE)

    task = asyncio.create_task(publish())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        writer.close()
        await writer.wait_closed()


SCENARIOS: dict[str, Scenario] = {"isolation": latency}
