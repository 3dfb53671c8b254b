"""Requests that an ASGI application answers, over real sockets; what applications see and clients get."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from support.http_site import Site, Start, get, parse
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import Client

pytestmark = both_loops


class Shop:
    """An application; each request is for one of its methods.

    Attributes:
        scopes: of the requests, in order.
        gate: keeps `/wait` until a test opens it.
        cancelled: how many requests were.
    """

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.gate = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        try:
            await getattr(self, scope["path"][1:])(receive, send)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _answer(self, send: Any, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length, *headers]})
        await send({"type": "http.response.body", "body": body})

    async def hello(self, receive: Any, send: Any) -> None:
        await self._answer(send, b"hello")

    async def mirror(self, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await self._answer(send, body)

    async def wait(self, receive: Any, send: Any) -> None:
        await self.gate.wait()
        await self._answer(send, b"waited")

    async def fails(self, receive: Any, send: Any) -> None:
        raise RuntimeError("a secret")

    async def breaks(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("a secret")

    async def large(self, receive: Any, send: Any) -> None:
        await self._answer(send, bytes(6_000_000))

    async def cut(self, receive: Any, send: Any) -> None:
        await self._answer(send, b"cut")
        send.__self__.cut()

    async def endless(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})


@pytest.fixture
async def shop(site: Site) -> Shop:
    site.serve(shop := Shop())
    return shop


async def ask(client: Client, data: bytes) -> bytes:
    """Send a request; return the body of the answer, after which the connection is still open."""
    await client.send(data)
    return await answer(client)


async def answer(client: Client) -> bytes:
    _, headers, _ = parse(await client.head())
    return await client.exactly(int(headers["content-length"]))


def post(target: str, body: bytes, *headers: str) -> bytes:
    return get(target, f"Content-Length: {len(body)}", *headers, method="POST") + body


def chunked(target: str, *chunks: bytes) -> bytes:
    parts = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b"")]
    return get(target, "Transfer-Encoding: chunked", method="POST") + b"".join(parts)


async def test_a_connection_lost_in_the_turn_in_which_its_answer_is_done(site: Site, shop: Shop) -> None:
    """The loop runs `connection_lost` between the end of the task and what the task tells of its end."""
    client = await site.connect()
    await client.send(get("/cut"))
    await client.rest()
    await eventually(lambda: len(site.listener) == 0)
    assert site.listener.pages is not None and site.listener.pages.running == 0


async def test_requests_follow_one_another(site: Site, shop: Shop) -> None:
    client = await site.connect()
    for _ in range(3):
        assert await ask(client, get("/hello")) == b"hello"
    assert await ask(client, post("/mirror", b"one")) == b"one"
    assert await ask(client, chunked("/mirror", b"two ", b"three")) == b"two three"
    assert (site.sample("places_taken"), len(site.listener)) == (1, 1)


async def test_what_an_application_is_told(site: Site, shop: Shop) -> None:
    client = await site.connect()
    await ask(client, get("/hel%6Co?a=%20b", "X-Tag: 1", "X-Tag: 2"))
    [scope] = shop.scopes
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("GET", "/hello", b"/hel%6Co")
    assert (scope["query_string"], scope["scheme"], scope["http_version"]) == (b"a=%20b", "http", "1.1")
    assert scope["headers"] == [(b"host", b"app.test"), (b"x-tag", b"1"), (b"x-tag", b"2")]
    assert scope["client"][0] == "127.0.0.1"


async def test_the_host_of_an_absolute_target_counts(site: Site, shop: Shop) -> None:
    await ask(await site.connect(), get("http://other.test/hello"))
    assert shop.scopes[0]["headers"] == [(b"host", b"other.test")]


async def test_a_later_request_is_for_a_handler(site: Site, shop: Shop) -> None:
    client = await site.connect()
    assert await ask(client, get("/hello")) == b"hello"
    await client.send(get("/echo") + b"rest")
    assert await client.exactly(10) == b"hello\nrest"
    assert site.sample("places_taken") == 1 and len(site.listener) == 0


async def test_requests_that_come_together_wait_for_one_another(site: Site, shop: Shop) -> None:
    client = await site.send(get("/wait") + chunked("/mirror", b"a" * 70_000) + get("/hello") + get("/echo"))
    await eventually(lambda: len(shop.scopes) == 1)
    shop.gate.set()
    assert await answer(client) == b"waited"
    assert await answer(client) == b"a" * 70_000
    assert await answer(client) == b"hello"
    assert await client.exactly(6) == b"hello\n"


async def test_what_is_sent_ahead_is_not_read(site: Site, shop: Shop) -> None:
    """A client may send requests without end while the first is being answered."""
    client = await site.send(get("/wait"), small_buffers=True)
    left = await client.send_until_stalled(get("/hello") * 100_000)
    assert left
    await eventually(lambda: len(shop.scopes) == 1)
    client.reset()


async def test_an_application_takes_a_body_as_it_likes(site: Site, shop: Shop) -> None:
    """One that does not read holds up the client, not the server's memory."""
    client = await site.send(get("/wait", "Content-Length: 100000000", method="POST"), small_buffers=True)
    assert await client.send_until_stalled(bytes(16 << 20))
    shop.gate.set()
    assert b"connection: close" in await client.head()
    assert await client.exactly(6) == b"waited"
    client.reset()


