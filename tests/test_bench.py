"""The benchmark in a tiny configuration: it still runs, and it finds what it has to find."""

from __future__ import annotations

import asyncio
import json
import shutil
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench import report
from bench.__main__ import SCENARIOS
from bench.chart import draw
from bench.generator import Generator, LoadError, build, topic_name
from bench.growth import CURVES, measure, table
from bench.measure import TURNS, Effort, Line
from bench.peers import find_own, find_same
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


async def test_messages_of_somebody_else_may_come_before_anybody_waits_for_them(server: Server) -> None:
    """PHP had published the first before the generator knew that there would be any."""
    async with Generator() as waiting, Generator() as other:
        await waiting.connect(server.ws_port, 3)
        await waiting.expect(20)
        await other.publish(server.rpc_port, most=20)
        assert (await waiting.receive()).frames == 60
        await waiting.expect(2)
        await other.publish(server.rpc_port, most=1)
        with pytest.raises(LoadError, match="3 of 6 messages arrived"):
            await waiting.receive(patience=0.1)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_scenario_ends_in_figures(server: Server, name: str) -> None:
    lines = [line async for line in SCENARIOS[name]([partial(nullcontext, server)], TINY)]
    assert lines
    for line in lines:
        assert len(line.ours) == (TURNS if name == "history-without" else 1)
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
    start = next(start for name, start in find_same(print) if name == "websockets")
    with start(tmp_path) as peer:
        async with Generator() as generator:
            await generator.connect(peer.ws_port, 4, topics=2)
            assert (await generator.publish(peer.rpc_port, 4, most=20)).frames == 40


def text_frame(text: bytes) -> bytes:
    """One that a server sends."""
    length = bytes([len(text)]) if len(text) < 126 else b"\x7e" + struct.pack(">H", len(text))
    return b"\x81" + length + text


Talk = list[tuple[bytes, bytes]]
"""What a peer waits for, and what it says then."""
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


@dataclass(frozen=True)
class Own:
    """A protocol of a peer's own, as its server speaks it.

    Attributes:
        join: to a client.
        push: how a message arrives.
        call: how a publisher sends it.
        answer: the answer to the call.
        hello: to a publisher.
        framed: several messages, as a client gets them.
    """

    join: Talk
    push: Callable[[bytes], bytes]
    call: Callable[[bytes], bytes]
    answer: bytes
    hello: Talk = field(default_factory=list)
    framed: Callable[[list[bytes]], bytes] = b"".join


OWN = {
    "socket.io": Own(
        [(b"\r\n\r\n", SWITCHING + text_frame(b'0{"sid":"a"}')), (b"40", text_frame(b'40{"sid":"b"}')),
         (b'42["join","topic-000000"]', text_frame(b'42["@join"]'))],
        lambda text: text_frame(b'42["topic-000000","%b"]' % text),
        lambda text: text,
        b"",
    ),
    "nats": Own(
        [(b"", b'INFO {"x":1}\r\n'), (b"SUB topic-000000 1\r\nPING\r\n", b"PONG\r\nINFO {}\r\nPING\r\n"),
         (b"PONG\r\n", b"")],
        lambda text: b"MSG topic-000000 1 100\r\n%b\r\n" % text,
        lambda text: b"PUB topic-000000 100\r\n%b\r\n" % text,
        b"PING\r\n+OK\r\n",
        [(b'CONNECT {"verbose":true}\r\n', b"INFO {}\r\n+OK\r\n")],
    ),
    "centrifugo": Own(
        [(b"\r\n\r\n", SWITCHING), (b'"connect":{}}', text_frame(b'{"id":1,"connect":{"client":"a"}}')),
         (b'"topic-000000"}}', text_frame(b'{"id":2,"subscribe":{}}'))],
        lambda text: b'{"push":{"channel":"topic-000000","pub":{"data":"%b"}}}' % text,
        lambda text: b'Content-Length: 136\r\n\r\n{"channel":"topic-000000","data":"%b"}' % text,
        b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"result":{}}',
        framed=lambda messages: text_frame(b"\n".join(messages)),
    ),
}  # fmt: skip


async def received_from_peer(name: str, data: bytes) -> int:
    """What a generator with one client says about a peer that sends these bytes, when three are published."""
    own, publishing = OWN[name], asyncio.Event()

    async def talk(talk: Talk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for heard, said in talk:
            if heard:
                await reader.readuntil(heard)
            writer.write(said)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(own.join, reader, writer)
        await publishing.wait()
        writer.write(data)

    async def publish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(own.hello, reader, writer)
        for number in range(3):
            await reader.readuntil(own.call(payload(number)))
            writer.write(own.answer or reply(number + 1))
        publishing.set()

    async with serving(serve) as port, serving(publish) as rpc, Generator() as generator:
        await generator.connect(port, 1, protocol=name)
        return (await generator.publish(rpc, most=3, patience=0.1)).frames


@pytest.mark.parametrize("name", OWN)
class TestProtocolsOfPeers:
    async def test_messages_are_counted(self, name: str) -> None:
        own = OWN[name]
        messages = [own.push(payload(number)) for number in range(3)]
        assert await received_from_peer(name, own.framed(messages)) == 3
        assert await received_from_peer(name, b"".join(own.framed([message]) for message in messages)) == 3

    @pytest.mark.parametrize("numbers", [(0, 1), (0, 2, 1), (0, 1, 2, 2)], ids=["lost", "order", "doubled"])
    async def test_what_is_lost_doubled_or_out_of_order_is_found(
        self, name: str, numbers: tuple[int, ...]
    ) -> None:
        own = OWN[name]
        with pytest.raises(LoadError, match=r"messages arrived|instead of message|too many"):
            await received_from_peer(name, own.framed([own.push(payload(number)) for number in numbers]))

    async def test_every_byte_is_compared(self, name: str) -> None:
        own = OWN[name]
        whole = own.framed([own.push(payload(number)) for number in range(3)])
        for place in range(len(whole) // 3 - 110, len(whole), 13):
            changed = bytearray(whole)
            changed[place] ^= 1
            with pytest.raises(LoadError):
                await received_from_peer(name, bytes(changed))

    async def test_a_publisher_that_is_refused_ends_it(self, name: str) -> None:
        refusal = {
            "nats": b"-ERR 'no'\r\n",
            "centrifugo": b"HTTP/1.1 401 no\r\n\r\n",
            "socket.io": reply(1, 0xC0),
        }

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for heard, said in OWN[name].join:
                if heard:
                    await reader.readuntil(heard)
                writer.write(said)

        async def publish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for heard, said in OWN[name].hello:
                await reader.readuntil(heard)
                writer.write(said)
            await reader.readuntil(payload(0))
            writer.write(refusal[name])

        async with serving(serve) as port, serving(publish) as rpc, Generator() as generator:
            await generator.connect(port, 1, protocol=name)
            with pytest.raises(LoadError, match="was answered by"):
                await generator.publish(rpc, most=1)


def test_a_peer_that_cannot_be_had_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("bench.peers.CACHE", tmp_path)
    monkeypatch.setattr("bench.peers._GO", tmp_path / "go")
    said: list[str] = []
    assert list(find_own(said.append)) == []
    assert said == [
        "Without socket.io: node is not there.",
        "Without nats: go is not there.",
        "Without centrifugo: go is not there.",
    ]
