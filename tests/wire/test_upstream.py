from __future__ import annotations

import pytest

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.upstream import (
    MAX_HEAD,
    AnswerReader,
    Sender,
    answer_headers,
    came_back,
    request_head,
    switching_head,
)

MARK = b"rr-py-ws-1"
STRANGER = Sender(("203.0.113.9",), "http")
PROXY = Sender(("198.51.100.1", "10.0.0.1"), "http", b"x-forwarded-for")


def passed_on(*headers: tuple[bytes, bytes], sender: Sender = STRANGER, upgrade: bytes = b"") -> list[bytes]:
    """The lines of a head, without the request line."""
    head = request_head("GET", b"/a?b", [(b"host", b"app.test"), *headers], sender, b"behind", MARK, upgrade)
    line, *lines = head.split(b"\r\n")
    assert line == b"GET /a?b HTTP/1.1" and lines[-2:] == [b"", b""]
    return lines[:-2]


OF_STRANGER = [
    b"host: app.test",
    b"x-forwarded-for: 203.0.113.9",
    b"x-forwarded-proto: http",
    b"x-forwarded-host: app.test",
    b"cdn-loop: rr-py-ws-1",
]


def test_a_head_says_who_sent_the_request() -> None:
    assert passed_on((b"accept", b"*/*")) == [b"accept: */*", *OF_STRANGER]


@pytest.mark.parametrize(
    "name",
    b"x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-forwarded-prefix forwarded"
    b" x-real-ip true-client-ip cf-connecting-ip x_forwarded_for x-forwarded_proto x_real_ip proxy".split(),
)
def test_what_a_stranger_says_of_its_address_is_left_out(name: bytes) -> None:
    assert passed_on((name, b"evil")) == OF_STRANGER


def test_a_trusted_proxy_may_say_more() -> None:
    lines = passed_on(
        (b"x-forwarded-for", b"evil, 198.51.100.1"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"www.example.com"),
        (b"x-forwarded-port", b"443"),
        (b"x_forwarded_port", b"1"),
        (b"forwarded", b"for=evil"),
        sender=PROXY,
    )
    assert lines == [
        b"x-forwarded-port: 443",
        b"host: app.test",
        b"x-forwarded-for: 198.51.100.1, 10.0.0.1",
        b"x-forwarded-proto: https",
        b"x-forwarded-host: www.example.com",
        b"cdn-loop: rr-py-ws-1",
    ]


def test_the_header_that_the_proxy_writes_is_passed_on() -> None:
    sender = Sender(("198.51.100.1", "10.0.0.1"), "http", b"x-real-ip")
    lines = passed_on((b"x-real-ip", b"198.51.100.1"), (b"x-forwarded-for", b"evil"), sender=sender)
    assert b"x-real-ip: 198.51.100.1" in lines
    assert not any(b"evil" in line for line in lines)


def test_headers_of_the_connection_stay() -> None:
    lines = passed_on(
        (b"connection", b"keep-alive, X-One"),
        (b"connection", b" x-two ,host, content-length, x-forwarded-for"),
        (b"keep-alive", b"5"),
        (b"proxy-authorization", b"x"),
        (b"proxy-connection", b"x"),
        (b"te", b"trailers"),
        (b"trailer", b"x"),
        (b"upgrade", b"h2c"),
        (b"http2-settings", b"x"),
        (b"x-one", b"1"),
        (b"x-two", b"2"),
        (b"content-length", b"3"),
    )
    assert lines == [b"content-length: 3", *OF_STRANGER]


def test_a_body_in_chunks_has_no_length() -> None:
    lines = passed_on((b"transfer-encoding", b"chunked"), (b"content-length", b"3"))
    assert lines == [*OF_STRANGER, b"transfer-encoding: chunked"]


def test_a_request_without_a_host_gets_that_of_the_server() -> None:
    head = request_head("GET", b"/", [], STRANGER, b"behind:8080", MARK)
    assert b"\r\nhost: behind:8080\r\n" in head


def test_a_request_that_comes_back_is_known() -> None:
    lines = passed_on((b"cdn-loop", b"cdn.example; v=1"))
    assert lines == [b"cdn-loop: cdn.example; v=1", *OF_STRANGER]
    headers = [(b"cdn-loop", b"cdn.example; v=1"), (b"cdn-loop", b"rr-py-ws-2,rr-py-ws-1 , x")]
    assert came_back(headers, MARK)
    assert not came_back(headers, b"rr-py-ws-3")
    assert not came_back([(b"via", MARK)], MARK)


def test_an_upgrade_is_asked_for_anew() -> None:
    lines = passed_on((b"connection", b"Upgrade"), (b"upgrade", b"websocket, h2c"), upgrade=b"websocket")
    assert lines == [*OF_STRANGER, b"connection: Upgrade", b"upgrade: websocket"]


