"""What clients send is charged to them by what it costs, and none has more than its part of a turn.

One client with fifteen refused commands a second had stopped the server for everybody: frames were counted,
whatever was in them. Here it is counted what is done for a client, not how long it takes.
"""

from __future__ import annotations

import asyncio
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from rr_py_ws.adapters.ws import connection as connection_module
from rr_py_ws.adapters.ws.connection import Connection
from rr_py_ws.adapters.ws.read_throttle import COST_PER_TURN
from rr_py_ws.core.session import Session
from rr_py_ws.wire.verdict import ALLOWED
from support.loops import both_loops, one_loop
from support.waiting import eventually
from support.ws_peer import BINARY, CLOSE, PING, PONG, TEXT, Client, Gate, command, frame
from support.ws_site import Site, Start

CONTINUATION = 0
RSV1 = 4
SERVER = re.compile("/(rr_py_ws|websockets)/")
SIZE = 64 * 1024
"""The largest message."""
DEAREST = 1 + SIZE // 4096 + SIZE // 1024 + 3 * (1 + SIZE // 1024) + 1024 // 32 + 5
"""What the dearest message costs: frame, bytes on the wire, bytes to decode, and slowly, topics, a question
to PHP."""


def message(start: bytes, item: bytes, end: bytes, separator: bytes = b"") -> bytes:
    """A message of `SIZE` bytes at most with as many of an item as fit."""
    count = (SIZE - len(start) - len(end)) // len(item + separator)
    return start + separator.join([item] * count) + end


MESSAGES = {
    "join of empty names": message(b'{"command":"join","topics":[', b'""', b"]}", b","),
    "leave of empty names": message(b'{"command":"leave","topics":[', b'""', b"]}", b","),
    "unknown command of empty names": message(b'{"command":"x","id":1,"topics":[', b'""', b"]}", b","),
    "numbers for topics": message(b'{"command":"join","topics":[', b"1", b"]}", b","),
    "escapes": message(b'{"command":"join","topics":["', rb"\u00e9", b'"]}'),
    "lone surrogates": message(b'{"command":"join","topics":["', rb"\ud800", b'"]}'),
    "many lone surrogates": message(b'{"command":"join","topics":[', rb'"\ud800"', b"]}", b","),
    "payload of numbers": message(b'{"command":"leave","payload":[', b"0", b"]}", b","),
    "payload of base64": message(b'{"command":"leave","payload":"', b"AAAA", b'"}'),
    "unknown keys": b"{%b}" % b",".join(b'"k%d":0' % number for number in range(6000)),
    "keys in other case": b'{"command":"x","Command":"y",%b}'
    % b",".join(b'"k%d":{}' % number for number in range(5000)),
    "lists in lists": message(b'{"command":"leave","x":', b"[", b"}"),
    "maps in a list": message(b'{"command":"leave","x":[', b"{}", b"]}", b","),
    "numbers beside a lone surrogate": message(b'{"x":"\\ud800","payload":[', b"1.5", b"]}", b","),
    "null beside lone surrogates": message(
        rb'{"command":"leave","topics":["\ud800",', rb'"\ud800",null', b"]}", b","
    ),
    "one wish for thousands of names": message(
        b'{"command":"join","history":{"a":{%b}},"topics":['
        % b",".join(b'"k%d":1' % number for number in range(2000)),
        b'"a"',
        b"]}",
        b",",
    ),
    "one key in other case": message(b'{"id":1,', b'"ID":0', b"}", b","),
    "a long id": message(b'{"command":"leave","topics":["a"],"id":"', b"<", b'"}'),
    "a long command": message(b'{"id":1,"command":"', rb"\u0001", b'"}'),
    "a long number": message(b'{"command":"leave","id":', b"1", b"}"),
    "no JSON": message(b"[", b"nan", b"", b","),
    "no list": message(b'{"command":"join","topics":{"a":[', b"0", b"]}}", b","),
    **{
        name: b'{"command":"%b","topics":[%b]}'
        % (name.encode(), b",".join(b'"%060d"' % number for number in range(1024)))
        for name in ("join", "leave")
    },
}


