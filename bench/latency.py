"""How long messages take when they come at a pace, and what clients that misbehave change about that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench.generator import Generator, Load
from bench.measure import Effort, Line, Scenario, Start, running
from bench.misbehaving import Mob
from bench.servers import Server

_RATES = (50, 200)
_FLOOD_SIZE = 32 * 1024
_FLOOD_RATE = 100


async def paced(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """So many messages in a second to everybody. Each counts from when it was due: no delay hides others."""
    with running(starts) as servers:
        for rate in _RATES:
            lines = [
                Line(f"{rate} messages/s to {effort.connections}, {part}", "ms")
                for part in ("p50", "p99", "p99.9")
            ]
            for _ in range(effort.rounds):
                loads = [
                    await _at_pace(server, effort.connections, rate, effort.seconds * 2) for server in servers
                ]
                for line, times in zip(lines, zip(*map(_times, loads), strict=True), strict=True):
                    line.add(times)
                    line.saturated |= any(load.saturated for load in loads)
            for line in lines:
                yield line


async def isolation(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Nine in ten clients behave; the peer is the same server without the others.

    The others have joined a topic more, to which 3 MB are published each second, with them and without them:
    so much that what they do not read must go somewhere.
    """
    healthy, others = effort.connections - effort.connections // 10, effort.connections // 10
    typical, late = (
        Line(f"{name} latency, {others} of {effort.connections} misbehave", "ms", most_ratio=most)
        for name, most in (("median", None), ("p99", 2.0))
    )
    with running(starts[:1]) as (server,):
        async with _flood(server):
            for _ in range(effort.rounds):
                mob = Mob(server.ws_port, [0, 1])
                await mob.gather(others)
                await asyncio.sleep(effort.seconds)  # their queues fill
                beside = await _at_pace(server, healthy, _RATES[0], effort.seconds)
                await mob.disperse()
                alone = await _at_pace(server, healthy, _RATES[0], effort.seconds)
                typical.add([load.p50 / 1e3 for load in (beside, alone)])
                late.add([load.p99 / 1e3 for load in (beside, alone)])
    for line in (typical, late):
        yield line


async def _at_pace(server: Server, count: int, rate: int, seconds: float) -> Load:
    async with Generator() as generator:
        await generator.connect(server.ws_port, count)
        return await generator.publish(server.rpc_port, rate=rate, seconds=seconds)


def _times(load: Load) -> tuple[float, float, float]:
    return load.p50 / 1e3, load.p99 / 1e3, load.p999 / 1e3


@asynccontextmanager
async def _flood(server: Server) -> AsyncIterator[None]:
    """Publish a lot to the second topic, all the time."""
    async with Generator() as generator:
        publishing = asyncio.create_task(
            generator.publish(server.rpc_port, rate=_FLOOD_RATE, seconds=3600, first=1, size=_FLOOD_SIZE)
        )
        try:
            yield
        finally:
            publishing.cancel()
            await asyncio.wait([publishing])


SCENARIOS: dict[str, Scenario] = {"paced": paced, "isolation": isolation}
