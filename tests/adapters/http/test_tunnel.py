from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws import logs
from rr_py_ws.adapters.http import tunnels
from rr_py_ws.address import TCPAddress, UnixAddress
from support.behind import OK, SWITCH, Behind, Peer, saying, waiting_for_the_end
from support.forward_site import ForwardSite, StartForward
from support.http_site import get, parse
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import Client

pytestmark = both_loops

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nx: y\r\n\r\n"
ASKING = ("Connection: keep-alive, Upgrade", "Upgrade: websocket")
MANY = 64 * 1024 * 1024


async def ask(site: ForwardSite, *fields: str, then: bytes = b"", **options: Any) -> Client:
    """A client that asks for an upgrade."""
    return await site.send(get("/app?x=1", *(fields or ASKING)) + then, **options)


async def switched(site: ForwardSite, **options: Any) -> Client:
    """A client with a tunnel."""
    client = await ask(site, **options)
    assert await client.head() == SWITCHED
    return client


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    monkeypatch.setattr(tunnels, "log", logs.get_logger("http"))
    return lambda: capsys.readouterr().err


async def echo(peer: Peer) -> None:
    """Change the protocol, then send back what comes, until the end."""
    await peer.head()
    await peer.send(SWITCH)
    await peer.send(await peer.rest())


async def test_an_upgrade_is_passed_on(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        assert await peer.head() == (
            b"GET /app?x=1 HTTP/1.1\r\ncookie: a=b\r\nhost: app.test\r\nx-forwarded-for: 127.0.0.1\r\n"
            b"x-forwarded-proto: http\r\nx-forwarded-host: app.test\r\ncdn-loop: %b\r\n"
            b"connection: Upgrade\r\nupgrade: websocket\r\n\r\n" % site.upstream.mark
        )
        await peer.send(SWITCH + b"early")
        assert await peer.exactly(4) == b"ping"
        await peer.send(b"pong")
        assert await peer.rest() == b""

    site = await start_forward(serve)
    client = await ask(site, *ASKING, "Cookie: a=b", "X-Forwarded-For: evil", "Keep-Alive: 5")
    assert await client.head() == SWITCHED
    assert await client.exactly(5) == b"early"
    await client.send(b"ping")
    assert await client.exactly(4) == b"pong"
    assert len(site.tunnels) == 1


async def test_what_a_client_sends_too_early_follows_the_switch(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        assert await peer.exactly(5) == b"early"
        await peer.send(b"seen")

    site = await start_forward(serve)
    client = await ask(site, then=b"early")
    assert await client.rest() == SWITCHED + b"seen"


async def test_a_server_that_does_not_switch_gets_no_more_of_the_client(start_forward: StartForward) -> None:
    """What a client sends behind its head would be a request that nobody has looked at."""

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(
            b"HTTP/1.1 403 Forbidden\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
        )
        with suppress(ConnectionError):
            assert await peer.rest() == b""
        ended.set()

    ended = asyncio.Event()
    site = await start_forward(serve)
    client = await ask(site, then=get("/admin"))
    status, headers, body = parse(await client.rest())
    assert (status, headers["x-a"], headers["content-length"], body) == (403, "b", "2", b"no")
    assert headers["connection"] == "close"
    await ended.wait()


async def test_of_a_large_answer_that_does_not_switch_the_status_is_passed_on(
    start_forward: StartForward,
) -> None:
    answer = b"HTTP/1.1 500 X\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
    site = await start_forward(saying(answer, end=False))
    status, _, body = parse(await (await ask(site)).rest())
    assert (status, body) == (500, b"")


@pytest.mark.parametrize(
    "fields",
    [
        ("Upgrade: websocket",),
        ("Connection: Upgrade",),
        ("Connection: Upgrade", "Upgrade: h2c"),
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"),
        ("Connection: Upgrade", "Upgrade: HTTP/2.0"),
    ],
)
async def test_what_is_no_upgrade_is_a_request_like_any_other(
    start_forward: StartForward, fields: tuple[str, ...]
) -> None:
    async def serve(peer: Peer) -> None:
        assert b"upgrade" not in (await peer.head()).lower()
        await peer.send(OK)

    site = await start_forward(serve)
    client = await ask(site, *fields)
    await client.head()
    assert await client.exactly(5) == b"hello"


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (b"", 502, "ended before the answer did"),
        (b"SSH-2.0\r\n", 502, "the answer cannot be read"),
        (SWITCH.replace(b"websocket", b"h2c"), 502, "a protocol that nobody has asked for"),
        (SWITCH.replace(b"Upgrade: websocket\r\n", b""), 502, "status 101"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 502, "ended before the answer did"),
    ],
)
async def test_no_usable_answer(
    start_forward: StartForward, log: Callable[[], str], answer: bytes, status: int, reason: str
) -> None:
    site = await start_forward(saying(answer))
    assert parse(await (await ask(site)).rest())[0] == status
    assert reason in log()


