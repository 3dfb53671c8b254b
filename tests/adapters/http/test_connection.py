"""One connection, from its first byte to the answer, the hand-over or the cut."""

from __future__ import annotations

import asyncio
import gc
import re
import ssl
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from rr_py_ws.adapters.http.connection import HTTPConnection
from rr_py_ws.adapters.http.states import State
from rr_py_ws.wire.verdict import Verdict
from support.http_site import Echo, Site, Start, get, parse
from support.loops import both_loops
from support.waiting import eventually

pytestmark = both_loops


def living() -> int:
    """How many connections there are in memory."""
    return sum(type(thing) is HTTPConnection for thing in gc.get_objects())


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Without the garbage collector: what is in a cycle stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# Reading the head


async def test_a_head_may_arrive_byte_by_byte(site: Site) -> None:
    client = await site.connect()
    await client.send_slowly(get("/echo?token=1"))
    assert await client.exactly(6) == b"hello\n"


async def test_a_head_over_the_limit_is_a_431_and_one_at_the_limit_is_fine(start: Start) -> None:
    site = await start(limits={"max_head_size": 1000})
    fitting = get("/echo", "X: " + "x" * (1000 - len(get("/echo", "X: "))))
    assert len(fitting) == 1000
    client = await site.send(fitting)
    assert await client.exactly(6) == b"hello\n"
    for too_long in (get("/echo", "X: " + "x" * 1000), b"x" * 1000, b"x" * 100_000):
        status, headers, body = await site.ask(too_long)
        assert (status, body) == (431, b"request head over the limit of 1000 bytes")
        assert headers["connection"] == "close"
    assert site.sample("handshakes_refused", "head") == 3


async def test_heads_that_come_together_are_read_in_several_turns(site: Site) -> None:
    """A head full of cookies takes milliseconds: a hundred at once were a turn of a quarter of a second."""
    loop, turn, read = asyncio.get_running_loop(), 0, Counter[int]()

    def next_turn() -> None:
        nonlocal turn
        turn += 1
        loop.call_soon(next_turn)

    def echo(connection: HTTPConnection) -> None:
        read[turn] += 1
        Echo(site.listener, connection)

    site.listener.handlers["/echo"] = echo
    next_turn()
    head = get("/echo", "Cookie: " + "a=b; " * 2500)
    clients = [await site.connect() for _ in range(30)]
    await asyncio.gather(*(client.send(head + b"more") for client in clients))
    for client in clients:
        assert await client.exactly(10) == b"hello\nmore"
    assert sum(read.values()) == 30
    assert max(read.values()) <= 2


async def test_a_head_that_waits_for_its_turn_may_be_refused_or_lost(site: Site) -> None:
    clients = [await site.send(get("/held", "X: " + "x" * 15_000)) for _ in range(30)]
    await eventually(lambda: len(site.held) > 1)
    clients[-1].reset()
    site.listener.refuse()
    for client in clients[:-1]:
        assert parse(await client.rest())[0] == 503
    assert len(site.held) <= 30


async def test_a_head_with_too_many_headers_is_a_431(start: Start) -> None:
    """What is kept of a header of four bytes is fifty times as large."""
    site = await start(limits={"max_headers": 10})
    client = await site.send(get("/echo", *["a:"] * 9))  # and Host
    assert await client.exactly(6) == b"hello\n"
    status, _, body = await site.ask(get("/echo", *["a:"] * 10))
    assert (status, body) == (431, b"request head with more than 10 headers")


@pytest.mark.parametrize(
    ("garbage", "body"),
    [
        (b"\x16\x03\x01 TLS on the plain port \r\n\r\n", b"not an HTTP request: Invalid method encountered"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"several Host headers"),
        (get("/echo", "Content-Length: 5") + b"hello", b"a request with a body"),
        (b"\r\n\r\n", b"not one whole HTTP request"),
    ],
)
async def test_what_is_not_a_request_is_a_400(site: Site, garbage: bytes, body: bytes) -> None:
    assert (await site.ask(garbage))[::2] == (400, body)


async def test_an_incomplete_head_is_a_408(start: Start) -> None:
    site = await start(limits={"head_timeout": 0.2})
    assert (await site.ask(get()[:-1]))[::2] == (408, b"request head incomplete")
    assert site.sample("handshakes_refused", "head") == 1


async def test_a_silent_connection_is_cut_without_an_answer(start: Start) -> None:
    site = await start(limits={"head_timeout": 0.05})
    client = await site.connect()
    assert await client.rest() == b""
    assert site.sample("handshakes_refused", "head") == 0


