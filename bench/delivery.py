"""What a message costs: for many clients, for one, for nobody; small and large; in two encodings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench.generator import Generator, topic_name, write_joins
from bench.measure import (
    Cost,
    Effort,
    Line,
    Scenario,
    Start,
    calls_in_flight,
    cost_of_call,
    cost_of_delivery,
    publishing,
    running,
)
from bench.servers import Server, scratch, start_ours

_LARGE = ((10 * 1024, "10 KB", 1.1), (100 * 1024, "100 KB", 1.3), (1024 * 1024, "1 MB", 1.1))


async def deliver(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Everybody is in one topic."""
    with running(starts) as servers:
        for window, most_ratio in ((1, 1.0), (4, 0.98), (64, 0.5)):
            name = f"fan-out to {effort.connections}, {calls_in_flight(window)}"
            line = Line(name, "us", most_ratio=most_ratio)
            for _ in range(effort.rounds):
                line.add_costs([await cost_of_delivery(server, effort, window) for server in servers])
            yield line


async def unicast(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Everybody is in a topic of their own, so that a call is one delivery."""
    topics = effort.connections
    with running(starts) as servers:
        for window, pinned, most_ratio in ((64, False, 0.92), (1, True, 1.0)):
            name = f"unicast, {topics} topics, {calls_in_flight(window)}{'*' * pinned}"
            line = Line(name, "us", most_ratio=most_ratio)
            for _ in range(effort.rounds):
                line.add_costs(
                    [
                        await cost_of_delivery(server, effort, window, topics=topics, pinned=pinned)
                        for server in servers
                    ]
                )
            yield line


async def publish_to_nobody(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Nobody is in the topic: what is left is the RPC call."""
    with running(starts) as servers:
        for window, pinned, most_ratio in ((64, False, 0.75), (1, True, 0.92)):
            name = f"publish to nobody, {calls_in_flight(window)}{'*' * pinned}"
            line = Line(name, "us", most_ratio=most_ratio)
            for _ in range(effort.rounds):
                line.add_costs(
                    [await cost_of_call(server, effort, window, pinned=pinned) for server in servers]
                )
            yield line


async def large(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Payloads that the kernel has work with, to eight clients with a topic each."""
    with running(starts) as servers:
        for size, text, most_ratio in _LARGE:
            line = Line(f"unicast of {text}, {calls_in_flight(8)}", "us", most_ratio=most_ratio)
            for _ in range(effort.rounds):
                line.add_costs(
                    [
                        await cost_of_delivery(server, effort, 8, topics=8, connections=8, size=size)
                        for server in servers
                    ]
                )
            yield line


async def encodings(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Half of the clients have positions in their messages; the peer is the same server, where none has."""
    line = Line(f"two encodings, not one, {calls_in_flight(64)}", "us", most_ratio=1.5)
    history = {"history": [{"topics": "*", "size": 100, "ttl": "1h"}]}
    with scratch() as directory, start_ours(directory, websockets=history) as server:
        topics = [topic_name(0)]
        plain = {"command": "join", "topics": topics}
        mixed = write_joins(directory / "mixed", [plain, plain | {"history": True}])
        same = write_joins(directory / "same", [plain])
        for _ in range(effort.rounds):
            line.add_costs([await _cost_of_joined(server, effort, joins) for joins in (mixed, same)])
    yield line


async def _cost_of_joined(server: Server, effort: Effort, joins: Path) -> Cost:
    async with Generator() as generator:
        await generator.connect(server.ws_port, effort.connections, joins=joins)
        load, used = await publishing(generator, server, 64, seconds=effort.seconds)
    return Cost(used / load.frames, load.saturated)


SCENARIOS: dict[str, Scenario] = {
    "fan-out": deliver,
    "unicast": unicast,
    "nobody": publish_to_nobody,
    "large": large,
    "encodings": encodings,
}
