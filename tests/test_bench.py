"""The benchmark in a tiny configuration: it still runs, and it finds what it has to find."""

from __future__ import annotations

import asyncio
import json
import shutil
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench import report
from bench.__main__ import SCENARIOS
from bench.chart import draw
from bench.generator import Generator, LoadError, build, topic_name
from bench.growth import CURVES, measure, table
from bench.measure import Effort, Line
from bench.peers import find_others
from bench.servers import Server, start_ours

from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import STRING

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no compiler for the load generator")

TINY = Effort(
    rounds=1, seconds=0.05, connections=10, idle_connections=10, idle_seconds=0.1, returning=20, stormers=10
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of ours, for everybody who does not need another configuration."""
    with start_ours(tmp_path_factory.mktemp("server")) as server:
        yield server


async def test_every_delivery_of_a_real_server_is_counted(server: Server) -> None:
    async with Generator() as generator:
        await generator.connect(server.ws_port, 10, topics=3)
        load = await generator.publish(server.rpc_port, 4, most=50)
        assert (load.messages, load.frames) == (50, 17 * 4 + 17 * 3 + 16 * 3)
        await generator.close()
        await generator.connect(server.ws_port, 5, topics=6, each=2, size=100_000)
        load = await generator.publish(server.rpc_port, 4, most=20, per_call=2)
        assert (load.messages, load.frames) == (20, 8 * 2 + 6 * 2 + 6 * 1)
        assert (await generator.publish(server.rpc_port, rate=1000, seconds=0.05)).p99 > 0
    async with Generator() as generator:
        load = await generator.publish(server.rpc_port, 2, most=30, publishers=3)
        assert (load.messages, load.frames) == (30, 0)
    assert server.cpu() > 0
    assert server.rss() > 1 << 20


@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_scenario_ends_in_figures(server: Server, name: str) -> None:
    lines = [line async for line in SCENARIOS[name]([partial(nullcontext, server)], TINY)]
    assert lines
    for line in lines:
        assert len(line.ours) == 1
        assert len(report.row(line)) == len(report.heading())
    assert len(json.loads(report.as_json(lines, report.machine()))["lines"]) == len(lines)


def payload(number: int) -> bytes:
    """What the generator publishes as the message with this number."""
    padding = bytes(ord("a") + (at * 7 + at // 11 * 5 + at // 97) % 26 for at in range(89))
    return b"%010d:" % number + padding


def frame(number: int) -> bytes:
    """The push that the generator expects as the one with this number."""
    return STRING.push(Publication(topic_name(0), payload(number)))


@asynccontextmanager
async def serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A server of one connection, and its port."""
    over = asyncio.Event()

    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        with suppress(ConnectionError):
            await reader.read()
            writer.close()
            await writer.wait_closed()
        over.set()

    async with await asyncio.start_server(serve_and_close, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await over.wait()


async def received(data: bytes, messages: int) -> int:
    """What a generator with one client says about a server that sends these bytes."""
    publishing = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await reader.readuntil(b"}")
        writer.write(STRING.reply("@join", [topic_name(0)]))
        writer.write(b"\x89\x00")
        assert await reader.readexactly(6) == b"\x8a\x80" + bytes(4)
        await publishing.wait()
        writer.write(data)

    async def publish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for sequence in range(1, messages + 1):
            await reader.readuntil(payload(sequence - 1))
            writer.write(reply(sequence))
        publishing.set()

    async with serving(serve) as port, serving(publish) as rpc, Generator() as generator:
        await generator.connect(port, 1)
        return (await generator.publish(rpc, most=messages, patience=0.1)).frames


def reply(sequence: int, flags: int = 0x80) -> bytes:
    """A reply to `broadcast.Publish`."""
    method, result = b"broadcast.Publish", b"\x08\x01"
    head = struct.pack("<BBIIH", 0x15, flags, len(method) + len(result), 0, 0)
    return head + struct.pack("<II", sequence, len(method)) + method + result


async def test_the_expected_frames_are_as_many_as_messages() -> None:
    assert await received(b"".join(map(frame, range(5))), 5) == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (frame(0) + frame(1), "2 of 3 messages arrived"),
        (frame(0) + frame(1) + frame(2) + frame(2), "not the expected ones|too many"),
        (frame(1) + frame(0) + frame(2), "instead of message 0"),
        (frame(0)[:-3] + b"!" + frame(0)[-2:] + frame(1) + frame(2), "instead of message 0"),
        ((frame(0) + frame(1) + frame(2))[:-1], "2 of 3 messages arrived"),
        (frame(0) + b"\x81\x02no" + frame(1) + frame(2), "2 bytes"),
        (frame(0) + b"\x88\x00", "a client was closed"),
    ],
    ids=["lost", "doubled", "out of order", "changed", "cut off", "foreign", "closed"],
)
async def test_anything_else_is_found(data: bytes, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        await received(data, 3)


async def test_an_error_reply_ends_the_publisher() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(reply(1, 0xC0))

    async with serving(serve) as port, Generator() as generator:
        with pytest.raises(LoadError, match="call 1 was answered by"):
            await generator.publish(port)


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(LoadError, match="apt-get install gcc"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("line", "passed", "target"),
    [
        (Line("a", "us", most=2.0, ours=[1.0, 2.0, 9.0]), True, "<=2"),
        (Line("a", "us", most=1.9, ours=[1.0, 2.0, 9.0]), False, "<=1.9 !"),
        (Line("a", "us", most_ratio=1.2, ours=[3.0, 1.0], peer=[3.0, 1.0]), True, "<=1.2x"),
        (Line("a", "us", most_ratio=0.9, ours=[3.0, 1.0], peer=[3.0, 1.0]), False, "<=0.9x !"),
        (Line("a", "us", most_ratio=0.9, ours=[3.0]), None, "<=0.9x no peer"),
        (Line("a", "us", ours=[3.0]), None, ""),
    ],
)
def test_a_line_says_whether_the_promise_is_kept(line: Line, passed: bool | None, target: str) -> None:
    assert line.passed is passed
    assert report.row(line).rstrip().endswith(target)


def test_a_line_tells_of_a_generator_that_was_busy_all_the_time() -> None:
    assert " ~" in report.row(Line("a", "us", ours=[3.0], saturated=True))


async def test_growth_becomes_a_table_and_a_picture(server: Server) -> None:
    starts = [partial(nullcontext, server)]
    charts = [await measure(replace(curve, steps=(1, 10)), starts, TINY) for curve in CURVES]
    assert all(table(chart).count("10: ") == 1 for chart in charts)
    picture = ElementTree.fromstring(draw(charts))
    lines = picture.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [2] * len(CURVES)


async def test_a_peer_does_the_same_job(tmp_path: Path) -> None:
    """One that needs nothing installed."""
    start = next(start for name, start in find_others() if name == "websockets")
    with start(tmp_path) as peer:
        async with Generator() as generator:
            await generator.connect(peer.ws_port, 4, topics=2)
            assert (await generator.publish(peer.rpc_port, 4, most=20)).frames == 40
