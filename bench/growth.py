"""`python -m bench.growth`: how costs grow with clients, topics and payloads, as a table and a picture."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import uvloop

from bench.chart import Chart, draw
from bench.generator import LoadError, build
from bench.measure import Effort, Start, cost_of_connections, cost_of_delivery, running
from bench.peers import Missing, find_bun
from bench.servers import Server, ServerError, start_ours

_MOST_CLIENTS = 1000
_JOINERS = 20


@dataclass(frozen=True, slots=True)
class Curve:
    """What is measured at growing values of something.

    Attributes:
        title: what is measured.
        x: what grows.
        steps: its values.
        cost: microseconds of a server at one of them.
    """

    title: str
    x: str
    steps: Sequence[int]
    cost: Callable[[Server, Effort, int], Awaitable[float]]


async def _fan_out(server: Server, effort: Effort, clients: int) -> float:
    return (await cost_of_delivery(server, effort, 4, connections=clients)).microseconds


async def _unicast(server: Server, effort: Effort, topics: int) -> float:
    clients = min(topics, _MOST_CLIENTS)
    cost = await cost_of_delivery(
        server, effort, 64, connections=clients, topics=topics, each=topics // clients
    )
    return cost.microseconds


async def _join(server: Server, effort: Effort, topics: int) -> float:
    cost, _ = await cost_of_connections(server, _JOINERS, topics=topics, each=topics)
    return cost.microseconds / topics


async def _payload(server: Server, effort: Effort, size: int) -> float:
    return (await cost_of_delivery(server, effort, 8, connections=8, topics=8, size=size)).microseconds


CURVES = (
    Curve("a delivery by fan-out, 4 in flight, us", "clients", (100, 300, 1000, 3000, 10_000), _fan_out),
    Curve("a unicast, 64 in flight, us", "topics", (1, 10, 100, 1000, 10_000, 100_000), _unicast),
    Curve("a join, for each topic, us", "topics of a client", (1, 10, 100, 1000), _join),
    Curve("a unicast, 8 in flight, us", "bytes", (35, 100, 1000, 10_000, 100_000, 1_000_000), _payload),
)


async def measure(curve: Curve, starts: Sequence[Start], effort: Effort) -> Chart:
    """Measure a curve; the servers take turns at each step."""
    curves: dict[str, list[tuple[float, float]]] = {}
    with running(starts) as servers:
        for step in curve.steps:
            costs: dict[str, list[float]] = {server.name: [] for server in servers}
            for _ in range(effort.rounds):
                for server in servers:
                    costs[server.name].append(await curve.cost(server, effort, step))
            for name, figures in costs.items():
                curves.setdefault(name, []).append((step, median(figures)))
    return Chart(curve.title, curve.x, curves)


def table(chart: Chart) -> str:
    """The figures of a curve."""
    lines = [f"{chart.title}, by {chart.x}"]
    for name, points in chart.curves.items():
        lines.append(f"  {name:>6}" + "".join(f"{x:>9g}: {y:<9.3g}" for x, y in points))
    return "\n".join(lines)


async def _run(starts: Sequence[Start], effort: Effort) -> list[Chart]:
    charts = []
    for curve in CURVES:
        charts.append(await measure(curve, starts, effort))
        print(table(charts[-1]), flush=True)
    return charts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--svg", type=Path, help="write the picture to this file")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        starts: list[Start] = [partial(start_ours, directory)]
        try:
            starts.append(partial(find_bun(), directory))
        except Missing as error:
            print(f"Measuring ours only: {error}.", file=sys.stderr)
        try:
            build()
            charts = uvloop.run(_run(starts, Effort(rounds=options.rounds, seconds=0.5)))
        except (LoadError, ServerError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    if options.svg:
        options.svg.write_text(draw(charts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
