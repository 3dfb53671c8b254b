"""RPC calls that are sent on to RoadRunner: what they cost, beside a call that is ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from bench.generator import HOST, Generator
from bench.measure import Cost, Effort, Line, Scenario, Start, calls_in_flight
from bench.servers import Server, scratch, start_neighbour, start_ours

_METHOD = "jobs.Push"


async def forwarding(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """From one publisher with calls in flight, and from many with one each, as PHP processes are."""
    with scratch() as directory, start_neighbour(directory) as neighbour:
        rpc = {"rpc": {"forward": f"tcp://{HOST}:{neighbour.rpc_port}"}}
        with start_ours(directory, websockets=rpc) as server:
            for publishers, window, most in ((1, 1, None), (1, 64, 40.0), (64, 1, 40.0)):
                who = calls_in_flight(window) if publishers == 1 else f"{publishers} publishers"
                line = Line(f"forwarded call, {who}", "us", most=most)
                for _ in range(effort.rounds):
                    line.add_costs([await _cost(server, publishers, window, effort)])
                yield line


async def _cost(server: Server, publishers: int, window: int, effort: Effort) -> Cost:
    """One call."""
    async with Generator() as generator:
        before = server.cpu()
        load = await generator.publish(
            server.rpc_port, window, seconds=effort.seconds, publishers=publishers, method=_METHOD
        )
        return Cost((server.cpu() - before) / 1e3 / load.messages, load.saturated)


SCENARIOS: dict[str, Scenario] = {"forwarding": forwarding}
