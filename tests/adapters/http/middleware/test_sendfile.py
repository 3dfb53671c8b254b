from __future__ import annotations

import os
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from rr_py_ws.adapters.http.middleware.files import PIECE
from rr_py_ws.adapters.http.middleware.response import PresetHeaders
from rr_py_ws.adapters.http.middleware.sendfile import SendFile
from support.asgi import Answer, ask, page

MODIFIED = 1_600_000_000
DATE = "Sun, 13 Sep 2020 12:26:40 GMT"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.csv"
    path.write_bytes(b"0123456789")
    os.utime(path, (MODIFIED, MODIFIED))
    return path


def site(app: ASGIApp, directory: Path = Path("/")) -> ASGIApp:
    return SendFile(PresetHeaders(app), directory)


def naming(path: object, *headers: tuple[str, str], status: int = 200) -> ASGIApp:
    return page(b"in place of the file", status=status, headers=[("X-Sendfile", str(path)), *headers])


async def test_the_file_takes_the_place_of_the_body(report: Path) -> None:
    app = naming(report, ("Content-Type", "text/csv"), ("Set-Cookie", "a=1"), ("Content-Length", "20"))
    answer = await ask(site(app))
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert answer.fields == [
        ("content-type", "text/csv"),
        ("set-cookie", "a=1"),
        ("last-modified", DATE),
        ("accept-ranges", "bytes"),
        ("content-length", "10"),
    ]


async def test_without_a_type_of_php_the_content_counts(report: Path) -> None:
    assert (await ask(site(naming(report)))).header("content-type") == "text/plain; charset=utf-8"


async def test_other_answers_are_passed_on_as_they_come() -> None:
    answer = await ask(site(page(b"one", b"two", status=404, headers=[("A", "b")])))
    assert (answer.status, answer.fields, answer.pieces) == (404, [("a", "b")], [b"one", b"two"])


async def test_the_header_of_a_client_means_nothing(report: Path) -> None:
    """RoadRunner 2.11 sent any file to whoever asked for it with this header."""
    answer = await ask(site(page(b"php")), headers=[("X-Sendfile", str(report))])
    assert answer.body == b"php"


async def test_ranges_and_conditions(report: Path) -> None:
    app = site(naming(report, ("ETag", '"v1"')))
    answer = await ask(app, headers=[("Range", "bytes=2-4")])
    assert (answer.status, answer.body, answer.header("content-range")) == (206, b"234", "bytes 2-4/10")
    assert (await ask(app, headers=[("If-None-Match", '"v1"')])).status == 304
    assert (await ask(app, headers=[("If-Modified-Since", DATE)])).status == 304
    assert (await ask(app, headers=[("Range", "bytes=20-")])).status == 416


async def test_head(report: Path) -> None:
    answer = await ask(site(naming(report)), method="HEAD")
    assert (answer.status, answer.header("content-length"), answer.body) == (200, "10", b"")


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/tmp/../etc/passwd", 403, b""),
        ("missing", 404, b"not found\n"),
        ("/", 404, b"not found\n"),
        ("/dev/null", 404, b"not found\n"),
        ("a\0b", 404, b"not found\n"),
        ("/" + "a" * 5000, 500, b"the file cannot be read\n"),
    ],
)
async def test_what_cannot_be_sent(path: str, status: int, body: bytes) -> None:
    answer = await ask(site(naming(path, ("Content-Type", "text/csv"), ("A", "b"))))
    assert (answer.status, answer.body, answer.header("a")) == (status, body, "b")
    assert answer.header("x-sendfile") == ""
    assert answer.header("content-length") == str(len(body))


async def test_a_relative_path_belongs_to_the_directory_of_the_program(report: Path) -> None:
    assert (await ask(site(naming("report.csv"), report.parent))).body == b"0123456789"


async def test_php_is_free_before_the_file_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(3 * PIECE))
    finished: list[bool] = []

    async def app(scope: object, receive: object, send: object) -> None:
        await naming(path)(scope, receive, send)  # type: ignore[arg-type]
        finished.append(True)

    def look(answer: Answer) -> None:
        assert finished == [True]

    answer = await ask(site(app), on_piece=look)  # type: ignore[arg-type]
    assert len(answer.body) == 3 * PIECE
