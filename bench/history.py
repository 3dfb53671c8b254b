"""What histories cost: beside topics without one, when publishing, and when all clients come back."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from bench.generator import HOST, Generator, topic_name, write_joins
from bench.measure import (
    Cost,
    Effort,
    Line,
    Scenario,
    Start,
    calls_in_flight,
    cost_of_call,
    cost_of_connections,
    cost_of_delivery,
    costs_by_turns,
)
from bench.redis import ask, nodes
from bench.servers import Server, scratch, start_ours

_RULE = [{"topics": "topic-*", "size": 100, "ttl": "1h"}]
_OTHER_RULE = [{"topics": "kept.*", "size": 100, "ttl": "1h"}]
_STORMS = 3
"""Most rounds of it: each takes many seconds."""
_TOPICS = 100
"""Topics of the clients that come back."""
_MISSED = 10
"""Messages of each topic that they have missed."""
_KEPT = 50_000
_KEPT_SIZE = 100
_OVERHEAD, _COUNTER = 180, 1024
"""What docs/recovery.md says that a kept message takes besides its payload, and the counter of a topic."""

_STATISTICS = re.compile(r"cmdstat_(\w+):calls=([0-9]+)")


async def without(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Topics that no rule fits. The peer has no rules.

    The difference is smaller than that of two servers that are the same, one of which was started first. So
    there are new ones in each round, in the other order, and they take turns much shorter than usual.
    """
    cases = [
        (f"fan-out, {calls_in_flight(4)}", 4, effort.connections),
        (f"fan-out, {calls_in_flight(64)}", 64, effort.connections),
        (f"nobody, {calls_in_flight(64)}", 64, 0),
    ]
    lines = [Line(f"topic without a rule, {case}", "us", most_ratio=1.02) for case, _, _ in cases]
    for number in range(effort.rounds):
        with _beside({"history": _OTHER_RULE}, swapped=number % 2 == 1) as servers:
            for line, (_, window, connections) in zip(lines, cases, strict=True):
                for costs in await costs_by_turns(servers, effort, window, connections=connections):
                    line.add_costs(costs)
    for line in lines:
        yield line


