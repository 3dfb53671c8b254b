"""From the first byte of a TCP connection to the 101, or to the refusal."""

from __future__ import annotations

from collections.abc import Callable
from email import message_from_bytes
from email.message import Message

import pytest

from rr_py_ws.wire.verdict import ALLOWED, Verdict
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import ACCEPT, KEY, TEXT, Gate, command, frame, request, text
from support.ws_site import Site, Start, asked_of_php

SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n\r\n"
)


def parse(answer: bytes) -> tuple[int, Message, bytes]:
    """Status, headers and body of a response."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    assert line.startswith(b"HTTP/1.1 ")
    return int(line.split()[1]), message_from_bytes(fields), body


# Accepted


async def test_the_101_has_exactly_the_three_headers(site: Site) -> None:
    client = await site.connect()
    await client.send(request() + frame(8))
    assert await client.rest() == SWITCHING + b"\x88\x00"


async def test_a_request_may_arrive_byte_by_byte(site: Site) -> None:
    client = await site.connect()
    await client.send_slowly(request("/ws?token=1"))
    assert await client.exactly(len(SWITCHING)) == SWITCHING


@pytest.mark.parametrize(
    "target", ["/ws?token=%2F/x?y", "/ws?", "/%77s", "http://app.test/ws?x", "HTTPS://a/ws"]
)
async def test_only_the_decoded_path_counts(site: Site, target: str) -> None:
    assert (await site.ask(request(target) + frame(8))).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "target", ["/", "/ws/", "/ws/x", "/WS", "/wsx", "//ws", "/w%2Fs", "/ws%3Fa", "/x?/ws", "http://a", "*"]
)
async def test_every_other_path_is_not_found(site: Site, target: str) -> None:
    status, headers, body = parse(await site.ask(request(target)))
    assert (status, headers["connection"]) == (404, "close")
    assert body.endswith(b"; WebSockets are at /ws\n")


async def test_the_path_is_a_setting(start: Start) -> None:
    site = await start(path="/app/socket")
    assert parse(await site.ask(request("/ws")))[0] == 404
    assert (await site.ask(request("/app/socket") + frame(8))).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "header",
    [
        "Upgrade: WebSocket",
        "Connection: keep-alive, Upgrade",
        "Connection: upgrade",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Content-Length: 0",
    ],
)
async def test_what_clients_and_proxies_write_differently_is_accepted(site: Site, header: str) -> None:
    assert (await site.ask(request("/ws", header) + frame(8))).startswith(SWITCHING)


@pytest.mark.parametrize(
    ("offer", "agreed"),
    [
        ("rr.json", b"rr.json"),
        ("chat, rr.binary, rr.json", b"rr.binary"),
        ("chat", None),
        ("RR.JSON", None),
        ("", None),
    ],
)
async def test_the_first_known_subprotocol_is_agreed_on(site: Site, offer: str, agreed: bytes | None) -> None:
    answer = await site.ask(request("/ws", f"Sec-WebSocket-Protocol: {offer}") + frame(8))
    extra = b"Sec-WebSocket-Protocol: %b\r\n" % agreed if agreed else b""
    assert answer == SWITCHING[:-2] + extra + b"\r\n\x88\x00"


async def test_d13_what_follows_the_handshake_in_the_same_packet_is_read(site: Site) -> None:
    client = await site.connect()
    await client.send(request() + command("join", ["a"]) + command("join", ["b"])[:7])
    await client.head()
    assert await client.json() == {"topic": "@join", "payload": ["a"]}
    await client.send(command("join", ["b"])[7:])
    assert await client.json() == {"topic": "@join", "payload": ["b"]}


@both_loops
async def test_d13_what_comes_while_php_is_asked_is_read_after_the_answer(start: Start) -> None:
    gate = Gate(connect=None)
    site = await start(gate)
    client = await site.connect()
    await client.send(request() + command("join", ["a"]))
    await gate.asked(1)
    await client.send(command("join", ["b"]))
    gate.waiting[0].set_result(ALLOWED)
    assert await client.head() == SWITCHING
    assert await client.json() == {"topic": "@join", "payload": ["a"]}
    assert await client.json() == {"topic": "@join", "payload": ["b"]}


@both_loops
async def test_more_than_that_waits_outside_and_is_not_lost(start: Start) -> None:
    """4 MB of commands before PHP has answered: the server stops reading, and reads the rest later."""
    gate = Gate(connect=None)
    site = await start(gate, commands_per_second=0)
    client = await site.connect(small_buffers=True)
    await client.send(request())
    await gate.asked(1)
    filler = frame(TEXT, b'{"command":"headers"}' + b" " * 60_000)
    left = await client.send_until_stalled(filler * 70 + command("join", ["last"]))
    assert len(left) > 2_000_000
    gate.waiting[0].set_result(ALLOWED)
    await client.send(left)
    assert await client.head() == SWITCHING
    assert await client.json() == {"topic": "@join", "payload": ["last"]}


# Order of checks


async def test_the_path_is_checked_before_the_origin(start: Start) -> None:
    site = await start(Gate(), allowed_origin=["https://app.test"])
    assert parse(await site.ask(request("/other", "Origin: https://evil.test")))[0] == 404


async def test_d1_a_foreign_origin_is_refused_before_php_is_asked_and_harms_nobody(start: Start) -> None:
    gate = Gate()
    site = await start(gate, allowed_origin=["https://app.test", "https://*.app.test"])
    for refused in ([], ["Origin: https://evil.test"], ["Origin: https://app.test.evil"]):
        status, headers, body = parse(await site.ask(request("/ws", *refused)))
        assert (status, body, headers["content-length"], headers["content-type"]) == (405, b"", "0", None)
    assert gate.requests == []
    for allowed in ("https://app.test", "HTTPS://WWW.APP.TEST"):
        await site.open(f"Origin: {allowed}")
    assert len(gate.requests) == 2


async def test_php_is_asked_before_the_upgrade_headers_are_checked(start: Start) -> None:
    """A plain GET gets PHP's refusal; when PHP agrees, the refusal of the missing upgrade."""
    gate = Gate(connect=Verdict(403, (), b"log in first"))
    site = await start(gate)
    plain = request("/ws", "-upgrade", "-connection", "-sec-websocket-key", "-sec-websocket-version")
    assert parse(await site.ask(plain))[::2] == (403, b"log in first")
    gate.on_connect = ALLOWED
    assert parse(await site.ask(plain))[::2] == (400, b'handshake error: bad "Upgrade" header')
    assert len(gate.requests) == 2


