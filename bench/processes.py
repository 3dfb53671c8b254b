"""What a message costs with two listener processes and a core, all together, beside one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import product

from bench.measure import Effort, Line, Scenario, Start, calls_in_flight, cost_of_delivery
from bench.servers import scratch, start_ours

_WINDOWS = (64, 1)


async def two_processes(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """The peer is the same server as one process."""
    with (
        scratch() as directory,
        start_ours(directory, "two", websockets={"processes": 2}) as two,
        start_ours(directory, "one") as one,
    ):
        unicast, fan_out = ("unicast", effort.connections), ("fan-out", 1)
        for (what, topics), window in product((unicast, fan_out), _WINDOWS):
            line = Line(f"two processes, not one, {what}, {calls_in_flight(window)}", "us")
            for _ in range(effort.rounds):
                line.add_costs(
                    [await cost_of_delivery(server, effort, window, topics=topics) for server in (two, one)]
                )
            yield line


SCENARIOS: dict[str, Scenario] = {"processes": two_processes}
