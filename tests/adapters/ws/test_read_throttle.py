"""Clients that send too much: read more slowly, and nothing of what they send is lost."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import cast

import pytest

from rr_py_ws.adapters.ws.connection import Connection
from rr_py_ws.adapters.ws.metrics import WebSocketMetrics
from rr_py_ws.adapters.ws.read_throttle import COST_OF_ALL, COST_PER_TURN, ReadThrottle, ReadTurns
from rr_py_ws.wire.verdict import ALLOWED
from support.loops import both_loops, one_loop
from support.waiting import eventually
from support.ws_peer import BINARY, CLOSE, PING, PONG, TEXT, Gate, close, command, frame
from support.ws_site import Start

pytestmark = both_loops

CONTINUATION = 0
FLOODS = {
    "commands": frame(TEXT, '{"command":"headers"}'),
    "junk": frame(BINARY, b"junk"),
    "empty messages": frame(TEXT),
    "pings": frame(PING),
    "pongs": frame(PONG),
}


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_commands_of_a_client_that_is_too_fast_are_all_answered_in_order(
    start: Start, secure: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """What the rate allows is answered, then messages go out while the rest of the commands waits."""
    site = await start(commands_per_second=200, tls=server_tls if secure else None)
    client = await site.open(tls=client_tls if secure else None)
    await client.send(command("join", ["t"]))
    await client.frame()
    sending = asyncio.create_task(
        client.send(b"".join(command("leave", ["x"], id=number) for number in range(400)))
    )
    await eventually(lambda: site.sample("reading_pauses", "rate") > 0)
    site.publish("t", "meanwhile")
    site.node.flush()
    received = [await client.json() for _ in range(401)]
    await sending
    assert [reply["id"] for reply in received if "id" in reply] == list(range(400))
    place = received.index({"topic": "t", "payload": "meanwhile"})
    assert 200 <= place < 400


@one_loop
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_every_frame_counts(start: Start, flood: bytes) -> None:
    site = await start(commands_per_second=200)
    client = await site.open()
    await client.send(flood * 360)
    await eventually(lambda: site.sample("reading_pauses", "rate") > 0)
    await client.send(command("leave", ["x"]))
    while (answer := await client.frame()).opcode == PONG:
        pass
    assert answer == (TEXT, b'{"topic":"@leave","payload":["x"]}')


@one_loop
async def test_empty_fragments_count(start: Start) -> None:
    site = await start(commands_per_second=200)
    client = await site.open()
    first, last = frame(TEXT, b'{"command":"leave"', fin=False), frame(CONTINUATION, b"}")
    await client.send(first + frame(CONTINUATION, b"", fin=False) * 360 + last)
    await eventually(lambda: site.sample("reading_pauses", "rate") > 0)
    assert (await client.json())["topic"] == "@leave"


async def test_who_keeps_to_the_rate_and_who_has_none_is_never_waited_for(start: Start) -> None:
    for rate, count in ((1000, 1000), (0, 5000)):
        site = await start(commands_per_second=rate)
        client = await site.open()
        await client.send(command("leave", ["x"]) * (count - 1))
        for _ in range(count - 1):
            await client.frame()
        assert await client.silent()
        assert site.sample("reading_pauses", "rate") == 0


async def test_a_large_message_counts_for_as_many_small_ones_as_it_costs(start: Start) -> None:
    """It is answered at once, and what follows waits."""
    site = await start(commands_per_second=100, max_message_size=2_000_000)
    client = await site.open()
    await client.send(frame(TEXT, '{"command":"leave","topics":["x"]' + " " * 120_000 + "}"))
    assert (await client.json())["topic"] == "@leave"
    await client.send(command("leave", ["y"]))
    assert (await client.json())["payload"] == ["y"]
    assert site.sample("reading_pauses", "rate") == 1


async def test_of_one_packet_no_more_is_handled_than_may_wait(start: Start) -> None:
    """256 KiB in one packet were thousands of commands in the queue."""
    gate = Gate(join=None)
    site = await start(gate, max_commands_waiting=4, commands_per_second=0)
    client = await site.open()
    await client.send(command("join", ["first"]) + command("leave", ["x"]) * 3000)
    await gate.asked(1)
    await eventually(lambda: site.sample("reading_pauses", "commands_waiting") > 0)
    assert site.sample("received_messages") == 5
    gate.waiting[0].set_result(ALLOWED)
    assert [(await client.json())["topic"] for _ in range(3001)] == ["@join"] + ["@leave"] * 3000


async def test_a_client_that_is_read_slowly_is_not_given_up_for_its_silence(start: Start) -> None:
    """Its pongs are behind what it has sent before."""
    site = await start(commands_per_second=1, ping_interval=0.04, ping_timeout=0.04)
    client = await site.open()
    await client.send(frame(PONG) * 600)
    for _ in range(5):
        assert await client.frame() == (PING, b"")


async def test_a_stopping_server_hears_the_goodbye_of_a_client_that_it_reads_slowly(start: Start) -> None:
    """For ten minutes it would not have been read."""
    site = await start(commands_per_second=1)
    client = await site.open()
    await client.send(frame(PONG) * 600)
    await eventually(lambda: site.sample("reading_pauses", "rate") > 0)
    stopping = asyncio.create_task(site.server.stop(20.0))
    assert (await client.frame())[1][:2] == close(1001)
    await client.send(frame(CLOSE, close(1001)))
    assert await client.rest() == b""
    client.close()
    await stopping
    assert site.sample("connections_closed", "1001") == 1


async def test_a_client_that_is_read_slowly_may_go_away(start: Start) -> None:
    """What was held of it, and its timer, go with it; the fixture looks."""
    site = await start(commands_per_second=1, ping_interval=0.04, ping_timeout=0.04)
    client = await site.open()
    await client.send(frame(PONG) * 30_000)
    await eventually(lambda: site.sample("reading_pauses", "rate") > 0)
    client.reset()
    await eventually(lambda: site.server.connections == 0)


class Scripted(asyncio.Transport):
    """A connection and its transport; `delays` and `full` are used up, then there is no reason to wait."""

    def __init__(self, *delays: float, full: Sequence[bool] = (), cost: int = 1) -> None:
        super().__init__()
        self.delays = deque(delays)
        self.full = deque(full)
        self.cost = 0
        self.each = cost
        self.events: list[object] = []
        self.reasons: list[str] = []
        self.closing = False
        self.counters = WebSocketMetrics()
        self.turns = ReadTurns()
        self.failure: Exception | None = None

    def take_frame(self, data: bytes, at: int) -> int:
        """Frames of two bytes."""
        if self.failure is not None:
            raise self.failure
        self.cost += self.each
        self.events.append(data[at : at + 2])
        return len(data[at : at + 2])

    def handle_waiting(self) -> bool:
        return False

    def commands_full(self, *, reading: bool) -> bool:
        return self.full.popleft() if self.full else False

    def rate_wait_time(self) -> float:
        return self.delays.popleft() if self.delays else 0.0

    def reading_paused(self, reason: str) -> None:
        self.reasons.append(reason)

    def reading_resumed(self) -> None:
        self.events.append("as before")

    def throttle(self) -> ReadThrottle:
        return ReadThrottle(cast(Connection, self), self, self.counters, self.turns)

    def write_failed(self, error: Exception) -> None:
        self.events.append(error)

    def pause_reading(self) -> None:
        self.events.append("pause")

    def resume_reading(self) -> None:
        self.events.append("resume")

    def is_closing(self) -> bool:
        return self.closing


async def test_data_is_looked_at_frame_by_frame_without_a_pause_while_there_is_no_reason() -> None:
    source = Scripted()
    source.throttle().receive(b"aabbc")
    assert source.events == [b"aa", b"bb", b"c", "as before"]
    assert source.counters.held == 0


async def test_a_client_has_its_part_of_each_turn() -> None:
    """What others have to do comes in between; more bytes do not bring more turns."""
    source = Scripted(cost=COST_PER_TURN // 2)
    slow = source.throttle()
    asyncio.get_running_loop().call_soon(source.events.append, "others")
    slow.receive(b"aabbcc")
    assert source.events == [b"aa", b"bb", "pause"]
    assert source.counters.held == 2
    slow.receive(b"dd")
    assert source.events == [b"aa", b"bb", "pause"]
    await eventually(lambda: source.events[-1] == "resume")
    assert source.events[3:] == ["others", b"cc", b"dd", "as before", "resume"]
    assert (source.reasons, source.counters.held) == ([], 0)


async def test_reading_goes_on_when_neither_reason_is_left() -> None:
    """Too fast, then too many commands, then too fast again: one pause, and nobody is read in it."""
    source = Scripted(0, 0.001, 0, 0.002, full=[False, True])
    slow = source.throttle()
    slow.receive(b"aabb")
    assert source.events == [b"aa", "pause"]
    await eventually(lambda: len(source.delays) == 1)
    await asyncio.sleep(0.01)
    assert len(source.delays) == 1, "nothing happens by itself while commands wait"
    slow.go_on()
    assert source.events == [b"aa", "pause"]
    await eventually(lambda: len(source.events) == 5)
    assert source.events[2:] == [b"bb", "as before", "resume"]
    assert source.reasons == ["rate", "commands_waiting", "rate"]


async def test_what_arrives_all_the_same_comes_after_what_is_held() -> None:
    source = Scripted(full=[True])
    slow = source.throttle()
    slow.receive(b"on")
    slow.receive(b"e!")
    slow.go_on()
    assert source.events == ["pause", b"on", b"e!", "as before", "resume"]


async def test_a_connection_that_is_closed_is_let_alone() -> None:
    source = Scripted(full=[True])
    slow = source.throttle()
    slow.receive(b"one")
    source.closing = True
    slow.go_on()
    assert source.events == ["pause"]
    slow.close()
    assert source.counters.held == 0


async def test_many_clients_are_no_more_than_one_in_a_turn() -> None:
    """Each had its part of each turn, and a hundred of them left nothing to others."""
    first = Scripted(cost=COST_PER_TURN)
    crowd = [first, *(Scripted(cost=COST_PER_TURN) for _ in range(99))]
    turns, costs, seen = first.turns, [], 0
    loop = asyncio.get_running_loop()

    def count() -> None:
        nonlocal seen
        total = sum(source.cost for source in crowd)
        costs.append(total - seen)
        seen = total
        if seen < 100 * 3 * COST_PER_TURN:
            loop.call_soon(count)

    for source in crowd:
        source.turns = turns
        source.throttle().receive(b"aabbcc")
    count()
    await eventually(lambda: all(source.events[-1] == "resume" for source in crowd))
    assert max(costs) == COST_OF_ALL
    taken = [[event for event in source.events if isinstance(event, bytes)] for source in crowd]
    assert taken == [[b"aa", b"bb", b"cc"]] * 100


async def test_in_a_turn_the_queue_is_served_in_order() -> None:
    sources = [Scripted(cost=COST_OF_ALL) for _ in range(3)]
    order: list[int] = []
    for number, source in enumerate(sources):
        source.turns = sources[0].turns
        source.take_frame = lambda data, at, number=number, source=source: (  # type: ignore[method-assign]
            order.append(number),
            Scripted.take_frame(source, data, at),
        )[1]
        source.throttle().receive(b"aabb")
    await eventually(lambda: all(source.events[-1] == "resume" for source in sources))
    assert order == [0, 0, 1, 2, 1, 2], "the second part of the first came before the others did"


async def test_a_client_that_goes_away_leaves_the_queue() -> None:
    first, second = Scripted(cost=COST_OF_ALL), Scripted()
    second.turns = first.turns
    first.throttle().receive(b"aa")
    gone = second.throttle()
    gone.receive(b"aa")
    gone.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert second.events == ["pause"]
    assert second.counters.held == 0


async def test_a_failure_gives_the_client_up_also_when_nobody_is_there_to_hear_of_it() -> None:
    """Raised in a callback of the loop it left the client paused, and open, for ever."""
    source = Scripted(cost=COST_PER_TURN)
    slow = source.throttle()
    slow.receive(b"aabb")
    source.failure = RuntimeError("a mistake")
    await eventually(lambda: source.events[-1] is source.failure)