@pytest.mark.parametrize(
    ("asked", "status", "problem"),
    [
        (request(method="POST"), 405, "bad HTTP request method"),
        (request(version="1.0"), 505, "bad HTTP protocol version"),
        (request("/ws", "-host"), 400, 'bad "Host" header'),
        (request("/ws", "-upgrade"), 400, 'bad "Upgrade" header'),
        (request("/ws", "Upgrade: h2c"), 400, 'bad "Upgrade" header'),
        (request("/ws", "Upgrade: websocket/13, h2c"), 400, 'bad "Upgrade" header'),
        (request("/ws", "-connection"), 400, 'bad "Connection" header'),
        (request("/ws", "Connection: keep-alive"), 400, 'bad "Connection" header'),
        (request("/ws", "-sec-websocket-key"), 400, 'bad "Sec-WebSocket-Key" header'),
        (request("/ws", "Sec-WebSocket-Key: short"), 400, 'bad "Sec-WebSocket-Key" header'),
        (request("/ws", f"Sec-WebSocket-Key: {KEY}="), 400, 'bad "Sec-WebSocket-Key" header'),
        (request("/ws", "-sec-websocket-version"), 400, 'bad "Sec-WebSocket-Version" header'),
        (request("/ws", "Sec-WebSocket-Version: 8"), 426, 'bad "Sec-WebSocket-Version" header'),
        (request("/ws", "Sec-WebSocket-Version: 8", "Upgrade: h2c"), 400, 'bad "Upgrade" header'),
        (request("/ws", "-host", method="PUT", version="1.0"), 405, "bad HTTP request method"),
    ],
)
async def test_upgrade_checks_refuse_in_order_with_roadrunners_texts(
    site: Site, asked: bytes, status: int, problem: str
) -> None:
    answered, headers, body = parse(await site.ask(asked))
    assert (answered, body.decode()) == (status, f"handshake error: {problem}")
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["content-length"] == str(len(body))
    assert headers["sec-websocket-version"] == ("13" if status == 426 else None)


# What PHP is asked, and what it answers