async def test_the_time_limit_ends_with_the_head(start: Start) -> None:
    """A slow handler is no reason for a 408."""
    site = await start(limits={"head_timeout": 0.2})
    slow = await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    assert (await site.ask(b"GET"))[0] == 408  # the limit has passed for a connection that came later
    site.held[0].refuse("authorization", Verdict(403))
    assert parse(await slow.rest())[0] == 403


async def test_the_handler_sees_who_asks(start: Start) -> None:
    site = await start(subnets=["127.0.0.0/8"])
    await site.send(get("/held?a=%20", "X-Forwarded-For: 9.8.7.6"))
    await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 2)
    first, second = (connection.request for connection in site.held)
    assert (first.remote_addr, first.secure, first.head.query) == ("9.8.7.6", False, "a=%20")
    assert second.remote_addr == "127.0.0.1"


# Refusals


async def test_a_refusal_is_counted_by_reason_and_ends_the_connection(site: Site) -> None:
    client = await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    assert (site.held[0].state, site.held[0].closing) == (State.HANDLING, False)
    site.held[0].refuse("origin", Verdict(405, (("X-A", "b"),), b"no"))
    status, headers, body = parse(await client.rest())
    assert (status, headers["x-a"], headers["connection"], body) == (405, "b", "close", b"no")
    assert site.sample("handshakes_refused", "origin") == 1
    assert (site.held[0].state, site.held[0].closing) == (State.CLOSING, True)
    client.close()
    await eventually(lambda: site.held[0].state is State.CLOSED)
    assert site.lost == []  # the handler has answered


async def test_the_answer_to_head_has_the_length_and_not_the_body(site: Site) -> None:
    status, headers, body = await site.ask(get("/other", method="HEAD"))
    assert (status, headers["content-length"], body) == (404, "42", b"")


async def test_a_second_request_in_the_packet_of_a_refused_one_is_not_answered(site: Site) -> None:
    client = await site.send(get("/other") + get("/echo"))
    assert (await client.rest()).count(b"HTTP/1.1") == 1


async def test_a_refusal_reaches_a_client_that_is_still_sending(site: Site) -> None:
    """No reset: it would make the client's kernel throw the answer away. The upload is read and dropped."""
    client = await site.send(get("/echo", "Content-Length: 5000000", method="POST"), small_buffers=True)
    await client.send(b"x" * 5_000_000)
    assert parse(await client.rest())[0] == 400


async def test_an_upload_that_has_paused_reading_is_read_after_the_refusal(site: Site) -> None:
    client = await site.send(get("/held"), small_buffers=True)
    await eventually(lambda: len(site.held) == 1)
    left = await client.send_until_stalled(b"x" * 8_000_000)
    assert left
    site.held[0].refuse("origin", Verdict(405))
    await client.send(left)
    assert parse(await client.rest())[0] == 405


async def test_a_refused_client_that_does_not_close_is_cut(start: Start) -> None:
    site = await start(close_timeout=0.05)
    client = await site.send(get("/other"))
    await client.rest()
    await eventually(lambda: site.sockets() == 0)


async def test_a_refused_client_that_does_not_read_is_cut(start: Start) -> None:
    site = await start(close_timeout=0.05)
    await site.send(get("/held"), small_buffers=True)
    await eventually(lambda: len(site.held) == 1)
    site.held[0].refuse("authorization", Verdict(403, (), b"x" * 20_000_000))
    await eventually(lambda: site.sockets() == 0)


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_a_client_that_has_just_gone_away_is_refused_without_a_fuss(site: Site, leave: str) -> None:
    """The refusal is written to a socket that is closed on the other side, which answers with a reset."""
    client = await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    getattr(client, leave)()
    site.held[0].refuse("authorization", Verdict(403))
    await eventually(lambda: site.sockets() == 0)
    assert site.lost == []


# Handlers that answer later


@pytest.mark.parametrize("leave", ["close", "reset", "end_writing"])
async def test_a_handler_learns_once_that_its_client_went_away(site: Site, leave: str) -> None:
    client = await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    getattr(client, leave)()
    await eventually(lambda: site.lost == site.held)
    [connection] = site.held
    assert connection.closing
    connection.refuse("authorization", Verdict(403))  # too late: it changes nothing
    connection.connection_lost(None)
    assert site.lost == [connection]
    assert site.sample("handshakes_refused", "authorization") == 0
    assert site.sample("places_taken") == 0


