"""What a measurement is: how much is done, the lines of the report, and what a delivery or a call costs.

Ours and the peers take turns within each round: what else runs on the machine slows all alike, so the ratio
of a round says more than its figures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

from bench.generator import Generator, Load
from bench.servers import Server, pin

Start = Callable[[], AbstractContextManager[Server]]

_SETTLING = 0.15
"""Seconds after clients have come, in which the server finishes what it has begun."""
TURNS, _TURN = 10, 0.2
"""Short turns, and how much of a usual one each is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is done.

    Attributes:
        rounds: turns of each server; the median counts.
        seconds: of publishing in a turn.
        connections: clients that messages are published to.
        idle_connections: clients that only connect, join and answer pings.
        idle_seconds: how long they are watched. 25 s are from one ping to the next.
        returning: clients that come back with a position.
        stormers: clients that connect at once, each asking PHP.
    """

    rounds: int = 5
    seconds: float = 0.5
    connections: int = 1000
    idle_connections: int = 8000
    idle_seconds: float = 25.0
    returning: int = 10_000
    stormers: int = 5_000


QUICK = Effort(rounds=3, seconds=0.3, idle_seconds=5.0)


@dataclass(slots=True)
class Line:
    """One figure of the report.

    Attributes:
        name: what it is.
        unit: of the figures.
        most: what ours may be at most; None when nothing was promised.
        most_ratio: what ours divided by the first peer's may be at most.
        ours: one figure for each round, or for each of its short turns.
        peer: the same of the first peer; empty when it was not measured.
        others: the same of each of the others.
        saturated: in some round the generator was busy all the time.
    """

    name: str
    unit: str
    most: float | None = None
    most_ratio: float | None = None
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    others: list[list[float]] = field(default_factory=list)
    saturated: bool = False

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
        """Take the figures of one round: ours, and those of the peers."""
        self.ours.append(figures[0])
        self.peer += figures[1:2]
        while len(self.others) < len(figures) - 2:
            self.others.append([])
        for other, figure in zip(self.others, figures[2:], strict=True):
            other.append(figure)

    def add_costs(self, costs: Sequence[Cost]) -> None:
        """Take what one round has cost."""
        self.add([cost.microseconds for cost in costs])
        self.saturated |= any(cost.saturated for cost in costs)


@dataclass(frozen=True, slots=True)
class Cost:
    """What something has cost the server.

    Attributes:
        microseconds: of its CPU time, for each time that it was done.
        saturated: the generator was busy all the time.
    """

    microseconds: float
    saturated: bool


Scenario = Callable[[Sequence[Start], Effort], AsyncIterator[Line]]


async def cost_of_delivery(
    server: Server,
    effort: Effort,
    window: int,
    *,
    topics: int = 1,
    each: int = 1,
    connections: int | None = None,
    size: int = 100,
    pinned: bool = False,
) -> Cost:
    """One message for one client; all are in the topic, or each in its own ones of several."""
    count = connections or effort.connections
    async with Generator() as generator:
        await generator.connect(
            server.ws_port, count, topics=topics, each=each, size=size, protocol=server.protocol
        )
        await generator.idle(_SETTLING)
        with pinned_together(server, generator, when=pinned):
            load, used = await publishing(generator, server, window, seconds=effort.seconds)
    return Cost(used / load.frames, load.saturated)


async def cost_of_call(server: Server, effort: Effort, window: int, *, pinned: bool = False) -> Cost:
    """One call that publishes to a topic nobody is in."""
    async with Generator() as generator:
        with pinned_together(server, generator, when=pinned):
            load, used = await publishing(generator, server, window, seconds=effort.seconds)
    return Cost(used / load.messages, load.saturated)


async def costs_by_turns(
    servers: Sequence[Server], effort: Effort, window: int, *, connections: int
) -> list[list[Cost]]:
    """One message for one client of each server, in many short turns; or one call, when there are no clients.

    What changes meanwhile on the machine concerns all of them, so that little differences are seen.
    """
    found = []
    async with AsyncExitStack() as stack:
        generators = [await stack.enter_async_context(Generator()) for _ in servers]
        for server, generator in zip(servers, generators, strict=True) if connections else ():
            await generator.connect(server.ws_port, connections)
            await generator.idle(_SETTLING)
        for number in range(TURNS):
            costs: dict[int, Cost] = {}
            for at in range(len(servers)) if number % 2 else reversed(range(len(servers))):
                load, used = await publishing(
                    generators[at], servers[at], window, seconds=effort.seconds * _TURN
                )
                costs[at] = Cost(used / (load.frames if connections else load.messages), load.saturated)
            found.append([costs[at] for at in range(len(servers))])
    return found


async def publishing(
    generator: Generator, server: Server, window: int, **options: float
) -> tuple[Load, float]:
    """Publish, and say what that has cost the server: microseconds of CPU time."""
    before = server.cpu()
    load = await generator.publish(server.rpc_port, window, **options)  # type: ignore[arg-type]
    return load, (server.cpu() - before) / 1e3


async def cost_of_connections(server: Server, count: int, **options: int) -> tuple[Cost, float]:
    """A client that connects and joins; and the KiB of memory that it takes then."""
    async with Generator() as generator:
        cpu, memory = server.cpu(), server.rss()
        load = await generator.connect(server.ws_port, count, **options)  # type: ignore[arg-type]
        await generator.idle(_SETTLING)
        used, held = server.cpu() - cpu, server.rss() - memory
        await generator.close()
    return Cost(used / 1e3 / count, load.saturated), held / 1024 / count


@contextmanager
def pinned_together(server: Server, generator: Generator, *, when: bool) -> Iterator[None]:
    """Give both the same core, so that no call wakes another: what that costs differs by the hour."""
    if not when:
        yield
        return
    everything = server.cores()
    core = {max(everything)}
    pin(generator.pid, core)
    server.pin(core)
    try:
        yield
    finally:
        server.pin(everything)


@contextmanager
def running(starts: Sequence[Start]) -> Iterator[list[Server]]:
    """All servers, until the end of the scenario."""
    with ExitStack() as stack:
        yield [stack.enter_context(start()) for start in starts]


def calls_in_flight(window: int) -> str:
    """What a number of calls is called in a report."""
    return f"{window} in flight"
