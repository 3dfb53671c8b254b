"""A differential list of requests and the contexts that RoadRunner makes of them (php-workers.md 11)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rr_py_ws.errors import WorkerError
from rr_py_ws.wire.page import BodyKind, body_kind, decode_page_head, encode_page_request


def context(**changed: Any) -> Any:
    request: dict[str, Any] = {
        "remote_addr": "127.0.0.1",
        "protocol": "HTTP/1.1",
        "method": "POST",
        "uri": "http://localhost:8080/save?a=1",
        "headers": [(b"host", b"localhost:8080"), (b"content-type", b"text/plain")],
        "raw_query": "a=1",
        "parsed": False,
    }
    return json.loads(encode_page_request(**(request | changed)))


def test_a_whole_context() -> None:
    headers = [
        (b"host", b"localhost:8080"),
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"x-tag", b"1"),
        (b"x-tag", b"2"),
        (b"cookie", b"sid=a+b"),
    ]
    assert context(headers=headers, parsed=True) == {
        "remoteAddr": "127.0.0.1",
        "protocol": "HTTP/1.1",
        "method": "POST",
        "uri": "http://localhost:8080/save?a=1",
        "headers": {
            "Content-Type": ["application/x-www-form-urlencoded"],
            "Cookie": ["sid=a+b"],
            "X-Tag": ["1", "2"],
        },
        "cookies": {"sid": "a b"},
        "rawQuery": "a=1",
        "parsed": True,
        "uploads": None,
        "attributes": {},
    }


def test_how_the_body_was_sent_is_not_told() -> None:
    headers = [(b"transfer-encoding", b"chunked"), (b"trailer", b"X-Sum"), (b"x", b"1")]
    assert context(headers=headers)["headers"] == {"X": ["1"]}


def test_uploads_are_passed_on() -> None:
    assert context(uploads=b'{"f":{"size":1}}')["uploads"] == {"f": {"size": 1}}


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("method", "content_type", "raw_forms", "kind"),
    [
        ("GET", "", False, BodyKind.RAW),
        ("HEAD", FORM, False, BodyKind.NONE),
        ("OPTIONS", FORM, False, BodyKind.NONE),
        ("POST", FORM, False, BodyKind.URLENCODED),
        ("POST", f"{FORM}; charset=utf-8", False, BodyKind.URLENCODED),
        ("DELETE", FORM, False, BodyKind.URLENCODED),
        ("POST", FORM, True, BodyKind.RAW),
        ("POST", "multipart/form-data; boundary=a", False, BodyKind.MULTIPART),
        ("POST", "multipart/form-data; boundary=a", True, BodyKind.MULTIPART),
        ("POST", "multipart/mixed; boundary=a", False, BodyKind.RAW),
        ("POST", "application/json", False, BodyKind.RAW),
    ],
)
def test_what_becomes_of_a_body(method: str, content_type: str, raw_forms: bool, kind: BodyKind) -> None:
    assert body_kind(method, content_type, raw_forms=raw_forms) is kind


def test_an_answer() -> None:
    head = decode_page_head(b'{"status":201,"headers":{"x-a":["1","2"],"Connection":["close"],"Bad:":["x"]}}')
    assert head == (201, [(b"x-a", b"1"), (b"x-a", b"2")], [], True)


def test_trailers_are_taken_out_of_the_headers() -> None:
    head = decode_page_head(b'{"status":200,"headers":{"Trailer":["X-Sum, X-No"],"X-Sum":["4"],"A":["b"]}}')
    assert head.trailers == [(b"x-sum", b"4")]
    assert head.headers == [(b"trailer", b"X-Sum, X-No"), (b"a", b"b")]


def test_php_cannot_be_made_to_split_an_answer() -> None:
    head = decode_page_head(rb'{"status":200,"headers":{"A":["b\r\nC: d"],"E\r\nF":["g"]}}')
    assert head.headers == [(b"a", b"b  C: d")]


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"status":"200"}', b'{"status":true}', b'{"status":200,"headers":[1]}']
)
def test_what_is_no_answer(answer: bytes) -> None:
    with pytest.raises(WorkerError):
        decode_page_head(answer)


def test_a_context_of_megabytes_is_not_decoded() -> None:
    with pytest.raises(WorkerError, match="have 5000023 bytes"):
        decode_page_head(b'{"status":200,"x":"%b"}' % (b"x" * 5_000_002))
