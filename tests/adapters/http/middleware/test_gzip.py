from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib

import pytest
from starlette.types import ASGIApp

from rr_py_ws.adapters.http.middleware.gzip import GZip
from rr_py_ws.adapters.http.middleware.response import PresetHeaders
from support.asgi import Answer, ask, page

TEXT = b"hello world\n" * 100
ACCEPTED = [("Accept-Encoding", "gzip")]


def site(app: ASGIApp) -> ASGIApp:
    return GZip(PresetHeaders(app))


async def is_compressed(app: ASGIApp, accept: str = "gzip", method: str = "GET") -> bool:
    answer = await ask(site(app), "/", method, [("Accept-Encoding", accept)])
    assert "Accept-Encoding" in answer.header("vary")
    return answer.header("content-encoding") == "gzip"


async def test_an_answer_is_compressed_and_says_so() -> None:
    app = page(
        TEXT, headers=[("Content-Type", "text/html"), ("Content-Length", "1200"), ("Accept-Ranges", "bytes")]
    )
    answer = await ask(site(app), headers=ACCEPTED)
    assert gzip.decompress(answer.body) == TEXT
    assert answer.fields == [
        ("vary", "Accept-Encoding"),
        ("content-type", "text/html"),
        ("content-encoding", "gzip"),
        ("content-length", str(len(answer.body))),
    ]


@pytest.mark.parametrize(
    ("accept", "compressed"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("br, gzip;q=0.1", True),
        (" gzip ; q=1", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=x", False),
        ("gzip;q=nan", False),
        ("gzip;q=0;a=b", True),
        ("gzip;q=0, gzip", False),
        ("x-gzip", False),
        ("*", False),
        ("br", False),
        ("", False),
    ],
)
async def test_only_who_takes_gzip_gets_it(accept: str, compressed: bool) -> None:
    """A star does not count, and the first `gzip` does, as in RoadRunner's library."""
    assert await is_compressed(page(TEXT), accept) is compressed


async def test_without_the_header_nothing_is_compressed() -> None:
    answer = await ask(site(page(TEXT)))
    assert (answer.body, answer.fields) == (TEXT, [("vary", "Accept-Encoding")])


async def test_head_is_left_alone() -> None:
    assert not await is_compressed(page(TEXT), method="HEAD")


@pytest.mark.parametrize(("size", "compressed"), [(0, False), (1023, False), (1024, True)])
async def test_short_answers_are_not_worth_it(size: int, compressed: bool) -> None:
    assert await is_compressed(page(b"a" * size)) is compressed


@pytest.mark.parametrize(
    ("headers", "compressed"),
    [
        ([("Content-Encoding", "br")], False),
        ([("Content-Encoding", "")], True),
        ([("Content-Range", "bytes 0-1199/5000")], False),
        ([("Content-Length", "1200")], True),
        ([("Content-Length", "12")], False),
        ([("Content-Type", "image/png")], True),
        ([("Content-Type", "image/jpeg")], False),
        ([("Content-Type", "Video/mp4")], False),
        ([("Content-Type", "application/zip")], False),
        ([("Content-Type", "application/x-xz")], False),
        ([("Content-Type", "")], True),
    ],
)
async def test_what_the_headers_say(headers: list[tuple[str, str]], compressed: bool) -> None:
    assert await is_compressed(page(TEXT, headers=headers)) is compressed


async def test_without_a_type_the_content_counts() -> None:
    assert not await is_compressed(page(b"PK\x03\x04" + TEXT))
    answer = await ask(site(page(TEXT)), headers=ACCEPTED)
    assert answer.header("content-type") == "text/plain; charset=utf-8"


async def test_php_can_switch_it_off() -> None:
    answer = await ask(site(page(TEXT, headers=[("No-Gzip-Compression", "1")])), headers=ACCEPTED)
    assert (answer.body, answer.fields) == (TEXT, [("vary", "Accept-Encoding")])


async def test_an_answer_without_a_body_is_passed_on() -> None:
    answer = await ask(site(page(status=304, headers=[("ETag", '"1"')])), headers=ACCEPTED)
    assert (answer.status, answer.body, answer.header("content-encoding")) == (304, b"", "")


async def test_every_piece_can_be_read_when_it_arrives() -> None:
    """Server-sent events behind gzip: nothing waits for more."""
    pieces = [b"data: 1\n\n", b"", b"data: 2\n\n" * 500, b"data: 3\n\n", b""]
    reader, read = zlib.decompressobj(31), []

    def take(answer: Answer) -> None:
        read.append(reader.decompress(answer.pieces[-1]))

    answer = await ask(site(page(*pieces)), headers=ACCEPTED, on_piece=take)
    assert read == pieces
    assert reader.eof
    assert answer.header("content-length") == ""


async def test_a_first_piece_without_bytes_decides_nothing() -> None:
    answer = await ask(site(page(b"", b"PK\x03\x04", b"...")), headers=ACCEPTED)
    assert (answer.header("content-encoding"), answer.body) == ("", b"PK\x03\x04...")


async def test_a_large_answer_is_compressed_in_parts() -> None:
    data = os.urandom(100_000) * 20
    answer = await ask(site(page(data)), headers=ACCEPTED)
    assert gzip.decompress(answer.body) == data
    assert len(answer.pieces) > 5


async def test_a_stream_holds_little_memory() -> None:
    """A slow client of a large file has a compressor as long as it reads."""
    held: list[int] = []
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]

        def look(answer: Answer) -> None:
            answer.pieces.clear()
            held.append(tracemalloc.get_traced_memory()[0] - before)

        await ask(site(page(*[TEXT] * 50)), headers=ACCEPTED, on_piece=look)
    finally:
        tracemalloc.stop()
    assert max(held) < 128 * 1024
