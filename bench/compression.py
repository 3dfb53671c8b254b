"""What compression costs and saves: JSON of 1 KB to clients that ask for it, and to as many that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.load import Fleet, document
from bench.publisher import Publisher
from bench.scenarios import Effort, Line, Scenario, Start, calls_in_flight
from bench.servers import Server, start_ours

_SIZE = 1024


async def deflate(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Everybody is in one topic. The peer is the same server, with clients that do not ask."""
    size = Line("deflated, not plain, on the wire", "bytes")
    with TemporaryDirectory() as directory, start_ours(Path(directory), compression="on") as server:
        for window in (1, 4, 64):
            line = Line(f"deflated, not plain, {calls_in_flight(window)}", "us", most_ratio=1.3)
            for _ in range(effort.rounds):
                figures = [await _cost(server, effort, window, deflated) for deflated in (True, False)]
                line.add([cpu for cpu, _ in figures])
                if window == 1:
                    size.add([wire for _, wire in figures])
            yield line
    yield size


async def _cost(server: Server, effort: Effort, window: int, deflated: bool) -> tuple[float, float]:
    """Server CPU in microseconds, and bytes on the wire, for one frame on one connection."""
    fleet = Fleet(server.ws_port, size=_SIZE, content=document, deflated=deflated)
    await fleet.connect(effort.connections)
    await asyncio.sleep(0.2)
    publisher = await Publisher.connect(server.rpc_port, size=_SIZE, content=document)
    before = server.cpu()
    frames = await fleet.expect(await publisher.run(window, seconds=effort.seconds))
    used = server.cpu() - before
    await publisher.close()
    await fleet.close()
    return used / 1e3 / frames, fleet.wire / frames


SCENARIOS: dict[str, Scenario] = {"deflate": deflate}