async def test_an_upgrade_that_comes_back_is_refused(
    start_forward: StartForward, log: Callable[[], str]
) -> None:
    async def send_back(peer: Peer) -> None:
        await peer.send(await (await site.send(await peer.head())).rest())

    site = await start_forward(send_back)
    status, _, body = parse(await (await ask(site, *ASKING)).rest())
    assert (status, body[:18]) == (508, b"508 Loop Detected\n")
    assert len(log().splitlines()) == 1


async def test_no_server(start_forward: StartForward, log: Callable[[], str]) -> None:
    site = await start_forward(echo, address=TCPAddress("127.0.0.1", 1))
    assert parse(await (await ask(site)).rest())[0] == 502
    assert "cannot connect" in log()


async def test_no_answer_in_time(start_forward: StartForward, log: Callable[[], str]) -> None:
    site = await start_forward(saying(b"HTTP/1.1 101 ", end=False), response_timeout=0.05)
    assert parse(await (await ask(site)).rest())[0] == 504
    assert "websockets.http.response_timeout" in log()


async def test_a_mistake_of_ours_is_an_answer_too(
    start_forward: StartForward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client waited for ever, and its connection kept its place."""

    def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(tunnels, "sender_of", fail)
    site = await start_forward(echo)
    client = await ask(site)
    assert (await client.rest()).startswith(b"HTTP/1.1 502 ")
    assert len(site.tunnels) == 0


async def test_a_client_that_leaves_before_the_answer(start_forward: StartForward) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()
    site = await start_forward(waiting_for_the_end(asked, ended))
    client = await ask(site)
    await asked.wait()
    client.close()
    await ended.wait()
    await eventually(lambda: len(site.tunnels) == 0)


async def test_each_way_may_end_first(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        if site.behind.accepted == 1:
            assert await peer.rest() == b"question"
            await peer.send(b"answer")
        else:
            await peer.send(b"answer")
            peer.end()
            assert await peer.rest() == b"question"

    site = await start_forward(serve)
    client = await switched(site)
    await client.send(b"question")
    client._socket.shutdown(1)
    assert await client.rest() == b"answer"
    client = await switched(site)
    assert await client.rest() == b"answer"
    await client.send(b"question")
    client.close()
    await eventually(lambda: len(site.tunnels) == 0)


async def test_a_half_closed_tunnel_may_not_be_silent_for_ever(
    start_forward: StartForward, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        with suppress(ConnectionError):
            await peer.rest()
            await asyncio.Event().wait()

    monkeypatch.setattr(tunnels, "_HALF_CLOSED", 0.05)
    site = await start_forward(serve)
    client = await switched(site)
    client._socket.shutdown(1)
    with suppress(ConnectionResetError):
        assert await client.rest() == b""
    await eventually(lambda: len(site.tunnels) == 0)


async def test_a_client_that_leaves_is_not_kept_by_a_server_that_takes_nothing(
    start_forward: StartForward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was read of it any more, so its end was never seen, and its tunnel never ended."""

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        await ended.wait()

    ended = asyncio.Event()
    monkeypatch.setattr(tunnels, "_STUCK", 0.05)
    site = await start_forward(serve)
    client = await switched(site)
    await client.send_until_stalled(bytes(MANY))
    client.reset()
    await eventually(lambda: len(site.tunnels) == 0)
    ended.set()


async def test_who_takes_little_keeps_its_tunnel(
    start_forward: StartForward, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        sent.set_result(await peer.send_until_stalled(bytes(65536), MANY))
        await peer.rest()

    sent = asyncio.get_running_loop().create_future()
    site = await start_forward(serve)
    client = await switched(site, small_buffers=True)
    await sent
    [end] = site.tunnels.stuck
    before = end.transport.get_write_buffer_size()
    while end.transport.get_write_buffer_size() == before:
        await client.exactly(4096)
    site.tunnels.stuck.pop(end, None)
    end.look_again()  # its time has come
    assert len(site.tunnels) == 1


async def test_a_reset_is_a_reset(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        await peer.exactly(1)
        peer.reset()

    site = await start_forward(serve)
    client = await switched(site)
    await client.send(b"x")
    with suppress(ConnectionResetError):
        assert await client.rest() == b""
    await eventually(lambda: len(site.tunnels) == 0)


async def test_a_side_that_does_not_read_makes_the_other_wait(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        await stalled.wait()
        assert await peer.exactly(MANY) == bytes(MANY)
        sent.set_result(await peer.send_until_stalled(bytes(65536), MANY))

    stalled, sent = asyncio.Event(), asyncio.get_running_loop().create_future()
    site = await start_forward(serve)
    client = await switched(site, small_buffers=True)
    left = await client.send_until_stalled(bytes(MANY))
    assert left
    stalled.set()
    await client.send(left)
    assert await sent < MANY
    assert len(await client.rest()) == sent.result()


async def test_a_client_that_does_not_take_what_came_with_the_switch_makes_the_server_wait(
    start_forward: StartForward, tmp_path: Path
) -> None:
    """The server was read all the same, and what the client did not take grew without a bound."""

    async def serve(peer: Peer) -> None:
        await peer.head()
        [connection] = site.listener._connections
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await peer.send(SWITCH + bytes(200_000))
        sent.set_result(await peer.send_until_stalled(bytes(65536), MANY))

    sent = asyncio.get_running_loop().create_future()
    behind = Behind(serve)
    await behind.start(str(tmp_path / "behind.sock"))
    site = await start_forward(serve, address=UnixAddress(str(tmp_path / "behind.sock")))
    client = await ask(site, small_buffers=True)
    assert await sent < MANY
    await client.rest()
    await behind.stop()


async def test_tunnels_have_a_limit(start_forward: StartForward, log: Callable[[], str]) -> None:
    site = await start_forward(echo, max_tunnels=1)
    first = await switched(site)
    status, headers, _ = parse(await (await ask(site)).rest())
    assert (status, headers["retry-after"] is not None) == (503, True)
    assert "websockets.http.max_tunnels" in log()
    first._socket.shutdown(1)
    assert await first.rest() == b""
    await eventually(lambda: len(site.tunnels) == 0)
    await switched(site)


async def test_a_stop_ends_both_connections(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH + b"hello")
        ended.set_result(await peer.rest())

    ended = asyncio.get_running_loop().create_future()
    site = await start_forward(serve)
    client = await switched(site)
    assert await client.exactly(5) == b"hello"
    assert await site.tunnels.stop(5.0) == 0
    assert await client.rest() == await ended == b""


async def test_a_stop_does_not_wait_for_who_does_not_read(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        await peer.send_until_stalled(bytes(65536), MANY)
        stalled.set()
        with suppress(ConnectionError):
            await peer.rest()

    stalled = asyncio.Event()
    site = await start_forward(serve)
    await switched(site, small_buffers=True)
    await stalled.wait()
    assert await site.tunnels.stop(0.05) == 1
    assert len(site.tunnels) == 0


async def test_a_stop_forgets_those_that_are_being_opened(start_forward: StartForward) -> None:
    site = await start_forward(saying(b"", end=False))
    client = await ask(site)
    await eventually(lambda: site.behind.accepted == 1)
    await site.tunnels.stop(5.0)
    assert len(site.tunnels) == 0
    await eventually(lambda: site.behind.open == 0)
    client.close()


async def test_tls_at_the_front(
    start_forward: StartForward, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async def serve(peer: Peer) -> None:
        assert b"\r\nx-forwarded-proto: https\r\n" in await peer.head()
        await peer.send(SWITCH)
        assert await peer.exactly(4) == b"ping"
        await peer.send(b"pong")

    site = await start_forward(serve, tls=server_tls)
    client = await ask(site, tls=client_tls)
    assert await client.head() == SWITCHED
    await client.send(b"ping")
    assert await client.rest() == b"pong"
    client.close()
    await eventually(lambda: len(site.tunnels) == 0)