async def test_what_comes_before_the_answer_is_kept_in_order(site: Site) -> None:
    """4 MB before the handler has answered: the server stops reading, and reads the rest later."""
    client = await site.send(get("/held") + b"first ", small_buffers=True)
    await eventually(lambda: len(site.held) == 1)
    blob = b"".join(b"%07d " % number for number in range(500_000))
    left = await client.send_until_stalled(blob)
    assert len(left) > 2_000_000
    Echo(site.listener, site.held[0])

    async def send_the_rest() -> None:
        await client.send(left)

    sending = asyncio.create_task(send_the_rest())
    assert await client.exactly(12 + len(blob)) == b"hello\nfirst " + blob
    await sending


async def test_a_head_and_what_follows_it_may_come_in_one_packet(site: Site) -> None:
    client = await site.send(get() + b"ping")
    assert await client.exactly(10) == b"hello\nping"
    await client.send(b"pong")
    assert await client.exactly(4) == b"pong"


async def test_a_connection_that_was_handed_over_is_freed_at_once(site: Site, no_collector: None) -> None:
    """Connection and handler refer to each other; thousands of them would wait for the garbage collector."""
    client = await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    assert living() == 1
    Echo(site.listener, site.held.pop())
    assert len(site.listener) == 0
    assert await client.exactly(6) == b"hello\n"
    await eventually(lambda: living() == 0)


async def test_a_connection_that_was_lost_is_freed_at_once(site: Site, no_collector: None) -> None:
    client = await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    client.reset()
    await eventually(lambda: len(site.lost) == 1)
    site.held.clear()
    site.lost.clear()
    await eventually(lambda: living() == 0)


# TLS


async def test_tls_requests_are_secure_and_their_refusals_arrive_whole(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    site = await start(tls=server_tls, limits={"max_refusal_size": 100_000})
    client = await site.send(get("/held"), tls=client_tls)
    await eventually(lambda: len(site.held) == 1)
    assert site.held[0].request.secure
    site.held[0].refuse("authorization", Verdict(403, (), b"x" * 100_000))
    answer = b""
    while not answer.endswith(b"x" * 100_000):
        answer += await client.receive()
    assert parse(answer)[0] == 403


async def test_tls_what_comes_before_the_answer_is_kept_in_order(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    site = await start(tls=server_tls, limits={"max_head_size": 1000})
    client = await site.send(get("/held") + b"first ", tls=client_tls)
    await eventually(lambda: len(site.held) == 1)
    await client.send(b"x" * 2000)
    await client.send(b"last")
    Echo(site.listener, site.held[0])
    assert await client.exactly(12 + 2000 + 4) == b"hello\nfirst " + b"x" * 2000 + b"last"


async def test_tls_a_failed_tls_handshake_ends_quietly(start: Start, server_tls: ssl.SSLContext) -> None:
    site = await start(tls=server_tls)
    plain = await site.send(get())
    await plain.ended()
    gone = await site.send(b"\x16\x03\x01")
    gone.reset()
    await eventually(lambda: site.sample("handshakes") == 0)
    assert site.sample("places_taken") == 0


@both_loops
async def test_tls_a_failed_handshake_leaves_a_trace(
    start: Start, server_tls: ssl.SSLContext, log: Callable[[], str]
) -> None:
    """Point 12: clients that could not get in over TLS were nowhere to be seen."""
    site = await start(tls=server_tls)
    plain = await site.send(get())
    await plain.ended()
    await eventually(lambda: site.sample("handshakes_refused", "tls") == 1)
    text = r'TLS handshake failed\t{"reason": "HTTP_REQUEST", "remote": "127\.0\.0\.1:[0-9]+"}'
    assert re.search(text, log())
    alert = await site.send(b"\x15\x03\x03\x00\x02\x02\x30")  # the peer does not know the authority
    await alert.ended()
    await eventually(lambda: site.sample("handshakes_refused", "tls") == 2)
    gone = await site.send(b"")  # as load balancers look whether a port is open
    gone.close()
    await eventually(lambda: site.sample("handshakes") == 0)
    assert site.sample("handshakes_refused", "tls") == 2


async def test_a_wrong_path_and_a_bad_head_leave_a_trace(site: Site, log: Callable[[], str]) -> None:
    """Points 12 and 16."""
    await site.ask(get("/wp-login.php?a"))
    assert re.search(r'"path": "/wp-login.php", "remote": "127\.0\.0\.1:[0-9]+"', log())
    await site.ask(b"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n")
    text = r'bad handshake\t{"reason": "malformed Host header", "remote": "127\.0\.0\.1:[0-9]+"}'
    assert re.search(text, log())


async def test_tls_a_slow_tls_handshake_is_cut_in_time(start: Start, server_tls: ssl.SSLContext) -> None:
    site = await start(tls=server_tls, limits={"head_timeout": 0.05})
    silent = await site.send(b"\x16\x03\x01")
    await silent.ended()
