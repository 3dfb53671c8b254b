"""Preconditions and ranges; each answer was compared with that of RoadRunner's `static` v2.14.4."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from rr_py_ws.wire.answer_headers import AnswerHeaders
from rr_py_ws.wire.file_answer import FileAnswer, answer_conditions, answer_content, conditions

MODIFIED = 1_600_000_000
DATE, BEFORE, AFTER = (f"Sun, {day} Sep 2020 12:26:40 GMT" for day in (13, 6, 20))
ETAG = '"6-1"'


def answer(
    asked: dict[str, str], method: str = "GET", etag: str = ETAG, modified: int = MODIFIED, size: int = 10
) -> tuple[FileAnswer, Headers]:
    raw = [(b"content-type", b"text/x"), *([(b"etag", etag.encode())] if etag else [])]
    headers = AnswerHeaders(raw)
    wanted = conditions([(name.lower().encode(), value.encode()) for name, value in asked.items()])
    refused = answer_conditions(method, wanted, headers, modified)
    return refused or answer_content(method, wanted, headers, modified, size), Headers(raw=raw)


@pytest.mark.parametrize(
    ("asked", "get", "post"),
    [
        ({}, 200, 200),
        ({"If-None-Match": ETAG}, 304, 412),
        ({"If-None-Match": f"W/{ETAG}"}, 304, 412),
        ({"If-None-Match": "*"}, 304, 412),
        ({"If-None-Match": f',, "x" , {ETAG}'}, 304, 412),
        ({"If-None-Match": f"broken, {ETAG}"}, 200, 200),
        ({"If-None-Match": '"x'}, 200, 200),
        ({"If-None-Match": '"x"'}, 200, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": DATE}, 200, 200),
        ({"If-Modified-Since": DATE}, 304, 200),
        ({"If-Modified-Since": AFTER}, 304, 200),
        ({"If-Modified-Since": BEFORE}, 200, 200),
        ({"If-Modified-Since": "Sunday, 13-Sep-20 12:26:40 GMT"}, 304, 200),
        ({"If-Modified-Since": "Sun Sep 13 12:26:40 2020"}, 304, 200),
        ({"If-Modified-Since": "yesterday"}, 200, 200),
        ({"If-Match": ETAG}, 200, 200),
        ({"If-Match": "*"}, 200, 200),
        ({"If-Match": f"W/{ETAG}"}, 412, 412),
        ({"If-Match": '"x"'}, 412, 412),
        ({"If-Match": ETAG, "If-Unmodified-Since": BEFORE}, 200, 200),
        ({"If-Unmodified-Since": BEFORE}, 412, 412),
        ({"If-Unmodified-Since": DATE}, 200, 200),
        ({"If-Unmodified-Since": "yesterday"}, 200, 200),
        ({"If-Match": ETAG, "If-None-Match": ETAG}, 304, 412),
    ],
)
def test_preconditions(asked: dict[str, str], get: int, post: int) -> None:
    assert answer(asked)[0].status == get
    assert answer(asked, "HEAD")[0].status == get
    assert answer(asked, "POST")[0].status == post


def test_304_has_the_etag_instead_of_the_date() -> None:
    assert answer({"If-None-Match": ETAG})[1].items() == [("etag", ETAG)]
    assert answer({"If-Modified-Since": DATE}, etag="")[1].items() == [("last-modified", DATE)]


def test_a_file_without_a_date_has_no_conditions_about_it() -> None:
    found, headers = answer({"If-Modified-Since": AFTER, "If-Unmodified-Since": BEFORE}, modified=0)
    assert found.status == 200
    assert "last-modified" not in headers


@pytest.mark.parametrize(
    ("ranges", "parts"),
    [
        ("bytes=0-", [(0, 10)]),
        ("bytes=0-0", [(0, 1)]),
        ("bytes=2-3", [(2, 2)]),
        ("bytes= 2 - 3 ", [(2, 2)]),
        ("bytes=,2-3,", [(2, 2)]),
        ("bytes=+2-+3", [(2, 2)]),
        ("bytes=-3", [(7, 3)]),
        ("bytes=-100", [(0, 10)]),
        ("bytes=9-100", [(9, 1)]),
        ("bytes=0-1,100-", [(0, 2)]),
        ("bytes=0-9223372036854775807", [(0, 10)]),
    ],
)
def test_one_range(ranges: str, parts: list[tuple[int, int]]) -> None:
    found, headers = answer({"Range": ranges})
    [(start, length)] = parts
    assert [(part.start, part.length) for part in found.parts] == parts
    assert found.status == 206
    assert headers["content-range"] == f"bytes {start}-{start + length - 1}/10"
    assert headers["content-length"] == str(length)


def test_several_ranges() -> None:
    found, headers = answer({"Range": "bytes=0-1,-2"})
    assert [(part.start, part.length) for part in found.parts] == [(0, 2), (8, 2), (0, 0)]
    assert headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert "content-range" not in headers


@pytest.mark.parametrize(("count", "status"), [(100, 206), (101, 200)])
def test_of_very_many_ranges_the_whole_file_is_sent(count: int, status: int) -> None:
    """RFC 9110, 14.2: each takes 9 bytes in the request, a head of 150 in the answer, and a read."""
    ranges = ",".join(f"{at}-{at}" for at in range(count))
    found, _ = answer({"Range": f"bytes={ranges}"}, size=1000)
    assert (found.status, len(found.parts)) == (status, count + 1 if status == 206 else 1)


@pytest.mark.parametrize("ranges", ["bytes=", "bytes=,", "bytes=0-9,0-9", "bytes=0-5,5-9", "bytes=0-,-1"])
def test_no_range_and_more_than_the_file_are_the_file(ranges: str) -> None:
    found, headers = answer({"Range": ranges})
    assert (found.status, headers["content-length"]) == (200, "10")


@pytest.mark.parametrize(
    "ranges",
    [
        "items=0-1",
        "Bytes=0-1",
        "bytes=a-b",
        "bytes=1",
        "bytes=--1",
        "bytes=5-2",
        "bytes=1_0-",
        "bytes=-",
        "bytes=0-1,x",
        "bytes=9223372036854775808-",
        "bytes=" + "9" * 5000 + "-",
    ],
)
def test_what_is_no_range(ranges: str) -> None:
    found, headers = answer({"Range": ranges})
    assert (found.status, found.parts[0].before) == (416, b"invalid range\n")
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert "content-range" not in headers


@pytest.mark.parametrize("ranges", ["bytes=10-", "bytes=100-200", "bytes=10-,20-"])
def test_a_range_behind_the_file(ranges: str) -> None:
    found, headers = answer({"Range": ranges})
    assert (found.status, headers["content-range"]) == (416, "bytes */10")
    assert found.parts[0].before == b"invalid range: failed to overlap\n"


def test_an_empty_file_has_no_range_and_is_sent() -> None:
    assert answer({"Range": "bytes=0-"}, size=0)[0].status == 200


@pytest.mark.parametrize(
    ("version", "status"),
    [
        (ETAG, 206),
        (f"W/{ETAG}", 200),
        ('"x"', 200),
        (DATE, 206),
        (BEFORE, 200),
        (AFTER, 200),
        ("yesterday", 200),
    ],
)
def test_if_range(version: str, status: int) -> None:
    assert answer({"Range": "bytes=0-1", "If-Range": version})[0].status == status
    assert answer({"Range": "bytes=0-1", "If-Range": version}, "POST")[0].status == 206  # not looked at


def test_the_first_of_two_headers_counts() -> None:
    assert conditions([(b"range", b"bytes=0-1"), (b"range", b"bytes=2-3"), (b"if-match", b"")]) == {
        b"range": "bytes=0-1"
    }
