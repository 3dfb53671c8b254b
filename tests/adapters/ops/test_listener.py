from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from adapters.ops.conftest import Serve
from rr_py_ws.adapters.ops import OpsListener, listener
from rr_py_ws.errors import ConfigError
from support.http_peer import exchange, get
from support.loops import both_loops
from support.ports import needs_ipv6
from support.standstill import stand_still
from support.waiting import eventually

pytestmark = both_loops

Connect = Callable[[OpsListener], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connect, and wait until the server knows; one that is cut for it is known no more."""
    writers: list[asyncio.StreamWriter] = []

    async def connect(server: OpsListener) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        before = [*server._connections]
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writers.append(writer)
        await eventually(lambda: [*server._connections] != before)
        return reader, writer

    yield connect
    for writer in writers:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def is_cut(reader: asyncio.StreamReader) -> bool:
    with suppress(ConnectionResetError):
        return await reader.read() == b""
    return True


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


async def test_a_connection_carries_one_request(serve: Serve) -> None:
    answer = await get((await serve(hello)).address, "/")
    assert (answer.status, answer.text, answer.headers["connection"]) == (200, "hello", "close")
    assert "server" not in answer.headers


async def test_an_inherited_socket_is_served_and_stays() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        for _ in range(2):
            server = OpsListener(hello, "127.0.0.1:1", key="metrics.address", max_connections=64)
            await server.start([holder.dup()])
            assert (await get(server.address, "/")).text == "hello"
            await server.stop(1.0)
        socket.create_connection(holder.getsockname()).close()  # waits for the next listener


async def test_an_empty_host_is_every_ipv4_address(serve: Serve) -> None:
    server = await serve(hello, ":0")
    host, port = server.address.split(":")
    assert host == "0.0.0.0"
    assert b"hello" in await exchange(f"127.0.0.1:{port}", b"GET / HTTP/1.0\r\n\r\n")


@needs_ipv6
async def test_an_ipv6_address_is_written_in_brackets(serve: Serve) -> None:
    server = await serve(hello, "[::1]:0")
    assert server.address.startswith("[::1]:")
    assert (await get(server.address, "/")).text == "hello"


async def test_a_port_that_is_in_use_is_an_error_that_names_the_key(serve: Serve) -> None:
    address = (await serve(hello)).address
    with pytest.raises(ConfigError) as caught:
        await serve(hello, address)
    assert str(caught.value) == (
        f"metrics.address: cannot listen on {address}:"
        " it is in use by another process (a server still running?), or by a socket of systemd"
    )


def test_an_address_that_cannot_be_read_is_an_error_that_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"^metrics\.address: '2112' is not an address"):
        OpsListener(hello, "2112", key="metrics.address", max_connections=64)


@pytest.mark.parametrize("host", ["1.2.3.4.5", "ü" * 70])
async def test_a_host_that_does_not_exist_is_an_error_that_names_the_key(serve: Serve, host: str) -> None:
    with pytest.raises(ConfigError, match=f"^metrics.address: cannot listen on {host}:80: "):
        await serve(hello, f"{host}:80")


async def test_signal_handlers_are_not_changed(serve: Serve) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    await serve(hello)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(
    "request_head",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9\r\n\r\n", b"GET /\xff HTTP/1.1\r\nno colon\r\n\r\n"],
    ids=["tls", "version", "header"],
)
async def test_garbage_is_refused_and_leaves_no_line_in_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture, request_head: bytes
) -> None:
    server = await serve(hello)
    assert (await exchange(server.address, request_head)).startswith(b"HTTP/1.1 400 ")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_websocket_handshake_is_answered_as_any_other_request(serve: Serve) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert (await exchange((await serve(hello)).address, head)).endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("start", [b"", b"GET / HTT"], ids=["nothing", "half a line"])
async def test_a_peer_that_does_not_finish_its_request_is_cut(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(listener, "_LIFETIME", 0.05)
    address = (await serve(hello)).address
    with suppress(ConnectionResetError):
        assert await exchange(address, start) == b""


async def test_a_peer_that_does_not_end_its_request_is_cut(serve: Serve) -> None:
    address = (await serve(hello)).address
    head = b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 200_000
    with suppress(ConnectionResetError):
        assert await exchange(address, head) == b""


async def test_connections_over_the_limit_are_closed_at_once(serve: Serve, connect: Connect) -> None:
    server = await serve(hello, max_connections=2)
    waiting = [await connect(server) for _ in range(2)]
    with suppress(ConnectionResetError):
        assert await exchange(server.address, b"") == b""
    samples = {sample.name: sample.values for sample in server.metrics()}
    assert samples["monitoring_connections"] == {("metrics.address",): 2}
    assert samples["monitoring_refused"] == {("metrics.address",): 1}
    for _, writer in waiting:
        writer.close()
        await writer.wait_closed()
    await eventually(lambda: not server._connections)
    assert (await get(server.address, "/")).text == "hello"


async def test_connections_that_say_nothing_do_not_keep_the_probe_out(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there may be, renewed before their time was over, shut out health probe and Prometheus."""
    monkeypatch.setattr(listener, "_MIN_IDLE", 0.0)
    server = await serve(hello, max_connections=2)
    first, second = [(await connect(server))[0] for _ in range(2)]
    assert (await get(server.address, "/")).text == "hello"
    assert await is_cut(first)
    await eventually(lambda: len(server._connections) == 1)
    await connect(server)
    assert (await get(server.address, "/")).text == "hello"
    assert await is_cut(second)
    samples = {sample.name: sample.values for sample in server.metrics()}
    assert samples["monitoring_cut"] == {("metrics.address",): 2}
    assert samples["monitoring_refused"] == {("metrics.address",): 0}


async def test_one_that_does_not_take_its_answer_is_cut_after_one_that_says_nothing(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("x" * 20_000_000)(scope, receive, send)

    monkeypatch.setattr(listener, "_MIN_IDLE", 0.0)
    server = await serve(large, max_connections=2)
    _, deaf = await connect(server)
    (answered,) = server._connections
    deaf.write(b"GET / HTTP/1.0\r\n\r\n")
    await eventually(answered.is_answered)
    silent, _ = await connect(server)
    _, asking = await connect(server)
    assert await is_cut(silent)
    asking.write(b"GET / HTTP/1.0\r\n\r\n")
    await eventually(lambda: all(connection.is_answered() for connection in server._connections))
    assert answered in server._connections
    await connect(server)
    assert answered not in server._connections


async def test_one_whose_answer_is_being_made_is_not_idle(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await may_answer.wait()
        await hello(scope, receive, send)

    monkeypatch.setattr(listener, "_MIN_IDLE", 0.0)
    server = await serve(slow, max_connections=1)
    answer = asyncio.create_task(get(server.address, "/"))
    await asked.wait()
    with suppress(ConnectionResetError):
        assert await exchange(server.address, b"") == b""
    may_answer.set()
    assert (await answer).text == "hello"


async def test_after_a_standstill_who_has_sent_a_request_is_not_cut_for_a_new_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_MIN_IDLE", 0.0)
    server = await serve(hello, max_connections=1)
    host, _, port = server.address.rpartition(":")

    def meanwhile() -> None:
        newcomer.connect((host, int(port)))
        first.send(b"GET / HTTP/1.0\r\n\r\n")

    with socket.create_connection((host, int(port))) as first, socket.socket() as newcomer:
        await eventually(lambda: server._connections)
        await stand_still(0.01, meanwhile)
        reader, writer = await asyncio.open_connection(sock=first)
        assert (await reader.read()).endswith(b"hello")
        writer.close()
        await writer.wait_closed()


async def test_stop_frees_the_address(serve: Serve) -> None:
    server = await serve(hello)
    await server.stop(1.0)
    with pytest.raises(ConnectionRefusedError):
        await get(server.address, "/")
    await server.stop(1.0)


async def test_stop_without_start_does_nothing() -> None:
    await OpsListener(hello, "127.0.0.1:0", key="", max_connections=64).stop(1.0)


async def test_stop_waits_for_answers_that_have_begun(serve: Serve) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await may_answer.wait()
        await hello(scope, receive, send)

    server = await serve(slow)
    answer = asyncio.create_task(get(server.address, "/"))
    await asked.wait()
    stop = asyncio.create_task(server.stop(20.0))
    await asyncio.sleep(0)
    may_answer.set()
    assert (await answer).text == "hello"
    await stop


async def test_stop_cuts_peers_that_take_longer_than_the_timeout(serve: Serve) -> None:
    asked = asyncio.Event()

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    server = await serve(never)
    answer = asyncio.create_task(exchange(server.address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    await asked.wait()
    await server.stop(0.01)
    with suppress(ConnectionResetError):
        assert await answer == b""


async def test_stop_closes_a_connection_that_was_accepted_in_the_same_moment(serve: Serve) -> None:
    """The event loop makes the transport a moment after the connection was accepted."""
    server = await serve(hello)
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port))) as peer:
        server._acceptors[0]._accept()
        await server.stop(20.0)
        assert not server._connections
        with suppress(ConnectionResetError):
            assert peer.recv(1) == b""