@pytest.mark.parametrize("size", [1, 70_000])
async def test_a_body_byte_by_byte(site: Site, shop: Shop, size: int) -> None:
    client = await site.connect()
    assert await ask(client, chunked("/mirror", *[b"x"] * size)) == b"x" * size


async def test_a_client_that_waits_for_100(site: Site, shop: Shop) -> None:
    client = await site.send(get("/mirror", "Content-Length: 3", "Expect: 100-continue", method="POST"))
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert await ask(client, b"abc") == b"abc"


@pytest.mark.parametrize("headers", [["Connection: close"], ["Connection: x, Close"]])
async def test_a_client_that_wants_the_end(site: Site, shop: Shop, headers: list[str]) -> None:
    status, found, body = await site.ask(get("/hello", *headers))
    assert (status, found["connection"], body) == (200, "close", b"hello")


async def test_an_old_client(site: Site, shop: Shop) -> None:
    client = await site.send(b"GET /hello HTTP/1.0\r\n\r\n")
    assert (await client.rest()).endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\n\r\n", 400),
        (get("/hello", "Content-Length: 1", "Transfer-Encoding: chunked"), 400),
        (get("/hello", "Transfer-Encoding: gzip, chunked"), 501),
        (get("/echo", "Content-Length: 1"), 400),
        (get("/hello", "X: " + "a" * 20_000), 431),
        (get("/hello", *["X: a"] * 200), 431),
    ],
)
async def test_what_is_refused_is_refused_of_every_request(
    site: Site, shop: Shop, head: bytes, status: int
) -> None:
    assert (await site.ask(head))[0] == status
    client = await site.connect()
    assert await ask(client, get("/hello")) == b"hello"
    await client.send(head)
    assert parse(await client.rest())[0] == status
    assert len(shop.scopes) == 1


