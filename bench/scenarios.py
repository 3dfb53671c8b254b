"""What is measured: CPU time and memory of the server, which depend little on this client's own speed.

Ours and the peer take turns within each round: what else runs on the machine slows both alike, so the ratio
of a round says more than its figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

from bench.load import Fleet
from bench.publisher import Publisher
from bench.servers import Server

Start = Callable[[], Server]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is done.

    Attributes:
        rounds: turns of each server; the median counts.
        seconds: of publishing in a turn.
        connections: clients that messages are published to.
        idle_connections: clients that only connect, join and answer pings.
        idle_seconds: how long they are watched. 50 s and more have the same number of pings for each.
    """

    rounds: int = 7
    seconds: float = 2.0
    connections: int = 1000
    idle_connections: int = 8000
    idle_seconds: float = 50.0


QUICK = Effort(rounds=3, seconds=0.5, idle_seconds=5.0)


@dataclass(slots=True)
class Line:
    """One figure of the report.

    Attributes:
        name: what it is.
        unit: of the figures.
        most: what ours may be at most; None when nothing was promised.
        most_ratio: what ours divided by the peer's may be at most.
        ours: one figure for each round.
        peer: the same of the peer; empty when it was not measured.
    """

    name: str
    unit: str
    most: float | None = None
    most_ratio: float | None = None
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Median over the rounds of ours divided by the peer's."""
        return median(a / b for a, b in zip(self.ours, self.peer, strict=True)) if self.peer else None

    @property
    def passed(self) -> bool | None:
        """Whether the promise is kept; None when there is none, or nothing to compare with."""
        verdicts = []
        if self.most is not None:
            verdicts.append(median(self.ours) <= self.most)
        if self.most_ratio is not None and self.ratio is not None:
            verdicts.append(self.ratio <= self.most_ratio)
        return all(verdicts) if verdicts else None

    def add(self, figures: Sequence[float]) -> None:
        """Take the figures of one round: ours, and the peer's when there is one."""
        self.ours.append(figures[0])
        self.peer += figures[1:]


Scenario = Callable[[Sequence[Start], Effort], AsyncIterator[Line]]


async def deliver(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Everybody is in one topic."""
    with _running(starts) as servers:
        for window, most_ratio in ((1, 1.2), (4, 1.2), (64, 0.9)):
            line = Line(f"delivery, 1 topic, {calls_in_flight(window)}", "us", most_ratio=most_ratio)
            for _ in range(effort.rounds):
                line.add([await cost_of_delivery(server, effort, window) for server in servers])
            yield line


async def many_topics(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Everybody is in a topic of their own, so that a call is one delivery."""
    line = Line(f"delivery, {effort.connections} topics, {calls_in_flight(64)}", "us")
    with _running(starts) as servers:
        for _ in range(effort.rounds):
            line.add([await cost_of_delivery(server, effort, 64, effort.connections) for server in servers])
    yield line


async def publish_to_nobody(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Nobody is in the topic: what is left is the RPC call."""
    with _running(starts) as servers:
        for window in (1, 64):
            line = Line(f"publish to nobody, {calls_in_flight(window)}", "us", most=15.0)
            for _ in range(effort.rounds):
                line.add([await cost_of_call(server, effort, window) for server in servers])
            yield line


async def connect(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Many clients come, and stay. Each round has new processes: memory once used is not given back."""
    count = effort.idle_connections
    cpu = Line(f"handshake and join, {count} connections", "us", most_ratio=4.0)
    memory = Line(f"memory per idle connection of {count}", "KiB", most=7.0)
    for _ in range(effort.rounds):
        figures = []
        for start in starts:
            with start() as server:
                figures.append(await cost_of_connection(server, count))
        cpu.add([used for used, _ in figures])
        memory.add([held for _, held in figures])
    yield cpu
    yield memory


async def idle(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Nothing happens but pings. Ours only: the peer pings by other rules."""
    count, seconds = effort.idle_connections, effort.idle_seconds
    line = Line(f"idle, {count} connections, {seconds:g} s", "% of a core", most=1.0)
    with starts[0]() as server:
        fleet = Fleet(server.ws_port)
        await fleet.connect(count)
        await asyncio.sleep(1.0)
        before = server.cpu()
        await asyncio.sleep(seconds)
        line.add([(server.cpu() - before) / 1e7 / seconds])
        await fleet.close()
    yield line


SCENARIOS: dict[str, Scenario] = {
    "delivery": deliver,
    "topics": many_topics,
    "nobody": publish_to_nobody,
    "connect": connect,
    "idle": idle,
}


async def cost_of_delivery(
    server: Server, effort: Effort, window: int, topics: int = 1, calls: int | None = None
) -> float:
    """Server CPU in microseconds for one frame on one connection."""
    fleet = Fleet(server.ws_port, topics=topics)
    await fleet.connect(effort.connections)
    await asyncio.sleep(0.2)
    publisher = await Publisher.connect(server.rpc_port, topics=topics)
    before = server.cpu()
    made = await publisher.run(window, seconds=effort.seconds, most=calls)
    frames = await fleet.expect(made)
    used = server.cpu() - before
    await publisher.close()
    await fleet.close()
    return used / 1e3 / frames


async def cost_of_call(server: Server, effort: Effort, window: int, calls: int | None = None) -> float:
    """Server CPU in microseconds for one call that publishes to a topic nobody is in."""
    publisher = await Publisher.connect(server.rpc_port)
    before = server.cpu()
    made = await publisher.run(window, seconds=effort.seconds, most=calls)
    used = server.cpu() - before
    await publisher.close()
    return used / 1e3 / made


async def cost_of_connection(server: Server, count: int) -> tuple[float, float]:
    """Server CPU in microseconds, and memory in KiB, for one connection that has joined and is idle."""
    fleet = Fleet(server.ws_port)
    cpu, memory = server.cpu(), server.rss()
    await fleet.connect(count)
    await asyncio.sleep(0.2)
    cpu, memory = server.cpu() - cpu, server.rss() - memory
    await fleet.close()
    return cpu / 1e3 / count, memory / 1024 / count


@contextmanager
def _running(starts: Sequence[Start]) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(start()) for start in starts]


def calls_in_flight(window: int) -> str:
    """What a number of calls is called in a report."""
    return f"{window} call{'s' * (window > 1)} in flight"
