"""The answer of an application as HTTP/1.1; where a client sees its end."""

from __future__ import annotations

import pytest

from rr_py_ws.wire.answer import AnswerEncoder, Header


def encode(
    *parts: bytes,
    headers: list[Header] | None = None,
    status: int = 200,
    method: str = "GET",
    version: str = "1.1",
    keep_alive: bool = True,
) -> tuple[AnswerEncoder, bytes, bytes]:
    """Encode a whole answer; returns what encoded it, the head without the date, and the body."""
    answer = AnswerEncoder(method, version, keep_alive=keep_alive)
    answer.begin(status, [(b"Date", b"today"), *(headers or ())])
    last = len(parts) - 1
    data = b"".join(answer.body(part, more=index < last) for index, part in enumerate(parts))
    head, _, body = data.partition(b"\r\n\r\n")
    return answer, head.replace(b"date: today\r\n", b"").replace(b"\r\ndate: today", b""), body


def test_a_length_is_the_end() -> None:
    answer, head, body = encode(b"he", b"llo", headers=[(b"Content-Length", b"5")])
    assert (head, body) == (b"HTTP/1.1 200 OK\r\ncontent-length: 5", b"hello")
    assert answer.complete and answer.keep_alive


def test_without_a_length_there_are_chunks() -> None:
    _, head, body = encode(b"he", b"", b"llo")
    assert head == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked"
    assert body == b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


def test_an_old_client_sees_the_end_of_the_connection() -> None:
    _, head, body = encode(b"hello", version="1.0", keep_alive=False)
    assert (head, body) == (b"HTTP/1.1 200 OK\r\nconnection: close", b"hello")


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body(status: int) -> None:
    answer, head, body = encode(b"", status=status)
    assert head.startswith(b"HTTP/1.1 %d " % status) and b"\r\n" not in head
    assert body == b"" and answer.complete


def test_head_is_told_the_length_and_gets_no_body() -> None:
    answer, head, body = encode(b"hello", method="HEAD", headers=[(b"content-length", b"7")])
    assert (head, body) == (b"HTTP/1.1 200 OK\r\ncontent-length: 7", b"")
    assert answer.complete


def test_an_unknown_status_has_no_phrase() -> None:
    assert encode(b"", status=299)[1].startswith(b"HTTP/1.1 299 \r\n")


@pytest.mark.parametrize("value", [b"close", b"x, Close"])
def test_an_application_may_end_the_connection(value: bytes) -> None:
    answer, head, _ = encode(b"", headers=[(b"connection", value), (b"content-length", b"0")])
    assert head.count(b"connection:") == 1 and not answer.keep_alive


def test_the_head_goes_with_the_first_part_of_the_body() -> None:
    answer = AnswerEncoder("GET", "1.1", keep_alive=True)
    answer.begin(200, [])
    assert b"date: " in answer.body(b"", more=True)
    assert answer.body(b"x", more=True) == b"1\r\nx\r\n"


def test_trailers_are_behind_the_last_chunk() -> None:
    answer = AnswerEncoder("GET", "1.1", keep_alive=True)
    answer.begin(200, [], trailers=True)
    assert answer.body(b"x", more=False).endswith(b"\r\n\r\n1\r\nx\r\n")
    assert not answer.complete
    assert answer.end([(b"x-sum", b"1")]) == b"0\r\nx-sum: 1\r\n\r\n"
    assert answer.complete


@pytest.mark.parametrize(("method", "version"), [("HEAD", "1.1"), ("GET", "1.0")])
def test_trailers_are_left_out_where_there_are_no_chunks(method: str, version: str) -> None:
    answer = AnswerEncoder(method, version, keep_alive=False)
    answer.begin(200, [], trailers=True)
    answer.body(b"x", more=False)
    assert answer.complete and answer.end([(b"x-sum", b"1")]) == b""


@pytest.mark.parametrize(
    "header",
    [
        *[(b"a", value) for value in (b"b\r\nc: d", b"b\nc", b"b\rc", b"\0", b"\x7f")],
        *[(name, b"a") for name in (b"", b"a b", b"a:", b"a\r\nb", b"\xe9")],
        *[(b"content-length", value) for value in (b"-1", b"x", b"1, 1", b" ")],
    ],
)
def test_no_header_says_more_than_it_should(header: Header) -> None:
    answer = AnswerEncoder("GET", "1.1", keep_alive=True)
    with pytest.raises(ValueError):
        answer.begin(200, [header])
    assert not answer.started


def test_no_trailer_says_more_than_it_should() -> None:
    answer = AnswerEncoder("GET", "1.1", keep_alive=True)
    answer.begin(200, [], trailers=True)
    answer.body(b"", more=False)
    with pytest.raises(ValueError):
        answer.end([(b"a", b"b\r\n\r\nHTTP/1.1 200 OK")])


@pytest.mark.parametrize("parts", [(b"hell",), (b"hello!",), (b"hello", b"!")])
def test_a_body_has_the_length_that_was_said(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError):
        encode(*parts, headers=[(b"content-length", b"5")])


def test_nothing_comes_before_the_head_or_behind_the_end() -> None:
    answer = AnswerEncoder("GET", "1.1", keep_alive=True)
    with pytest.raises(ValueError):
        answer.body(b"x", more=False)
    answer.begin(200, [])
    answer.body(b"x", more=False)
    with pytest.raises(ValueError):
        answer.body(b"x", more=False)
