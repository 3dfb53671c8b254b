"""The benchmark in a tiny configuration: it still runs, and it finds what it has to find."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from bench import report
from bench.compression import SCENARIOS as COMPRESSION
from bench.forward import SCENARIOS as FORWARD
from bench.forwarding import SCENARIOS as FORWARDING
from bench.isolation import SCENARIOS as ISOLATION
from bench.load import Fleet, LoadError, document
from bench.pages import SCENARIOS as PAGES
from bench.publisher import Publisher
from bench.scenarios import SCENARIOS, Effort, Line
from bench.servers import start_ours

from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import STRING

_ALL = SCENARIOS | COMPRESSION | ISOLATION | FORWARD | FORWARDING | PAGES
TINY = Effort(rounds=1, seconds=0.1, connections=10, idle_connections=10, idle_seconds=0.1)


async def test_every_delivery_of_a_real_server_is_counted(tmp_path: Path) -> None:
    with start_ours(tmp_path) as server:
        fleet = Fleet(server.ws_port, topics=3)
        await fleet.connect(10)
        publisher = await Publisher.connect(server.rpc_port, topics=3)
        assert await publisher.run(4, seconds=60, most=50) == 50
        assert await fleet.expect(50) == 17 * 4 + 17 * 3 + 16 * 3
        await publisher.close()
        await fleet.close()
        assert server.cpu() > 0
        assert server.rss() > 1 << 20


@pytest.mark.parametrize("name", _ALL)
async def test_every_scenario_ends_in_figures(tmp_path: Path, name: str) -> None:
    lines = [line async for line in _ALL[name]([partial(start_ours, tmp_path)], TINY)]
    assert lines
    for line in lines:
        assert len(line.ours) == 1
        assert len(report.row(line)) == len(report.heading())
    assert len(json.loads(report.as_json(lines, report.machine()))["lines"]) == len(lines)


def frame(number: int) -> bytes:
    """The push that the fleet expects as the one with this number."""
    return STRING.push(Publication("topic-0000", (b"%010d:" % number).ljust(100, b"x")))


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


async def received(data: bytes, calls: int) -> int:
    """What a fleet of one says about a server that sends these bytes."""
    joined = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await reader.readuntil(b"}")
        writer.write(STRING.reply("@join", ["topic-0000"]))
        await joined.wait()
        writer.write(data)

    async with serving(serve) as port:
        fleet = Fleet(port)
        await fleet.connect(1)
        joined.set()
        try:
            return await fleet.expect(calls, patience=0.1)
        finally:
            await fleet.close()


async def test_the_expected_frames_are_as_many_as_calls() -> None:
    assert await received(b"".join(map(frame, range(5))), 5) == 5


@pytest.mark.parametrize(
    "data",
    [
        frame(0) + frame(1),
        frame(0) + frame(1) + frame(2) + frame(2),
        frame(1) + frame(0) + frame(2),
        frame(0)[:-3] + b"!" + frame(0)[-2:] + frame(1) + frame(2),
        (frame(0) + frame(1) + frame(2))[:-1],
    ],
    ids=["lost", "doubled", "out of order", "changed", "cut off"],
)
async def test_anything_else_is_found(data: bytes) -> None:
    with pytest.raises(LoadError, match="bytes arrived"):
        await received(data, 3)


async def test_an_error_reply_ends_the_publisher() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x15\xc0" + bytes(200))

    async with serving(serve) as port:
        publisher = await Publisher.connect(port)
        with pytest.raises(LoadError, match="call 1 was answered by"):
            await publisher.run(1, seconds=60)
        await publisher.close()


@pytest.mark.parametrize(
    ("line", "passed", "target"),
    [
        (Line("a", "us", most=2.0, ours=[1.0, 2.0, 9.0]), True, "<=2 PASS"),
        (Line("a", "us", most=1.9, ours=[1.0, 2.0, 9.0]), False, "<=1.9 FAIL"),
        (Line("a", "us", most_ratio=1.2, ours=[3.0, 1.0], peer=[3.0, 1.0]), True, "<=1.2x PASS"),
        (Line("a", "us", most_ratio=0.9, ours=[3.0, 1.0], peer=[3.0, 1.0]), False, "<=0.9x FAIL"),
        (Line("a", "us", most_ratio=0.9, ours=[3.0]), None, "<=0.9x no peer"),
        (Line("a", "us", ours=[3.0]), None, ""),
    ],
)
def test_a_line_says_whether_the_promise_is_kept(line: Line, passed: bool | None, target: str) -> None:
    assert line.passed is passed
    assert report.row(line).rstrip().endswith(target)


async def test_what_arrives_compressed_is_counted_and_compared(tmp_path: Path) -> None:
    with start_ours(tmp_path, compression="on") as server:
        for content, wrong in ((document, False), (lambda size: document(size)[::-1], True)):
            fleet = Fleet(server.ws_port, size=1024, content=document, deflated=True)
            await fleet.connect(10)
            publisher = await Publisher.connect(server.rpc_port, size=1024, content=content)
            made = await publisher.run(4, seconds=60, most=20)
            if wrong:
                with pytest.raises(LoadError, match="frames were not the expected ones"):
                    await fleet.expect(made)
            else:
                assert await fleet.expect(made) == 200
                assert fleet.wire < fleet.received / 2
            await publisher.close()
            await fleet.close()