async def test_php_sees_the_request_as_it_came(start: Start) -> None:
    gate = Gate()
    site = await start(gate, trusted_subnets=["127.0.0.0/8"])
    await site.ask(
        request("/%77s?a=%20b&c", "Cookie: id=5%2F", "x-forwarded-for: 1.1.1.1, 9.8.7.6, 127.0.0.9")
        + frame(8)
    )
    asked = await asked_of_php(gate.requests[0])
    assert asked["uri"] == "http://app.test/%77s?a=%20b&c"
    assert (asked["remoteAddr"], asked["protocol"], asked["method"]) == ("9.8.7.6", "HTTP/1.1", "GET")
    assert (asked["rawQuery"], asked["cookies"]) == ("a=%20b&c", {"id": "5/"})
    assert asked["headers"]["Sec-Websocket-Key"] == [KEY]
    assert "Host" not in asked["headers"]


async def test_without_trusted_subnets_the_peers_address_counts(start: Start) -> None:
    gate = Gate()
    site = await start(gate)
    await site.ask(request("/ws", "X-Forwarded-For: 9.8.7.6") + frame(8))
    assert (await asked_of_php(gate.requests[0]))["remoteAddr"] == "127.0.0.1"


@pytest.mark.parametrize("later", [False, True])
async def test_a_refusal_of_php_is_passed_on_whole(start: Start, later: bool) -> None:
    refusal = Verdict(
        403, (("X-Reason", "one"), ("X-Reason", "two"), ("Content-Type", "a/b")), b"<h1>no</h1>"
    )
    gate = Gate(connect=None if later else refusal)
    site = await start(gate)
    client = await site.connect()
    await client.send(request())
    if later:
        await gate.asked(1)
        gate.waiting[0].set_result(refusal)
    status, headers, body = parse(await client.rest())
    assert (status, body) == (403, b"<h1>no</h1>")
    assert headers.get_all("x-reason") == ["one", "two"]
    assert headers.get_all("content-type") == ["a/b"]
    assert headers.get_all("content-length") == ["11"]
    assert headers.get_all("connection") == ["close"]


@pytest.mark.parametrize(
    ("body", "kind"), [(b"sorry", "text/plain; charset=utf-8"), (b"<html>", "text/html; charset=utf-8")]
)
async def test_a_refusal_without_content_type_gets_gos_guess(start: Start, body: bytes, kind: str) -> None:
    site = await start(Gate(connect=Verdict(401, (), body)))
    assert parse(await site.ask(request()))[1]["content-type"] == kind


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_body_sends_none(start: Start, status: int) -> None:
    site = await start(Gate(connect=Verdict(status, (), b"body")))
    answered, headers, body = parse(await site.ask(request()))
    assert (answered, body, headers["content-length"]) == (status, b"", None)


@pytest.mark.parametrize("status", [100, 101, 199])
async def test_php_cannot_answer_with_a_status_that_ends_nothing(start: Start, status: int) -> None:
    """A 101 of PHP must not look like an upgrade: nobody would serve the socket."""
    site = await start(Gate(connect=Verdict(status)))
    assert parse(await site.ask(request()))[0] == 400


@pytest.mark.parametrize("status", [201, 202, 299])
async def test_only_exactly_200_allows(start: Start, status: int) -> None:
    site = await start(Gate(connect=Verdict(status)))
    assert parse(await site.ask(request()))[0] == status


async def test_the_answer_to_head_has_the_length_and_not_the_body(start: Start) -> None:
    site = await start(Gate(connect=Verdict(403, (), b"forbidden")))
    status, headers, body = parse(await site.ask(request(method="HEAD")))
    assert (status, headers["content-length"], body) == (403, "9", b"")


@pytest.mark.parametrize("later", [False, True])
async def test_an_authorizer_that_raises_refuses_with_400(
    start: Start, later: bool, log: Callable[[], str]
) -> None:
    gate = Gate(connect=None if later else RuntimeError("a bug"))
    site = await start(gate)
    client = await site.connect()
    await client.send(request())
    if later:
        await gate.asked(1)
        gate.waiting[0].set_exception(RuntimeError("a bug"))
    status, _, body = parse(await client.rest())
    assert (status, body) == (400, b"")
    assert "RuntimeError: a bug" in log()


@both_loops
async def test_a_client_that_goes_away_while_php_is_asked_ends_the_question(start: Start) -> None:
    gate = Gate(connect=None)
    site = await start(gate)
    for leave in ("close", "reset"):
        client = await site.connect()
        await client.send(request())
        await gate.asked(1)
        getattr(client, leave)()
        await eventually(gate.waiting.pop().cancelled)


