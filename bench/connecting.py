"""What clients cost that come, that stay, that join a lot; and what it costs to ask PHP about them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench.generator import Generator
from bench.measure import Effort, Line, Scenario, Start, cost_of_connections, running
from bench.servers import Server, php_client, scratch, start_ours

_TOPICS = 1000
_JOINERS = 100
"""With ten of them, 1 MiB more or less, as Python takes memory, were 100 bytes for each subscription."""
_WORKERS = 4
_WORKER = """<?php
require '{client}/autoload.php';
RRPyWs\\Worker::create()->serve(connect: fn () => true, join: fn () => true);
"""


async def connect(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Many clients come, and stay. Each round has new processes: memory once used is not given back."""
    count = effort.idle_connections
    cpu = Line(f"handshake and join, {count} connections", "us", most_ratio=1.5)
    memory = Line(f"memory of an idle connection of {count}", "KiB", most=1.3)
    for _ in range(effort.rounds):
        costs, held = [], []
        for start in starts:
            with start() as server:
                cost, kib = await cost_of_connections(server, count)
            costs.append(cost)
            held.append(kib)
        cpu.add_costs(costs)
        memory.add(held)
    yield cpu
    yield memory


async def joins(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Clients join the same many topics, each in one command."""
    cpu = Line(f"join of {_TOPICS} topics, each", "us", most=0.5)
    memory = Line("memory of a subscription", "bytes", most=90)
    for _ in range(effort.rounds):
        times, held = [], []
        for start in starts:
            with start() as server:
                await cost_of_connections(server, 1)  # the first one is dearer
                cost, kib = await cost_of_connections(server, _JOINERS, topics=_TOPICS, each=_TOPICS)
            times.append(cost.microseconds / _TOPICS)
            held.append(kib * 1024 / _TOPICS)
        cpu.add(times)
        memory.add(held)
    yield cpu
    yield memory


async def idle(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Nothing happens but pings. Ours only: the peer pings by other rules."""
    count, seconds = effort.idle_connections, effort.idle_seconds
    line = Line(f"idle, {count} connections, {seconds:g} s", "% of a core", most=1.0)
    with running(starts[:1]) as (server,):
        async with Generator() as generator:
            await generator.connect(server.ws_port, count)
            await generator.idle(1.0)
            before = server.cpu()
            await generator.idle(seconds)
            line.add([(server.cpu() - before) / 1e7 / seconds])
    yield line


async def storm(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Everybody comes back at once, and PHP is asked about each of them twice. The peer is PHP itself."""
    count = effort.stormers
    cpu = Line(f"storm of {count} through {_WORKERS} PHP workers; PHP", "us", most_ratio=2.4)
    rate = Line("- connected and joined", "/s")
    late = Line("- p99, of all at once", "ms")
    with scratch() as directory, _asking_php(directory) as server:
        for number in range(effort.rounds + 1):
            async with Generator() as generator:
                own, everything = server.own_cpu(), server.cpu()
                load = await generator.connect(server.ws_port, count, parallel=count)
                own, everything = server.own_cpu() - own, server.cpu() - everything
                await generator.close()
            if number:  # the first ones are dearer
                cpu.add([own / 1e3 / count, (everything - own) / 1e3 / count])
                rate.add([count / load.seconds])
                late.add([load.p99 / 1e3])
    for line in (cpu, rate, late):
        yield line


def _asking_php(directory: Path) -> Server:
    """A server where PHP decides, and everybody may wait for it."""
    worker = directory / "worker.php"
    worker.write_text(_WORKER.format(client=php_client()))
    websockets = {
        "authorize": "php",
        "authorize_timeout": "60s",
        "pool": {"num_workers": _WORKERS},
        "limits": {"handshake_wait": "60s", "max_joins_waiting": 100_000},
    }
    return start_ours(directory, server={"command": f"php {worker}"}, websockets=websockets)


SCENARIOS: dict[str, Scenario] = {"connect": connect, "joins": joins, "idle": idle, "storm": storm}
