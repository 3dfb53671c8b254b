from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from rr_py_ws import logs
from rr_py_ws.adapters.http import forward, upstream
from rr_py_ws.adapters.http.upstream_connection import UpstreamConnection
from rr_py_ws.address import TCPAddress, UnixAddress
from support.behind import OK, Behind, Peer, Serve, answer_ok, saying, waiting_for_the_end
from support.forward_site import ForwardSite, StartForward
from support.http_site import get, parse
from support.loops import both_loops
from support.waiting import eventually

pytestmark = both_loops

MANY = 64 * 1024 * 1024
"""Bytes; far more than all buffers of the kernel and ours."""


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was logged since the last look; every line, whatever earlier tests had to say."""
    monkeypatch.setattr(forward, "log", logs.get_logger("http"))
    return lambda: capsys.readouterr().err


CLOSE = "Connection: close"


async def test_a_request_and_its_answer(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        assert await peer.head() == (
            b"GET /a%2Fb/%C3%A4?x=%20&y HTTP/1.1\r\naccept: */*\r\nhost: app.test\r\n"
            b"x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: app.test\r\n"
            b"cdn-loop: " + site.upstream.mark + b"\r\n\r\n"
        )
        await peer.send(
            b"HTTP/1.1 201 Made\r\nDate: x\r\nX: 1\r\nX: 2\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nok"
        )

    site = await start_forward(serve)
    answer = await site.ask(get("/a%2Fb/%C3%A4?x=%20&y", "Accept: */*", CLOSE))
    assert answer == (
        b"HTTP/1.1 201 Created\r\ndate: x\r\nx: 1\r\nx: 2\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
    )
    assert site.count("answered") == 1


@pytest.mark.parametrize("target", ["/a?", "/a??", "/?", "//a/../b?c?"])
async def test_the_target_is_whole(start_forward: StartForward, target: str) -> None:
    """Also the question mark with nothing behind it."""
    site = await start_forward(say_head)
    assert f"GET {target} HTTP/1.1\r\n".encode() in await site.ask(get(target, CLOSE))


async def test_connections_are_used_again(start_forward: StartForward) -> None:
    site = await start_forward()
    client = await site.send(b"")
    for _ in range(3):
        await client.send(get("/"))
        await client.head()
        assert await client.exactly(5) == b"hello"
    assert site.behind.accepted == 1
    assert site.upstream.connections == 1


async def test_a_body_with_a_length(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        assert b"\r\ncontent-length: 6\r\n" in await peer.head()
        assert await peer.exactly(3) == b"abc"
        first.set()
        assert await peer.exactly(3) == b"def"
        await peer.send(OK)

    first = asyncio.Event()
    site = await start_forward(serve)
    client = await site.send(get("/", "Content-Length: 6", CLOSE, method="POST") + b"abc")
    await first.wait()  # the first part has arrived although the second is not sent yet
    await client.send(b"def")
    assert (await client.rest()).endswith(b"hello")


async def test_a_body_in_chunks(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        head = await peer.head()
        assert head.count(b"transfer-encoding: chunked") == 1 and b"content-length" not in head
        assert await peer.body() == b"abcdef"
        await peer.send(OK)

    site = await start_forward(serve)
    body = b"3;ext=1\r\nabc\r\n3\r\ndef\r\n0\r\nTrailer: x\r\n\r\n"
    answer = await site.ask(get("/", "Transfer-Encoding: chunked", CLOSE, method="POST") + body)
    assert answer.endswith(b"hello")


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
async def test_an_answer_without_a_body(start_forward: StartForward, method: str, answer: bytes) -> None:
    async def serve(peer: Peer) -> None:
        while await peer.head():
            await peer.send(answer)

    site = await start_forward(serve)
    client = await site.send(get("/", method=method))
    await client.head()
    await client.send(get("/", CLOSE, method=method))
    head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert body == b"" and b"link" not in head
    assert site.behind.accepted == 1


async def test_events_arrive_when_they_are_sent(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            await seen.get()
            await peer.send(b"data: %d\n\n" % number)

    seen = asyncio.Queue[None]()
    site = await start_forward(serve)
    client = await site.send(get("/", CLOSE))
    assert b"\r\ncontent-type: text/event-stream\r\n" in await client.head()
    for number in range(3):
        seen.put_nowait(None)
        assert await client.exactly(14) == b"9\r\ndata: %d\n\n\r\n" % number
    assert await client.rest() == b"0\r\n\r\n"


async def test_a_client_that_does_not_read_makes_the_server_wait(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        sent.set_result(await peer.send_until_stalled(bytes(65536), MANY))

    sent = asyncio.get_running_loop().create_future()
    site = await start_forward(serve)
    client = await site.send(get("/", CLOSE), small_buffers=True)
    assert await sent < MANY
    answer = await client.rest()
    assert answer.endswith(b"\r\n0\r\n\r\n") and len(answer) > sent.result()


async def test_a_server_that_does_not_read_makes_the_client_wait(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await stalled.wait()
        assert await peer.exactly(MANY) == bytes(MANY)
        await peer.send(OK)

    stalled = asyncio.Event()
    site = await start_forward(serve)
    client = await site.send(get("/", f"Content-Length: {MANY}", CLOSE, method="POST"), small_buffers=True)
    left = await client.send_until_stalled(bytes(MANY))
    assert left
    stalled.set()
    await client.send(left)
    assert (await client.rest()).endswith(b"hello")


# Expect


async def test_the_server_asks_for_the_body(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        assert b"\r\nexpect: 100-continue\r\n" in await peer.head()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.exactly(3) == b"abc"
        await peer.send(OK)

    site = await start_forward(serve)
    client = await site.send(get("/", "Content-Length: 3", "Expect: 100-continue", CLOSE, method="PUT"))
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"abc")
    assert (await client.rest()).endswith(b"hello")


async def test_the_server_does_not_want_the_body(start_forward: StartForward) -> None:
    site = await start_forward(saying(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", end=False))
    client = await site.send(get("/", "Content-Length: 3", "Expect: 100-continue", method="PUT"))
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 413 ") and b"connection: close" in answer
    await eventually(lambda: site.upstream.connections == 0)


async def test_the_server_says_nothing_of_the_body(
    start_forward: StartForward, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        assert await peer.exactly(3) == b"abc"
        await peer.send(OK)

    monkeypatch.setattr(forward, "_CONTINUE_TIMEOUT", 0.01)
    site = await start_forward(serve)
    client = await site.send(get("/", "Content-Length: 3", "Expect: 100-continue", CLOSE, method="PUT"))
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"abc")
    assert (await client.rest()).endswith(b"hello")


async def test_an_early_answer_arrives_and_ends_the_connection_behind(
    start_forward: StartForward,
) -> None:
    site = await start_forward(saying(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno", end=False))
    client = await site.send(get("/", "Content-Length: 6", method="POST") + b"abc")
    assert (await client.head()).startswith(b"HTTP/1.1 413 ")
    assert await client.exactly(2) == b"no"
    await eventually(lambda: site.upstream.connections == 0)


# What fails


async def serve_nothing(peer: Peer) -> None:
    await peer.head()


async def reset(peer: Peer) -> None:
    await peer.head()
    peer.reset()


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (serve_nothing, "the connection ended before the answer did"),
        (reset, "the connection was lost"),
        (saying(b"SSH-2.0-OpenSSH\r\n", end=False), "the answer cannot be read"),
        (saying(b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", end=False), "the status 101"),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), "cannot be"),
        (saying(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, end=False), "the answer cannot be read"),
        (saying(b"HTTP/1.1 102 Processing\r\n\r\n" * 17, end=False), "interim answers"),
    ],
)
async def test_no_usable_answer(
    start_forward: StartForward, log: Callable[[], str], serve: Serve, reason: str
) -> None:
    site = await start_forward(serve)
    status, headers, body = parse(await site.ask(get("/page", CLOSE)))
    assert (status, headers["content-type"]) == (502, "text/plain; charset=utf-8")
    assert body.startswith(b"502 Bad Gateway\n")
    [line] = log().splitlines()
    assert reason in line and "/page" in line
    assert site.count("failed") == 1


async def test_no_server(start_forward: StartForward, log: Callable[[], str], tmp_path: Path) -> None:
    for address in (TCPAddress("127.0.0.1", 1), UnixAddress(str(tmp_path / "none.sock"))):
        site = await start_forward(address=address)
        assert (await site.ask(get("/", CLOSE))).startswith(b"HTTP/1.1 502 ")
        assert "cannot connect" in log()


async def test_no_connection_in_time(start_forward: StartForward, log: Callable[[], str]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = []
        for _ in range(8):  # nobody accepts: soon the kernel does not answer any more
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            with suppress(BlockingIOError):
                waiting[-1].connect(full.getsockname())
        site = await start_forward(address=TCPAddress(*full.getsockname()), connect_timeout=0.05)
        answer = await site.ask(get("/", CLOSE))
        for one in waiting:
            one.close()
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert "websockets.http.connect_timeout" in log()


async def test_no_answer_in_time(start_forward: StartForward, log: Callable[[], str]) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        assert await peer.rest() == b""

    site = await start_forward(serve, response_timeout=0.05)
    assert (await site.ask(get("/", CLOSE))).startswith(b"HTTP/1.1 504 ")
    assert "websockets.http.response_timeout" in log()


BROKEN = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_that_breaks_off_is_not_ended_for_the_client(
    start_forward: StartForward, log: Callable[[], str], name: str
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(BROKEN[name])
        await seen.wait()

    seen = asyncio.Event()
    site = await start_forward(serve)
    client = await site.send(get("/"))
    head = await client.head()
    seen.set()
    body = await client.rest()
    if b"content-length" in head:
        assert body == b"hello"  # of 50
    else:
        assert body in (b"", b"5\r\nhello\r\n")
    assert site.count("broken") == 1
    assert "an answer broke off" in log()


async def test_a_client_that_leaves_ends_its_request(start_forward: StartForward) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()
    site = await start_forward(waiting_for_the_end(asked, ended))
    client = await site.send(get("/"))
    await asked.wait()
    client.close()
    await ended.wait()
    await eventually(lambda: site.count("aborted") == 1)


async def test_a_client_that_leaves_ends_its_download(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        with suppress(ConnectionError):
            await peer.rest()
        ended.set()

    ended = asyncio.Event()
    site = await start_forward(serve)
    client = await site.send(get("/"))
    await client.head()
    client.close()
    await ended.wait()
    await eventually(lambda: site.count("aborted") == 1)


# The pool


async def first_used_then_ended(peer: Peer) -> None:
    """Answer one request; the next one finds that the connection has ended in this moment."""
    await peer.head()
    await peer.send(OK)
    await peer.head()


async def ask_twice(site: ForwardSite, second: bytes) -> bytes:
    client = await site.send(get("/"))
    await client.head()
    await client.exactly(5)
    await client.send(second)
    return await client.rest()


async def test_a_request_that_met_the_end_of_a_connection_is_sent_again(start_forward: StartForward) -> None:
    site = await start_forward(first_used_then_ended)
    answer = await ask_twice(site, get("/", CLOSE))
    assert answer.endswith(b"hello")
    assert site.behind.accepted == 2


async def test_what_was_answered_in_part_is_not_sent_again(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-")

    site = await start_forward(serve)
    assert (await ask_twice(site, get("/", CLOSE))).startswith(b"HTTP/1.1 502 ")
    assert site.behind.accepted == 1


@pytest.mark.parametrize(
    "second",
    [get("/", CLOSE, method="POST"), get("/", CLOSE, "Content-Length: 3", method="PUT") + b"abc"],
)
async def test_what_cannot_be_repeated_gets_no_connection_that_may_have_ended(
    start_forward: StartForward, second: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "_FRESH", -1.0)
    site = await start_forward(first_used_then_ended)
    assert (await ask_twice(site, second)).endswith(b"hello")
    assert site.behind.accepted == 2


async def test_what_cannot_be_repeated_is_not(start_forward: StartForward) -> None:
    site = await start_forward(first_used_then_ended)
    assert (await ask_twice(site, get("/", CLOSE, method="POST"))).startswith(b"HTTP/1.1 502 ")
    assert site.behind.accepted == 1


async def test_an_answer_behind_the_answer_is_nobodys(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        await peer.rest()

    site = await start_forward(serve)
    for _ in range(2):
        assert (await site.ask(get("/", CLOSE))).endswith(b"\r\n\r\nhello")
    assert site.behind.accepted == 2


async def test_an_idle_connection_on_which_something_comes_is_closed(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await told.wait()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        with suppress(ConnectionError):
            await peer.rest()

    told = asyncio.Event()
    site = await start_forward(serve)
    assert (await site.ask(get("/", CLOSE))).endswith(b"hello")
    told.set()
    await eventually(lambda: site.upstream.connections == 0)


async def test_an_idle_connection_is_not_used_any_more_when_its_end_has_come(
    start_forward: StartForward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the transport told of its own end, a POST was sent on it, and refused with 502."""

    def eof_received(connection: UpstreamConnection) -> None:
        told(connection)
        taken.append(site.upstream.take_idle(fresh=True))

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await idle.wait()

    told, taken, idle = UpstreamConnection.eof_received, list[UpstreamConnection | None](), asyncio.Event()
    monkeypatch.setattr(UpstreamConnection, "eof_received", eof_received)
    site = await start_forward(serve)
    assert (await site.ask(get("/", CLOSE))).endswith(b"hello")
    await eventually(lambda: len(site.upstream.idle) == 1)
    idle.set()
    await eventually(lambda: taken == [None])