async def memory(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """Topics that a rule fits, kept in memory. The peer has no rules."""
    with _beside({"history": _RULE}) as servers:
        for window, most_ratio in ((1, 1.15), (64, 1.25)):
            line = Line(f"history, fan-out, {calls_in_flight(window)}", "us", most_ratio=most_ratio)
            for _ in range(effort.rounds):
                line.add_costs([await cost_of_delivery(server, effort, window) for server in servers])
            yield line
        for window, pinned in ((64, False), (1, True)):
            name = f"history, publish, {calls_in_flight(window)}{'*' * pinned}"
            line = Line(name, "us", most_ratio=1.5)
            for _ in range(effort.rounds):
                line.add_costs(
                    [await cost_of_call(server, effort, window, pinned=pinned) for server in servers]
                )
            yield line


async def redis(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """A publish by Redis: what node and Redis take together. The peer has no rules."""
    with nodes("kept", history=_RULE) as kept, nodes("plain") as plain:
        for window in (64, 1):
            line = Line(f"history by Redis, publish, {calls_in_flight(window)}", "us", most_ratio=2.0)
            for _ in range(effort.rounds):
                line.add_costs([await _cost_of_call(servers, effort, window) for servers in (kept, plain)])
            yield line


async def returning(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """All clients come back at once with a position, and get what they have missed. The peer joins plainly.

    A client that does not get all of it ends the measurement. With Redis, they come back to another node.
    """
    count, rounds = effort.returning, min(effort.rounds, _STORMS)
    by_memory = Line(f"{count} return, {_MISSED} messages each; plain join", "us", most_ratio=1.5)
    by_redis = Line(f"{count} return by Redis; plain join", "us", most_ratio=1.5)
    asked = Line("- commands to Redis for a topic", "", most=5)
    with scratch() as directory:
        with start_ours(directory, websockets={"history": _RULE}) as server:
            for _ in range(rounds):
                joins = await _miss(server, directory)
                by_memory.add_costs(
                    [await _cost_of_return(server, count, joins), await _plain(server, count)]
                )
        with nodes("publishing", "fresh", history=_RULE) as (store, publishing, fresh):
            for _ in range(rounds):
                joins = await _miss(publishing, directory)
                before = _asked(store)
                cost = await _cost_of_return(fresh, count, joins)
                asked.add([(_asked(store) - before) / _TOPICS])
                by_redis.add_costs([cost, await _plain(fresh, count)])
    for line in (by_memory, by_redis, asked):
        yield line


async def kept(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """What a kept message takes. The peer is the formula of docs/recovery.md."""
    line = Line(f"memory of a kept message of {_KEPT_SIZE} bytes; formula", "bytes", most_ratio=1.1)
    rule = [{"topics": "*", "size": _KEPT // _TOPICS, "ttl": "1h"}]
    formula = _KEPT_SIZE + _OVERHEAD + _COUNTER * _TOPICS / _KEPT
    for _ in range(effort.rounds):
        with scratch() as directory, start_ours(directory, websockets={"history": rule}) as server:
            async with Generator() as generator:
                await generator.publish(server.rpc_port, 64, most=1000, first=_TOPICS, size=_KEPT_SIZE)
                before = server.rss()
                await generator.publish(server.rpc_port, 64, most=_KEPT, topics=_TOPICS, size=_KEPT_SIZE)
            line.add([(server.rss() - before) / _KEPT, formula])
    yield line


@contextmanager
def _beside(websockets: Mapping[str, Any], *, swapped: bool = False) -> Iterator[list[Server]]:
    """Ours with these keys, and ours without; `swapped`: started in the other order."""
    keys = {"with": websockets, "without": {}}
    with scratch() as directory, ExitStack() as stack:
        started = {
            name: stack.enter_context(start_ours(directory, name, websockets=keys[name]))
            for name in (reversed(keys) if swapped else keys)
        }
        yield [started[name] for name in keys]


async def _cost_of_call(servers: Sequence[Server], effort: Effort, window: int) -> Cost:
    """One call that publishes to a topic nobody is in: to the last server, and it costs all of them."""
    async with Generator() as generator:
        before = [server.cpu() for server in servers]
        load = await generator.publish(servers[-1].rpc_port, window, seconds=effort.seconds)
        used = sum(server.cpu() - cpu for server, cpu in zip(servers, before, strict=True))
    return Cost(used / 1e3 / load.messages, load.saturated)


async def _miss(server: Server, directory: Path) -> Path:
    """Take positions, publish, and return the joins with which clients come back."""
    topics = [topic_name(number) for number in range(_TOPICS)]
    async with connect(f"ws://{HOST}:{server.ws_port}/ws", proxy=None) as client:
        await client.send(json.dumps({"command": "join", "topics": topics, "history": True}))
        positions = {
            topic: found["pos"] for topic, found in json.loads(await client.recv())["history"].items()
        }
    async with Generator() as generator:
        await generator.publish(server.rpc_port, 64, most=_MISSED * _TOPICS, topics=_TOPICS)
    return write_joins(
        directory / "joins",
        (
            {"command": "join", "topics": [topic], "history": {topic: position}}
            for topic, position in positions.items()
        ),
    )


async def _cost_of_return(server: Server, count: int, joins: Path) -> Cost:
    """A client that comes with a position, and gets what it has missed."""
    async with Generator() as generator:
        before = server.cpu()
        load = await generator.connect(
            server.ws_port, count, joins=joins, needle='"recovered":true', frames=_MISSED
        )
        cost = Cost((server.cpu() - before) / 1e3 / count, load.saturated)
        await generator.close()
    return cost


async def _plain(server: Server, count: int) -> Cost:
    cost, _ = await cost_of_connections(server, count, topics=_TOPICS)
    return cost


def _asked(redis: Server) -> int:
    """What nodes have asked a Redis server for because of their clients."""
    counts = dict(_STATISTICS.findall(ask(redis, "INFO", "commandstats")))
    return sum(int(counts.get(command, 0)) for command in ("subscribe", "eval", "evalsha"))


SCENARIOS: dict[str, Scenario] = {
    "history-without": without,
    "history": memory,
    "history-redis": redis,
    "history-return": returning,
    "history-memory": kept,
}