async def test_a_client_that_has_just_gone_away_is_refused_without_a_fuss(start: Start) -> None:
    """The refusal is written to a socket that is closed on the other side, which answers with a reset."""
    gate = Gate(connect=None)
    site = await start(gate)
    for leave in ("close", "reset"):
        client = await site.connect()
        await client.send(request())
        await gate.asked(1)
        getattr(client, leave)()
        gate.waiting.pop().set_result(Verdict(403))
        await eventually(lambda: site.sockets() == 0)


# Requests that are none


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS on the plain port \r\n\r\n",
        b"HELO there\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\0" * 50 + b"\r\n\r\n",
        b"\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_a_400(site: Site, garbage: bytes) -> None:
    assert parse(await site.ask(garbage))[0] == 400


@pytest.mark.parametrize(
    "body", [("Content-Length: 5", b"hello"), ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")]
)
async def test_a_request_with_a_body_is_refused_before_php_is_asked(
    start: Start, body: tuple[str, bytes]
) -> None:
    gate = Gate()
    site = await start(gate)
    answer = await site.ask(request("/ws", body[0]) + body[1])
    assert parse(answer)[::2] == (400, b"a request with a body")
    assert gate.requests == []


async def test_a_head_over_the_limit_is_a_431_and_one_at_the_limit_is_fine(start: Start) -> None:
    site = await start(max_head_size=1000)
    fitting = request("/ws", "X: ")
    fitting = request("/ws", "X: " + "x" * (1000 - len(fitting)))
    assert len(fitting) == 1000
    assert (await site.ask(fitting + frame(8))).startswith(SWITCHING)
    for too_long in (request("/ws", "X: " + "x" * 1000), b"x" * 1000, b"x" * 100_000):
        status, headers, body = parse(await site.ask(too_long))
        assert (status, body) == (431, b"request head over the limit of 1000 bytes")
        assert headers["connection"] == "close"


async def test_an_incomplete_head_is_a_408(start: Start) -> None:
    site = await start(head_timeout=0.3)
    assert parse(await site.ask(request()[:-1]))[0] == 408


async def test_a_silent_connection_is_closed_without_a_word(start: Start) -> None:
    site = await start(head_timeout=0.05)
    assert await site.ask(b"") == b""


@both_loops
async def test_the_time_limit_ends_with_the_head(start: Start) -> None:
    """A slow authorizer and a long life are no reasons for a 408."""
    gate = Gate(connect=None)
    site = await start(gate, head_timeout=0.3)
    slow = await site.connect()
    await slow.send(request())
    await gate.asked(1)
    assert await site.ask(b"GET") != b""  # the limit has passed for a connection that came later
    gate.waiting[0].set_result(ALLOWED)
    assert await slow.head() == SWITCHING


async def test_a_second_request_in_the_packet_of_a_refused_one_is_not_answered(site: Site) -> None:
    answer = await site.ask(request("/other") + request("/ws"))
    assert answer.count(b"HTTP/1.1") == 1


# How a refused connection ends


async def test_d12_a_refused_socket_is_closed(site: Site) -> None:
    client = await site.connect()
    await client.send(request("/ws", "-upgrade"))
    assert parse(await client.rest())[0] == 400
    client.close()


@both_loops
async def test_a_refusal_reaches_a_client_that_is_still_sending(site: Site) -> None:
    """No reset: it would make the client's kernel throw the answer away. The upload is read and dropped."""
    client = await site.connect(small_buffers=True)
    await client.send(request("/ws", "Content-Length: 5000000", method="POST"))
    await client.send(b"x" * 5_000_000)
    assert parse(await client.rest())[0] == 400


@both_loops
async def test_a_refused_client_that_does_not_close_is_cut(start: Start) -> None:
    site = await start(close_timeout=0.05)
    client = await site.connect()
    await client.send(request("/other"))
    await client.rest()
    await eventually(lambda: site.sockets() == 0)


@both_loops
async def test_a_refused_client_that_does_not_read_is_cut(start: Start) -> None:
    site = await start(Gate(connect=Verdict(403, (), b"x" * 20_000_000)), close_timeout=0.05)
    client = await site.connect(small_buffers=True)
    await client.send(request())
    await eventually(lambda: site.sockets() == 1)
    await eventually(lambda: site.sockets() == 0)


async def test_the_first_message_may_come_with_the_join(site: Site) -> None:
    """Handshake and join in one packet; what is published after the reply is seen arrives."""
    client = await site.connect()
    await client.send(request() + command("join", ["news"]))
    await client.head()
    await client.frame()
    site.publish("news", "x")
    assert await client.exactly(31) == text('{"topic":"news","payload":"x"}')[:31]