async def test_the_system_looks_after_silent_connections(start_forward: StartForward) -> None:
    """A server behind whose machine vanished in its answer, or such a client, kept its place for good."""
    asked, ended = asyncio.Event(), asyncio.Event()
    site = await start_forward(waiting_for_the_end(asked, ended))
    await site.send(get("/"))
    await asked.wait()
    [behind] = site.upstream.silent
    [client] = site.listener._connections
    for connection in client.socket, behind.transport.get_extra_info("socket"):
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_few_idle_connections_are_kept(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        while await peer.head():
            await all_asked.wait()
            await peer.send(OK)

    all_asked = asyncio.Event()
    site = await start_forward(serve)
    clients = [await site.send(get("/")) for _ in range(40)]
    await eventually(lambda: site.behind.accepted == 40)
    all_asked.set()
    for client in clients:
        await client.head()
        await client.exactly(5)
    await eventually(lambda: site.upstream.connections == 32)


async def test_requests_over_the_limit_wait(start_forward: StartForward) -> None:
    async def serve(peer: Peer) -> None:
        while await peer.head():
            await go_on.wait()
            await peer.send(OK)

    go_on = asyncio.Event()
    site = await start_forward(serve, max_connections=1)
    clients = [await site.send(get("/", CLOSE)) for _ in range(3)]
    await eventually(lambda: site.behind.accepted == 1)
    go_on.set()
    for client in clients:
        assert (await client.rest()).endswith(b"hello")
    assert site.behind.accepted == 1


async def test_requests_do_not_wait_for_ever(start_forward: StartForward, log: Callable[[], str]) -> None:
    site = await start_forward(saying(b"", end=False), max_connections=1, connect_timeout=0.05)
    await site.send(get("/"))
    await eventually(lambda: site.behind.accepted == 1)
    assert (await site.ask(get("/", CLOSE))).startswith(b"HTTP/1.1 503 ")
    assert "websockets.http.max_connections" in log()


# Who asks


async def say_head(peer: Peer) -> None:
    head = await peer.head()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head))