def deflated(content: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return frame(TEXT, (deflate.compress(content) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=RSV1)


FRAMES = {
    "pings": frame(PING) * 1000,
    "large pings": frame(PING, b"x" * 125) * 1000,
    "pongs": frame(PONG) * 1000,
    "empty messages": frame(TEXT) * 1000,
    "empty fragments": frame(TEXT, b"{", fin=False)
    + frame(CONTINUATION, fin=False) * 1000
    + frame(CONTINUATION, b"}"),
    "small commands": command("leave", ["x"]) * 1000,
    "not UTF-8 in names": frame(BINARY, message(b'{"command":"leave","topics":["', b"\xff", b'"]}')) * 3,
    "not UTF-8 beside escapes": frame(
        BINARY, message(b'{"command":"leave","topics":["', b"\xff" + rb"\ud800", b'"]}')
    )
    * 3,
}


@contextmanager
def turns(connection: Callable[[], Connection]) -> Iterator[list[int]]:
    """Yield what a client has cost in each turn of the event loop."""
    loop, costs, before = asyncio.get_running_loop(), [0], connection().cost

    def look() -> None:
        nonlocal before, next_look
        costs.append(connection().cost - before)
        before += costs[-1]
        next_look = loop.call_soon(look)

    next_look = loop.call_soon(look)
    yield costs
    next_look.cancel()


async def opened(site: Site) -> tuple[Client, Connection]:
    client = await site.open("Sec-WebSocket-Extensions: permessage-deflate")
    [connection] = site.server.websockets.registry
    return client, connection


async def handled(client: Client, connection: Connection, data: bytes) -> None:
    """Send, and wait until the server has looked at all of it."""
    counters = connection._context.counters
    expected = counters.received + len(data)
    reading = asyncio.create_task(client.rest())
    await client.send(data)
    await eventually(lambda: counters.received == expected and connection._throttle is None)
    assert counters.held == 0
    reading.cancel()


@one_loop
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("content", MESSAGES.values(), ids=MESSAGES)
async def test_a_turn_has_one_large_message_of_a_client(
    start: Start, content: bytes, compressed: bool
) -> None:
    """Also when dozens of them arrive in one read, because they are compressed."""
    site = await start(compression_level=1, commands_per_second=0, send_queue=1 << 30)
    client, connection = await opened(site)
    data = deflated(content) * 10 if compressed else frame(TEXT, content) * 5
    with turns(lambda: connection) as costs:
        await handled(client, connection, data)
    assert sum(costs) >= (10 if compressed else 5) * (len(content) // 1024)
    assert max(costs) < COST_PER_TURN + DEAREST


@both_loops
@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
async def test_a_turn_has_few_small_frames_of_a_client(start: Start, data: bytes) -> None:
    site = await start(compression_level=1, commands_per_second=0, send_queue=1 << 30)
    client, connection = await opened(site)
    with turns(lambda: connection) as costs:
        await handled(client, connection, data)
    assert sum(costs) >= 150
    assert max(costs) < COST_PER_TURN + DEAREST


CALLS_PER_COST = 110
"""Calls of functions that a small command may take."""


@contextmanager
def calls() -> Iterator[list[int]]:
    """Count the calls of functions that the server makes, those of C functions among them."""
    count = [0]

    def called(running: FrameType, event: str, _: object) -> None:
        if event in ("call", "c_call") and SERVER.search(running.f_code.co_filename):
            count[0] += 1

    sys.setprofile(called)
    try:
        yield count
    finally:
        sys.setprofile(None)


@one_loop
@pytest.mark.parametrize(
    "data",
    [*FRAMES.values(), *(frame(TEXT, content) * 5 for content in MESSAGES.values())],
    ids=[*FRAMES, *MESSAGES],
)
async def test_nothing_takes_more_than_is_charged_for_it(start: Start, data: bytes) -> None:
    site = await start(compression_level=1, commands_per_second=0, send_queue=1 << 30)
    client, connection = await opened(site)
    before = connection.cost
    with calls() as count:
        await handled(client, connection, data)
    assert count[0] <= CALLS_PER_COST * (connection.cost - before)


@one_loop
async def test_a_byte_for_each_packet_is_charged_like_a_frame(site: Site) -> None:
    """A trickle costs a turn of the loop for each byte."""
    client, connection = await opened(site)
    before = connection.cost
    for byte in frame(TEXT, b'{"command":"leave"}'):
        count = connection._context.counters.received
        await client.send(bytes([byte]))
        await eventually(lambda: connection._context.counters.received > count)  # noqa: B023
    assert connection.cost - before == len(frame(TEXT, b'{"command":"leave"}'))


@one_loop
async def test_commands_that_waited_are_handled_a_few_in_a_turn(start: Start) -> None:
    """Sixty large ones behind a join that PHP decided were one piece of work."""
    gate = Gate(join=None)
    site = await start(gate, commands_per_second=0, command_queue=1 << 30, send_queue=1 << 30)
    client, connection = await opened(site)
    await client.send(command("join", ["a"]))
    await gate.asked(1)
    content = frame(TEXT, MESSAGES["leave of empty names"]) * 20
    await client.send(content)
    await eventually(lambda: site.sample("commands_waiting") == 20)
    assert site.sample("commands_waiting_bytes") == 20 * len(MESSAGES["leave of empty names"])
    with turns(lambda: connection) as costs:
        gate.waiting[0].set_result(ALLOWED)
        for name in ["@join", *["#leave"] * 20]:
            assert (await client.json())["topic"] == name
    assert max(costs) < COST_PER_TURN + DEAREST
    assert site.sample("commands_waiting") == site.sample("commands_waiting_bytes") == 0


@one_loop
async def test_commands_wait_as_bytes_up_to_their_queue(start: Start) -> None:
    """Sixty-four of them were up to 19 MiB of lists; the socket is read on when half the bytes are gone."""
    gate = Gate(join=None)
    site = await start(gate, commands_per_second=0, command_queue=100_000)
    client, _ = await opened(site)
    large = frame(TEXT, MESSAGES["payload of base64"])
    await client.send(command("join", ["a"]) + large * 5)
    await gate.asked(1)
    await eventually(lambda: site.sample("reading_pauses", "commands_waiting") == 1)
    assert 100_000 <= site.sample("commands_waiting_bytes") < 100_000 + SIZE
    gate.waiting[0].set_result(ALLOWED)
    assert [(await client.json())["topic"] for _ in range(6)] == ["@join", *["@leave"] * 5]


@one_loop
async def test_a_client_that_is_told_to_go_is_not_read_without_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its close frame comes nothing is decompressed, and no more read than one read may bring."""
    monkeypatch.setattr(connection_module, "_COST_OF_CLOSING", 1000)
    site = await start(compression_level=1, commands_per_second=100, max_message_size=SIZE)
    client, connection = await opened(site)
    connection.close_going_away()
    answer = await client.frame()
    assert answer.opcode == CLOSE
    before = connection.cost
    bombs = deflated(MESSAGES["escapes"]) * 200
    await client.send(bombs)
    await eventually(lambda: connection.cost - before >= 200)
    assert connection.cost - before < 400, "frames are counted, and what they would have become is not"
    flood = asyncio.create_task(client.send(frame(TEXT) * 100_000))
    await eventually(lambda: site.sample("reading_pauses", "rate") == 1)
    assert 1000 <= connection.cost - before <= 1000 + COST_PER_TURN
    flood.cancel()
    connection.abort()  # nobody hears of the end of a client that is not read


@one_loop
async def test_a_mistake_in_what_clients_ask_for_ends_their_connection(
    start: Start, monkeypatch: pytest.MonkeyPatch, log: Callable[[], str]
) -> None:
    """At once or in a turn of its own: with one line, and without a connection that nobody reads any more."""

    def fail(session: Session, message: bytes) -> None:
        raise RuntimeError("a mistake")

    site = await start()
    monkeypatch.setattr(Session, "receive_message", fail)
    for data in (command("leave", ["a"]), frame(PING) * 30 + command("leave", ["a"])):
        client = await site.open()
        await client.send(data)
        await client.ended()
    assert log().count("RuntimeError: a mistake") == 2
    await eventually(lambda: site.server.connections == 0)
    assert site.sample("held_bytes") == 0