async def test_a_body_that_breaks_off_in_its_chunks(site: Site, shop: Shop) -> None:
    client = await site.send(get("/mirror", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n")
    await eventually(lambda: len(shop.scopes) == 1)
    await client.send(b"3\nabc\r\n")
    assert parse(await client.rest())[0] == 400
    await eventually(lambda: shop.cancelled == 1)


async def test_an_application_that_fails(site: Site, shop: Shop) -> None:
    status, _, body = await site.ask(get("/fails"))
    assert (status, body) == (500, b"Internal Server Error")


async def test_an_application_that_fails_in_the_middle(site: Site, shop: Shop) -> None:
    client = await site.send(get("/breaks"))
    await client.head()
    assert await client.exactly(9) == b"4\r\nhalf\r\n"
    assert await client.rest() == b""  # and not the chunk that ends an answer
    await eventually(lambda: site.sample("places_taken") == 0)
    assert site.sample("page_requests_abandoned") == 0  # the client has not gone by itself


async def test_a_client_that_goes_away_cancels_its_request(site: Site, shop: Shop) -> None:
    client = await site.send(get("/wait"))
    await eventually(lambda: len(shop.scopes) == 1)
    client.close()
    await eventually(lambda: shop.cancelled == 1)
    assert site.sample("page_requests_abandoned") == 1
    await eventually(lambda: site.sample("places_taken") == 0)


async def test_a_client_that_does_not_read_holds_its_application_up(start: Start) -> None:
    site = await start(limits={"page_timeout": 0.2})
    site.serve(shop := Shop())
    client = await site.send(get("/endless"), small_buffers=True)
    await client.exactly(100_000)
    # In the end it is cut.
    await eventually(lambda: shop.cancelled == 1)
    client.close()


async def test_a_client_that_does_not_take_the_end_of_an_answer_is_cut(start: Start) -> None:
    """The application is done; the connection is not, before the answer is with the kernel."""
    site = await start(limits={"page_timeout": 0.2})
    site.serve(shop := Shop())
    client = await site.send(get("/large") + get("/echo"), small_buffers=True)
    await eventually(lambda: site.sample("page_requests") == 1 == 1 - site.sample("page_requests_running"))
    assert site.sample("places_taken") == 1
    await eventually(lambda: site.sample("places_taken") == 0)
    assert shop.cancelled == 0
    client.close()


async def test_a_handler_has_an_empty_transport(site: Site, shop: Shop) -> None:
    """A WebSocket is written past it."""
    client = await site.send(get("/large") + get("/echo"), small_buffers=True)
    assert await answer(client) == bytes(6_000_000)
    assert await client.exactly(6) == b"hello\n"


async def test_a_client_that_does_not_send_its_body_is_cut(start: Start) -> None:
    site = await start(limits={"page_timeout": 0.2})
    site.serve(shop := Shop())
    client = await site.send(get("/mirror", "Content-Length: 5", method="POST") + b"abc")
    await eventually(lambda: shop.cancelled == 1)
    client.close()


async def test_a_connection_without_another_request_is_closed(start: Start) -> None:
    site = await start(limits={"keep_alive": 0.2})
    site.serve(Shop())
    client = await site.connect()
    assert await ask(client, get("/hello")) == b"hello"
    assert await client.rest() == b""


async def test_the_head_of_a_later_request_has_to_come_in_time(start: Start) -> None:
    site = await start(limits={"head_timeout": 0.3})
    site.serve(Shop())
    client = await site.connect()
    assert await ask(client, get("/hello")) == b"hello"
    await client.send(get("/hello")[:10])
    assert parse(await client.rest())[0] == 408


async def test_an_idle_connection_makes_room_for_a_new_one(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rr_py_ws.adapters.http.limiter._MIN_IDLE", 0.0)
    site = await start(max_connections=1)
    site.serve(Shop())
    idle = await site.connect()
    assert await ask(idle, get("/hello")) == b"hello"
    assert (await site.ask(get("/hello", "Connection: close")))[0] == 200
    assert await idle.rest() == b""


async def test_the_clients_of_a_proxy_are_counted_request_by_request(start: Start) -> None:
    site = await start(limits={"max_connections_per_address": 1}, subnets=["127.0.0.1/32"])
    site.serve(Shop())
    proxy = await site.connect()
    for number in range(3):
        assert await ask(proxy, get("/hello", f"X-Forwarded-For: 10.0.0.{number}")) == b"hello"
    held = await site.send(get("/held", "X-Forwarded-For: 10.0.0.9"))
    await eventually(lambda: len(site.held) == 1)
    await proxy.send(get("/hello", "X-Forwarded-For: 10.0.0.9"))
    assert parse(await proxy.rest())[0] == 429
    held.close()


async def test_a_stop_closes_idle_connections_and_lets_requests_finish(site: Site, shop: Shop) -> None:
    idle = await site.connect()
    assert await ask(idle, get("/hello")) == b"hello"
    busy, begun = await site.send(get("/wait")), await site.send(get("/hello")[:10])
    await eventually(lambda: len(shop.scopes) == 2)
    stopping = asyncio.create_task(site.listener.stop(20.0))
    assert await idle.rest() == b""
    assert parse(await begun.rest())[0] == 503
    shop.gate.set()
    status, headers, body = parse(await busy.rest())
    assert (status, headers["connection"], body) == (200, "close", b"waited")
    for client in (idle, busy, begun):
        client.close()
    assert await stopping == 0


async def test_a_stop_cuts_what_does_not_finish(site: Site, shop: Shop) -> None:
    client = await site.send(get("/wait"))
    await eventually(lambda: len(shop.scopes) == 1)
    assert await site.listener.stop(0.1) == 1
    assert shop.cancelled == 1
    client.close()


async def test_over_tls(start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    site = await start(tls=server_tls)
    site.serve(shop := Shop())
    client = await site.connect(tls=client_tls)
    assert await ask(client, post("/mirror", b"x" * 300_000)) == b"x" * 300_000
    assert await ask(client, get("/hello")) == b"hello"
    assert shop.scopes[0]["scheme"] == "https"
    await client.send(get("/echo"))
    assert await client.exactly(6) == b"hello\n"
