"""What PHP is asked about requests whose host, target, method or version is odd, and whether it is asked."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable

import pytest

from rr_py_ws.adapters.ws import handler
from rr_py_ws.wire.verdict import Verdict
from support.http_site import parse
from support.php_pool import RecordedLog
from support.ws_peer import Gate, frame, request
from support.ws_site import Start, asked_of_php


@pytest.mark.parametrize(
    "host", ["good.example/admin?x=", "a:b", "x:99999", ":80", "", "u@h", "a b", "a#b", "{a}", "é", "[::1"]
)
async def test_a_host_that_php_could_not_read_is_refused_before_php_is_asked(
    start: Start, host: str, log: Callable[[], str]
) -> None:
    """Point 1: five such handshakes a second took 115 honest handshakes down to 4."""
    gate = Gate()
    site = await start(gate)
    answer = await site.ask(request("/ws", f"Host: {host}"))
    assert parse(answer)[::2] == (400, b"malformed Host header")
    assert gate.requests == []


async def test_without_a_host_php_is_not_asked(start: Start) -> None:
    """Point 1: HTTP/1.0 may leave it out, and `http:///ws` makes most PSR-7 libraries throw."""
    gate = Gate()
    site = await start(gate)
    for version, status, body in (
        ("1.0", 505, b"handshake error: bad HTTP protocol version"),
        ("1.1", 400, b'handshake error: bad "Host" header'),
    ):
        answer = await site.ask(request("/ws", "-host", version=version))
        assert parse(answer)[::2] == (status, body)
        answer = await site.ask(request("http://b.example/ws", "-host", version=version))
        assert parse(answer)[::2] == (status, body)
    assert gate.requests == []


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("&a" * 1001, False),
        ("&a" * 1000, True),
        ("a=1&a" + "[x]" * 65 + "=1", False),
        ("a=" + "[x]" * 80, True),
        ("a" + "[x]" * 64, True),
        ("a" + "%5Bx]" * 33 + "%5bx]" * 32, False),
        ("&" * 3000, True),
        ("a=%zz&b=%00&[=1&]=2&=&a[", True),
    ],
)
async def test_a_query_that_php_warns_of_is_refused_before_php_is_asked(
    start: Start, query: str, asked: bool
) -> None:
    """Point 1: a warning is an exception to most frameworks, and ended the worker that read the request."""
    gate = Gate()
    site = await start(gate)
    answer = await site.ask(request(f"/ws?{query}") + frame(8))
    assert answer.startswith(b"HTTP/1.1 101 " if asked else b"HTTP/1.1 400 ")
    assert len(gate.requests) == asked
    code = "set_error_handler(fn($n, $text) => print($text)); parse_str($argv[1], $found);"
    php = await asyncio.create_subprocess_exec(
        "php", "-n", "-d", "display_errors=0", "-r", code, query, stdout=subprocess.PIPE
    )
    assert ((await php.communicate())[0] == b"") is asked


async def test_a_client_that_has_closed_its_side_gets_what_needs_nobody_else(start: Start) -> None:
    """Point 13: half-closed, as `nc -N` and some health checks ask; a question to PHP ends, though."""
    gate = Gate()
    site = await start(gate)
    for asked, status in ((request("/other"), 404), (request("/ws", "-upgrade"), 400), (request(), 101)):
        client = await site.connect()
        await client.send(asked)
        client.end_writing()
        assert parse(await client.rest())[0] == status
    gate.on_connect = None
    client = await site.connect()
    await client.send(request())
    client.end_writing()
    assert await client.rest() == b""


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "3.0"])
async def test_a_version_that_php_may_not_know_is_a_505(start: Start, version: str) -> None:
    """Point 13: some PSR-7 libraries throw at a version that they do not know."""
    gate = Gate()
    site = await start(gate)
    answer = await site.ask(request(version=version))
    assert parse(answer)[::2] == (505, b"handshake error: bad HTTP protocol version")
    assert gate.requests == []


async def test_an_unknown_method_is_a_405_when_php_allows_it(start: Start) -> None:
    """Point 13: the parser knew some methods, and called the others no request."""
    gate = Gate()
    site = await start(gate)
    answer = await site.ask(request(method="BREW"))
    assert parse(answer)[::2] == (405, b"handshake error: bad HTTP request method")
    assert (await asked_of_php(gate.requests[0]))["method"] == "BREW"


async def test_the_host_of_an_absolute_target_is_the_one_that_php_sees(start: Start) -> None:
    """Point 1: and the scheme is that of the connection, whatever the target says."""
    gate = Gate()
    site = await start(gate)
    for scheme in ("http", "https", "ws"):
        await site.ask(request(f"{scheme}://b.example:81/ws?a=1") + frame(8))
        assert (await asked_of_php(gate.requests[-1]))["uri"] == "http://b.example:81/ws?a=1"


async def test_raw_bytes_of_path_and_query_reach_php(start: Start) -> None:
    """Point 13: as RoadRunner passes them; bytes that are no UTF-8 are U+FFFD in JSON."""
    gate = Gate()
    site = await start(gate, path="/é")
    for sent, uri, query in (
        ("/é?é=ü".encode(), "http://app.test/%C3%A9?é=ü", "é=ü"),
        ("/é?".encode() + b"\xff", "http://app.test/%C3%A9?\ufffd", "\ufffd"),
        (b"/%c3%a9?%ff", "http://app.test/%c3%a9?%ff", "%ff"),
    ):
        answer = await site.ask(request().replace(b"/ws", sent, 1) + frame(8))
        assert answer.startswith(b"HTTP/1.1 101 ")
        asked = await asked_of_php(gate.requests[-1])
        assert (asked["uri"], asked["rawQuery"]) == (uri, query)


@pytest.mark.parametrize(
    "lines",
    [
        "Connection: keep-alive\r\nConnection: Upgrade",
        "Connection: close\r\nX: 1\r\nconnection:  foo ,\tUPGRADE",
        "Connection: Upgrade\r\nUpgrade: h2c",
    ],
)
async def test_lines_of_one_header_are_one_list(start: Start, lines: str) -> None:
    """Point 13: a proxy may write a line of its own (RFC 9110 section 5.3)."""
    site = await start(Gate())
    answer = await site.ask(_with(lines))
    assert answer.startswith(b"HTTP/1.1 101 ")


def _with(lines: str) -> bytes:
    return request("/ws", "-connection").replace(b"\r\n\r\n", f"\r\n{lines}\r\n\r\n".encode()) + frame(8)


async def test_who_is_turned_away_leaves_a_trace(start: Start, log: Callable[[], str]) -> None:
    """Point 12: with the address, the reason and the key that decides."""
    gate = Gate()
    site = await start(gate, allowed_origin=["https://app.test"], max_handshakes=1, handshake_wait=0)
    await site.ask(request("/ws", "Origin: https://evil.test"))
    line = log()
    assert "websockets.allowed_origin" in line
    remote = r'"remote": "127\.0\.0\.1:[0-9]+"'
    assert re.search(f'"origin": "https://evil.test", {remote}', line)
    await site.ask(request("/ws", "Origin: https://app.test", "-upgrade"))
    line = log()
    assert 'bad \\"Upgrade\\" header' in line and re.search(remote, line)
    gate.on_connect = None
    waiting = await site.connect()
    await waiting.send(request("/ws", "Origin: https://app.test"))
    await gate.asked(1)
    assert parse(await site.ask(request("/ws", "Origin: https://app.test")))[0] == 503
    line = log()
    assert "websockets.limits.handshake_wait" in line and re.search(remote, line)
    [counted] = [sample for sample in site.server.metrics() if sample.name == "handshakes_refused"]
    assert {reason for (reason,), count in counted.values.items() if count} == {"origin", "upgrade", "busy"}


async def test_a_handshake_that_php_refuses_leaves_a_trace(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points 12 and 16: the status, with who it was; at level debug all that PHP has answered."""
    recorded = RecordedLog()
    monkeypatch.setattr(handler, "log", recorded)
    site = await start(Gate(Verdict(403, (("X-Reason", "banned"),), b"no")))
    await site.ask(request("/ws"))
    [(level, text, fields), debug] = recorded.lines
    assert (level, text, fields["status"]) == ("info", "handshake refused", 403)
    assert re.fullmatch(r"127\.0\.0\.1:[0-9]+", str(fields["remote"]))
    answer = {"status": 403, "headers": (("X-Reason", "banned"),), "body": b"no"}
    assert debug == ("debug", "handshake refused, the answer of PHP", answer)