async def test_a_stranger_cannot_say_who_it_is(start_forward: StartForward) -> None:
    site = await start_forward(say_head)
    names = ("X-Forwarded-For", "X_Forwarded_For", "Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto")
    answer = await site.ask(get("/", CLOSE, *(f"{name}: evil" for name in names)))
    assert b"evil" not in answer
    assert b"x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: app.test" in answer


async def test_a_trusted_proxy_can(start_forward: StartForward) -> None:
    site = await start_forward(say_head, subnets=["127.0.0.0/8"])
    fields = ("X-Forwarded-For: evil, 198.51.100.1", "X-Forwarded-Proto: https", CLOSE)
    answer = await site.ask(get("/", *fields))
    assert b"x-forwarded-for: 198.51.100.1, 127.0.0.1\r\nx-forwarded-proto: https" in answer
    assert b"evil" not in answer


async def test_a_request_without_a_host(start_forward: StartForward) -> None:
    site = await start_forward(say_head)
    assert b"\r\nhost: behind.test\r\n" in await site.ask(b"GET / HTTP/1.0\r\n\r\n")


async def test_a_unix_socket(start_forward: StartForward, tmp_path: Path) -> None:
    behind = Behind(answer_ok)
    await behind.start(str(tmp_path / "app.sock"))
    site = await start_forward(address=UnixAddress(str(tmp_path / "app.sock")))
    assert (await site.ask(get("/", CLOSE))).endswith(b"hello")
    site.upstream.close()  # the server behind waits for its connections to end
    await behind.stop()


# Circles


async def test_a_request_that_comes_back_ends(start_forward: StartForward, log: Callable[[], str]) -> None:
    """As when the server behind, or one behind that, has this one as its own."""

    async def send_back(peer: Peer) -> None:
        client = await site.send((await peer.head()).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await peer.send(await client.rest())

    site = await start_forward(send_back)
    status, _, body = parse(await site.ask(get("/page", CLOSE)))
    assert (status, body[:18]) == (508, b"508 Loop Detected\n")
    [line] = log().splitlines()
    assert "websockets.http.forward" in line and "/page" in line
    assert (site.count("answered"), site.count("failed")) == (1, 1)
