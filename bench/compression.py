"""What compression costs and saves: JSON of 1 KB to clients that ask for it, and to as many that do not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench.generator import Generator
from bench.measure import Cost, Effort, Line, Scenario, Start, calls_in_flight, publishing
from bench.servers import Server, scratch, start_ours

_SIZE = 1024


async def deflate(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Everybody is in one topic. The peer is the same server, with clients that do not ask."""
    size = Line("deflated, not plain, on the wire", "bytes")
    with scratch() as directory, start_ours(directory, websockets={"compression": "on"}) as server:
        content = directory / "content"
        content.write_bytes(_document())
        for window in (1, 4, 64):
            line = Line(f"deflated, not plain, {calls_in_flight(window)}", "us", most_ratio=1.3)
            for _ in range(effort.rounds):
                figures = [
                    await _cost(server, effort, window, content, deflate=deflate) for deflate in (True, False)
                ]
                line.add_costs([cost for cost, _ in figures])
                if window == 1:
                    size.add([wire for _, wire in figures])
            yield line
    yield size


async def _cost(
    server: Server, effort: Effort, window: int, content: Path, *, deflate: bool
) -> tuple[Cost, float]:
    """A message for a client, and its bytes on the wire."""
    async with Generator() as generator:
        await generator.connect(
            server.ws_port, effort.connections, size=_SIZE, content=content, deflate=deflate
        )
        load, used = await publishing(generator, server, window, seconds=effort.seconds)
    return Cost(used / load.frames, load.saturated), load.wire / load.frames


def _document() -> bytes:
    """JSON that an application may publish, more than one payload of it."""
    orders = [
        {
            "id": 100_003 + 7919 * n,
            "customer": f"customer-{n * n * 31 % 997}",
            "status": ("open", "paid", "shipped")[n % 3],
            "total": round(19.99 * (n * 37 % 41 + 1), 2),
            "updated_at": f"2026-11-22T17:{n * 13 % 60:02}:{n * 29 % 60:02}Z",
        }
        for n in range(_SIZE // 80 + 1)
    ]
    return json.dumps({"event": "orders.updated", "data": orders}).encode()


SCENARIOS: dict[str, Scenario] = {"deflate": deflate}
