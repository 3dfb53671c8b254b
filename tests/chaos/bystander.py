"""Beside one attacker of each kind: `python -m chaos.bystander [--seconds N] [--kind NAME] [--before FILE]`.

Clients, publishers and newcomers who behave must not notice the attacker, and the server must stop in time.
The table is Markdown. With a file that has the table of an earlier run, such as `docs/reliability.md`, each
cell has both figures. Exit code 1: a bound was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from chaos.attackers.kinds import KINDS
from chaos.attackers.process import attacking
from chaos.attackers.site import GRACE, StuckPipe, start_server
from chaos.healthy import CLIENTS, Figures, Healthy
from support.process import Server

HEADING = ("attacker", "p99, ms", "against nobody", "handshake, ms", "publishers", "stop, s", "told 1001")
MOST_LATENCY = 0.05
MOST_HANDSHAKE = 0.5
LEAST_PUBLISHED = 0.8
_MOST_WAITED = 0.1
_NOBODY = "(nobody)"
_THEN = " -> "


class Cell(NamedTuple):
    """A figure, and whether it is within its bound."""

    text: str
    good: bool

    def __str__(self) -> str:
        return self.text if self.good else f"**{self.text}**"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.bystander", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="to measure beside each attacker")
    parser.add_argument("--kind", action="append", choices=KINDS, metavar="NAME", help="repeatable")
    parser.add_argument("--before", type=Path, metavar="FILE", help="has the table of an earlier run")
    options = parser.parse_args()
    before = read_table(options.before.read_text()) if options.before else {}
    print(row(HEADING) + "\n" + row(["---"] * len(HEADING)))
    broken = 0
    disturbed: list[str] = []
    alone: Figures | None = None
    for kind in (None, *(options.kind or KINDS), None):  # the last shows whether the machine was as quiet
        with TemporaryDirectory() as directory:
            figures = measure(kind, Path(directory), options.seconds)
        alone = alone or figures
        cells = judge(figures, alone)
        broken += not all(cell.good for cell in cells)
        name = kind or _NOBODY
        if figures.waited > _MOST_WAITED:
            disturbed.append(f"{name} {figures.waited:.0%}")
        texts = list(map(str, cells))
        if name in before:
            texts = list(map(_THEN.join, zip(before[name], texts, strict=True)))
        print(row([name, *texts]), flush=True)
    print(f"\nattackers that somebody noticed: {broken}")
    if disturbed:
        print(f"other programs had the server's core while it waited: {', '.join(disturbed)} of the time")
    return int(broken > 0)


def measure(kind: str | None, directory: Path, seconds: float) -> Figures:
    """Measure beside an attacker, or beside nobody. The server has the first core, all others the rest."""
    cores = os.sched_getaffinity(0)
    others = cores - {min(cores)} or cores
    with StuckPipe() as pipe, (directory / "log").open("wb") as file:
        stuck = kind is not None and KINDS[kind].stuck_log
        server = start_server(directory, *([kind] if kind else []), log=pipe.file if stuck else file)
        try:
            os.sched_setaffinity(server.process.pid, {min(cores)})
            os.sched_setaffinity(0, others)
            server.wait_until_ready()
            for worker in server.family():
                os.sched_setaffinity(worker.pid, others)
            return asyncio.run(_measure(kind, server, pipe, seconds))
        finally:
            os.sched_setaffinity(0, cores)
            server.kill()


async def _measure(kind: str | None, server: Server, pipe: StuckPipe, seconds: float) -> Figures:
    healthy = Healthy(server)
    await healthy.connect()
    pipe.fill()
    async with attacking(kind, server):
        return await healthy.measure(seconds, GRACE)


def judge(figures: Figures, alone: Figures) -> list[Cell]:
    """Hold figures against their bounds.

    Args:
        figures: beside an attacker.
        alone: beside nobody.
    """
    return [
        Cell(_number(figures.latency * 1e3, 1), figures.latency <= MOST_LATENCY),
        Cell(f"{figures.latency / alone.latency:,.1f}x", good=True),
        Cell(_number(figures.handshake * 1e3), figures.handshake <= MOST_HANDSHAKE),
        Cell(f"{figures.published:.0%}", figures.published >= LEAST_PUBLISHED * alone.published),
        Cell(_number(figures.stop, 1), figures.stop <= GRACE),
        Cell(f"{figures.told}", figures.told == CLIENTS),
    ]


def _number(value: float, places: int = 0) -> str:
    return "never" if value == math.inf else f"{value:,.{places}f}"


def row(cells: Iterable[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def read_table(text: str) -> dict[str, list[str]]:
    """The figures of an earlier run: attacker -> cells; of cells with two figures the older one."""
    names = {_NOBODY, *KINDS}
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()]
    return {
        name: [cell.partition(_THEN)[0] for cell in cells]
        for name, *cells in rows
        if name in names and len(cells) == len(HEADING) - 1
    }


if __name__ == "__main__":
    sys.exit(main())
