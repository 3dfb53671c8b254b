"""RPC calls that are sent on to RoadRunner: what they cost, beside a call that is ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.publisher import Publisher
from bench.scenarios import Effort, Line, Scenario, Start, calls_in_flight
from bench.servers import HOST, Server, start_neighbour, start_ours

_METHOD = b"jobs.Push"


async def forwarding(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """From one publisher with calls in flight, and from many with one each, as PHP processes are."""
    with TemporaryDirectory() as name, start_neighbour(Path(name)) as neighbour:
        rpc = f'{{forward: "tcp://{HOST}:{neighbour.rpc_port}"}}'
        with start_ours(Path(name), rpc=rpc) as server:
            for publishers, window, most in ((1, 1, None), (1, 64, 40.0), (64, 1, 40.0)):
                who = calls_in_flight(window) if publishers == 1 else f"{publishers} publishers"
                line = Line(f"forwarded call, {who}", "us", most=most)
                for _ in range(effort.rounds):
                    line.add([await _cost(server, publishers, window, effort)])
                yield line


async def _cost(server: Server, publishers: int, window: int, effort: Effort) -> float:
    """Server CPU in microseconds for one call."""
    peers = [await Publisher.connect(server.rpc_port, method=_METHOD) for _ in range(publishers)]
    before = server.cpu()
    made = sum(await asyncio.gather(*(peer.run(window, seconds=effort.seconds) for peer in peers)))
    used = server.cpu() - before
    for peer in peers:
        await peer.close()
    return used / 1e3 / made


SCENARIOS: dict[str, Scenario] = {"forwarding": forwarding}