def test_headers_of_the_answer() -> None:
    headers = [
        (b"connection", b"X-Hop, Content-Length"),
        (b"x-hop", b"1"),
        (b"keep-alive", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"trailer", b"x"),
        (b"content-length", b"3"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]
    kept = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    assert answer_headers(headers, 200) == [(b"content-length", b"3"), *kept]
    assert answer_headers(headers, 304) == answer_headers(headers, 204) == kept


def test_a_switch_is_told() -> None:
    headers = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-accept", b"x")]
    assert switching_head(headers, [b"websocket"]) == (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"sec-websocket-accept: x\r\n\r\n"
    )


def read(data: bytes, *, step: int = 0, end: bool = False, to_head: bool = False) -> AnswerReader:
    """An answer, read in one piece or in pieces of `step` bytes."""
    reader = AnswerReader(to_head=to_head)
    for at in range(0, len(data), step or len(data)):
        reader.feed(data[at : at + (step or len(data))])
    if end:
        reader.end()
    return reader


ANSWERS = {
    "length": (b"Content-Length: 5\r\n\r\nhello", False, True),
    "chunks": (
        b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nT: 1\r\n\r\n",
        False,
        True,
    ),
    "end": (b"\r\nhello", True, False),
    "close": (b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", False, False),
}


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_in_any_pieces(name: str, step: int) -> None:
    rest, end, reusable = ANSWERS[name]
    reader = read(b"HTTP/1.1 200 OK\r\nX: y\r\n" + rest, step=step, end=end)
    assert (reader.status, b"".join(reader.body), reader.complete) == (200, b"hello", True)
    assert reader.reusable is reusable
    assert (b"x", b"y") in reader.headers and (b"t", b"1") not in reader.headers


@pytest.mark.parametrize(
    ("answer", "to_head"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", True),
    ],
)
def test_an_answer_without_a_body(answer: bytes, to_head: bool) -> None:
    reader = read(answer, to_head=to_head)
    assert reader.complete and reader.reusable and reader.body == []
    reader.feed(b"hello")
    assert not reader.reusable and reader.body == []


def test_interim_answers_are_passed_over() -> None:
    reader = AnswerReader()
    reader.feed(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert (reader.status, reader.may_continue) == (0, False)
    reader.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (reader.status, reader.may_continue, reader.complete) == (200, True, True)
    assert reader.headers == [(b"content-length", b"0")]


def test_an_answer_that_nobody_has_asked_for_spoils_the_connection() -> None:
    reader = read(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    )
    assert reader.complete and not reader.reusable
    assert (reader.body, len(reader.headers)) == ([b"x"], 1)


def test_an_upgrade_leaves_the_rest_alone() -> None:
    reader = AnswerReader(upgrade=True)
    reader.feed(b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nframes")
    assert (reader.status, reader.complete, reader.rest) == (101, True, b"frames")


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BAD = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "signed length": HEAD + b"Content-Length: +5\r\n\r\n",
    "folded line": HEAD + b"X: a\r\n b\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "CR in a value": HEAD + b"X: a\rSet-Cookie: b\r\n\r\n",
    "NUL in a value": HEAD + b"X: a\0b\r\n\r\n",
    "space before the colon": HEAD + b"X : a\r\n\r\n",
    "other coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
    "coding after chunks": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
    "coding twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\n\r\n",
    "status 600": b"HTTP/1.1 600 X\r\n\r\n",
    "status 099": b"HTTP/1.1 099 X\r\n\r\n",
    "101 unasked": b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "interim answer with a body": b"HTTP/1.1 102 P\r\nContent-Length: 1\r\n\r\nx" + HEAD + b"\r\n",
    "bad chunk": CHUNKED + b"xyz\r\n",
    "chunk too long": CHUNKED + b"fffffffffffffffff\r\n",
    "no CR after a chunk": CHUNKED + b"2\r\nabX",
    "many headers": HEAD + b"X: y\r\n" * 257 + b"\r\n",
    "long head": HEAD + b"X: " + b"y" * MAX_HEAD + b"\r\n\r\n",
    "endless header": HEAD + b"X: " + b"y" * 2 * MAX_HEAD,
    "endless reason": b"HTTP/1.1 200 " + b"y" * 2 * MAX_HEAD,
    "endless interim answers": b"HTTP/1.1 102 Processing\r\n\r\n" * 17,
    "endless trailer": CHUNKED + b"1\r\nx\r\n0\r\nT: " + b"y" * 3 * MAX_HEAD,
    "endless trailers": CHUNKED + b"1\r\nx\r\n0\r\n" + b"T: y\r\n" * MAX_HEAD,
    "endless extension": CHUNKED + b"1;" + b"y" * 3 * MAX_HEAD,
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_passed_on_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        read(BAD[name], step=16384)
    assert refused.value.status == 502
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        HEAD + b"Content-Length: 5\r\n\r\nhell",
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"5\r\nhello\r\n0\r\n",
    ],
)
def test_an_answer_that_ends_too_early_is_broken(answer: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(answer or b"\r\n", end=True)
