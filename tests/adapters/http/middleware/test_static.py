from __future__ import annotations

import asyncio
import os
import resource
import socket
import threading
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Scope

from rr_py_ws.adapters.http.middleware import files
from rr_py_ws.adapters.http.middleware.files import PIECE
from rr_py_ws.adapters.http.middleware.response import PresetHeaders
from rr_py_ws.adapters.http.middleware.static import Static
from rr_py_ws.config import Static as Section
from support.asgi import Answer, ask, page

MODIFIED = 1_600_000_000
DATE = "Sun, 13 Sep 2020 12:26:40 GMT"
PHP = "from PHP"


@pytest.fixture
def public(tmp_path: Path) -> Path:
    directory = tmp_path / "public"
    directory.mkdir()
    put(directory / "a.css", b"body{}")
    put(directory / "index.html", b"<h1>hello</h1>")
    return directory


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    os.utime(path, (MODIFIED, MODIFIED))
    return path


def site(directory: Path, app: ASGIApp | None = None, **section: object) -> ASGIApp:
    app = app or page(PHP.encode())
    return Static(PresetHeaders(app), Section.model_validate({"dir": str(directory), **section}), Path("/"))


async def is_for_php(app: ASGIApp, target: str, method: str = "GET") -> bool:
    return (await ask(app, target, method)).body == PHP.encode()


async def test_a_file_is_served_with_its_type_its_length_and_its_date(public: Path) -> None:
    answer = await ask(site(public), "/a.css")
    assert answer == Answer(
        200,
        [
            ("last-modified", DATE),
            ("content-type", "text/css; charset=utf-8"),
            ("accept-ranges", "bytes"),
            ("content-length", "6"),
        ],
        [b"body{}"],
        True,
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "ANYTHING"])
async def test_the_method_does_not_count_as_in_roadrunner(public: Path, method: str) -> None:
    assert (await ask(site(public), "/a.css", method)).body == b"body{}"


async def test_head_has_the_headers_only(public: Path) -> None:
    answer = await ask(site(public), "/a.css", "HEAD")
    assert (answer.status, answer.header("content-length"), answer.body) == (200, "6", b"")
    assert answer.complete


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/missing.css",
        "/missing/a.css",
        "/a.css/",
        "/a.css/b.css",
        "/without-extension",
        "/directory.d",
        "/pipe.fifo",
        "/socket.sock",
        "/secret.txt",
        "/a%00.css",
        "/" + "a" * 5000 + ".css",
        "/loop.css",
    ],
)
async def test_what_is_no_file_with_an_extension_is_for_php(
    public: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(public / "without-extension", b"x")
    (public / "directory.d").mkdir()
    os.mkfifo(public / "pipe.fifo")
    (public / "loop.css").symlink_to(public / "loop.css")
    with socket.socket(socket.AF_UNIX) as unix:
        monkeypatch.chdir(public)  # the path of a socket has at most 107 bytes
        unix.bind("socket.sock")
        assert await is_for_php(site(public), target)


async def test_an_unreadable_file_is_for_php(public: Path) -> None:
    put(public / "secret.txt", b"x").chmod(0)
    if os.access(public / "secret.txt", os.R_OK):
        pytest.skip("this account may read everything")
    assert await is_for_php(site(public), "/secret.txt")


@pytest.mark.parametrize(
    "target",
    ["/../a.css", "/x/../a.css", "/%2e%2e/etc/passwd.txt", "/..%2fa.css", "/a..b.css", "/x/.%0d./a.css"],
)
async def test_two_dots_in_the_path_are_403(public: Path, target: str) -> None:
    answer = await ask(site(public), target)
    assert (answer.status, answer.fields, answer.body) == (403, [("content-length", "0")], b"")
    assert (await ask(site(public), "/a.css?x=..")).status == 200


async def test_nothing_outside_the_directory_is_found_by_any_spelling(public: Path) -> None:
    put(public.parent / "outside.css", b"secret")
    app = site(public)
    for target in (
        "//outside.css",
        "/./outside.css",
        "/%2Foutside.css",
        "/\\outside.css",
        "/%5c.%5coutside.css",
    ):
        assert await is_for_php(app, target)
    assert await is_for_php(app, str(public.parent / "outside.css"))


@pytest.mark.parametrize(
    "target", ["//a.css", "/./a.css", "/x/.//a.css", "/a%2Ecss", "/a.c%0D%0Ass", "/%61.css"]
)
async def test_other_spellings_of_a_path_are_the_same_file(public: Path, target: str) -> None:
    (public / "x").mkdir()
    put(public / "x" / "a.css", b"body{}")
    assert (await ask(site(public), target)).body == b"body{}"


async def test_a_symbolic_link_is_followed_as_in_roadrunner(public: Path) -> None:
    put(public.parent / "elsewhere", b"linked")
    (public / "link.css").symlink_to("../elsewhere")
    assert (await ask(site(public), "/link.css")).body == b"linked"


async def test_a_name_that_begins_with_a_dot_is_its_extension(public: Path) -> None:
    put(public / ".env", b"SECRET=1")
    assert (await ask(site(public), "/.env")).body == b"SECRET=1"
    assert await is_for_php(site(public, forbid=(".env",)), "/.env")


async def test_names_that_are_not_ascii_are_found_by_their_bytes(public: Path) -> None:
    put(public / "ä.css", b"1")
    put(Path(os.fsdecode(os.fsencode(public) + b"/\xff.css")), b"2")
    app = site(public)
    assert (await ask(app, "/%C3%A4.css")).body == b"1"
    assert (await ask(app, "/%FF.css")).body == b"2"


@pytest.mark.parametrize(
    ("section", "served"),
    [
        ({"forbid": (".php", ".CSS")}, {"a.html", "a.js"}),
        ({"allow": (".html",)}, {"a.html"}),
        ({"forbid": (".html", ""), "allow": (".html", ".css")}, {"a.css"}),
        # As in RoadRunner: an allowed extension that is forbidden is no rule any more.
        ({"forbid": (".html",), "allow": (".html",)}, {"a.css", "a.php", "a.js"}),
        ({"allow": (".CSS",)}, set()),
        ({}, {"a.css", "a.html", "a.php", "a.js"}),
    ],
)
async def test_extensions_are_forbidden_and_allowed(
    public: Path, section: dict[str, object], served: set[str]
) -> None:
    app = site(public, **section)
    found = set()
    for name in ("a.css", "a.html", "a.php", "a.js"):
        put(public / name, b"file")
        if not await is_for_php(app, f"/{name}"):
            found.add(name)
    assert found == served


async def test_an_extension_in_upper_case_is_the_same(public: Path) -> None:
    put(public / "A.PHP", b"<?php secret")
    assert await is_for_php(site(public, forbid=(".php",)), "/A.PHP")
    put(public / "B.HTML", b"x")
    assert (await ask(site(public), "/B.HTML")).header("content-type") == "text/html; charset=utf-8"


async def test_without_a_known_extension_the_content_counts(public: Path) -> None:
    put(public / "logo.unknown", b"\x89PNG\r\n\x1a\n....")
    put(public / "empty.unknown", b"")
    assert (await ask(site(public), "/logo.unknown")).header("content-type") == "image/png"
    assert (await ask(site(public), "/empty.unknown")).header("content-type") == "text/plain; charset=utf-8"


async def test_headers_of_the_section(public: Path) -> None:
    response = {"cache-control": "max-age=60", "content-type": "text/x"}
    answer = await ask(site(public, request={"x-in": "1"}, response=response), "/a.css")
    assert answer.header("cache-control") == "max-age=60"
    assert answer.header("content-type") == "text/x"


async def test_they_are_not_for_what_php_answers(public: Path) -> None:
    seen: list[Scope] = []
    app = site(public, page(b"", seen=seen), request={"x-in": "1"}, response={"x-out": "1"})
    assert (await ask(app, "/")).fields == []
    assert seen[0]["headers"] == []


async def test_etags_are_those_of_roadrunner(public: Path) -> None:
    """The values are those of roadrunner-server/static v2.14.4, run with these files."""
    put(public / "b.txt", bytes(range(256)) * 1000)
    strong, weak = site(public, calculate_etag=True), site(public, calculate_etag=True, weak=True)
    assert (await ask(strong, "/a.css")).header("etag") == ETAGS[0]
    assert (await ask(strong, "/b.txt")).header("etag") == ETAGS[1]
    assert (await ask(weak, "/a.css")).header("etag") == ETAGS[2]


ETAGS = ['"6-4112014896"', '"256000-2698991436"', 'W/"3348524111"']


async def test_an_empty_file_has_no_strong_etag(public: Path) -> None:
    put(public / "empty.css", b"")
    assert (await ask(site(public, calculate_etag=True), "/empty.css")).header("etag") == ""


async def test_a_file_that_is_written_gets_another_etag(public: Path) -> None:
    app = site(public, calculate_etag=True)
    before = (await ask(app, "/a.css")).header("etag")
    assert (await ask(app, "/a.css")).header("etag") == before
    (public / "a.css").write_bytes(b"BODY{}")
    assert (await ask(app, "/a.css")).header("etag") != before


async def test_many_who_ask_for_a_large_file_get_the_same_etag(public: Path) -> None:
    put(public / "large.bin", os.urandom(5 * PIECE + 3))
    app = site(public, calculate_etag=True)
    answers = await asyncio.gather(*(ask(app, "/large.bin", "HEAD") for _ in range(20)))
    assert len({answer.header("etag") for answer in answers}) == 1
    assert answers[0].header("etag").startswith('"327683-')


async def test_a_client_that_knows_the_file_gets_304(public: Path) -> None:
    app = site(public, calculate_etag=True)
    etag = (await ask(app, "/a.css")).header("etag")
    answer = await ask(app, "/a.css", headers=[("If-None-Match", f'"x", {etag}')])
    assert (answer.status, answer.fields, answer.body) == (304, [("etag", etag)], b"")
    answer = await ask(site(public), "/a.css", headers=[("If-Modified-Since", DATE)])
    assert (answer.status, answer.fields, answer.body) == (304, [("last-modified", DATE)], b"")


async def test_a_large_file_is_sent_in_pieces(public: Path) -> None:
    data = os.urandom(3 * PIECE + 5)
    put(public / "large.bin", data)
    answer = await ask(site(public), "/large.bin")
    assert answer.body == data
    assert answer.complete
    assert max(map(len, answer.pieces)) == PIECE
    answer = await ask(site(public), "/large.bin", headers=[("Range", f"bytes=1-{2 * PIECE}")])
    assert answer.body == data[1 : 2 * PIECE + 1]
    assert answer.header("content-range") == f"bytes 1-{2 * PIECE}/{len(data)}"


async def test_several_ranges_are_parts_of_a_message(public: Path) -> None:
    put(public / "digits.txt", b"0123456789")
    answer = await ask(site(public), "/digits.txt", headers=[("Range", "bytes=0-1,-2")])
    content_type = answer.header("content-type")
    boundary = content_type.removeprefix("multipart/byteranges; boundary=")
    of_all = "Content-Type: text/plain; charset=utf-8\r\n\r\n"
    assert answer.body.decode() == (
        f"--{boundary}\r\nContent-Range: bytes 0-1/10\r\n{of_all}01"
        f"\r\n--{boundary}\r\nContent-Range: bytes 8-9/10\r\n{of_all}89"
        f"\r\n--{boundary}--\r\n"
    )
    assert (answer.status, answer.header("content-length")) == (206, str(len(answer.body)))


async def test_large_ranges_are_sent_in_pieces_too(public: Path) -> None:
    data = os.urandom(4 * PIECE)
    put(public / "large.bin", data)
    answer = await ask(site(public), "/large.bin", headers=[("Range", f"bytes=0-{PIECE},{2 * PIECE}-")])
    assert data[: PIECE + 1] in answer.body
    assert data[2 * PIECE :] in answer.body
    assert answer.header("content-length") == str(len(answer.body))


async def test_others_have_their_turns_while_a_large_file_is_sent(public: Path) -> None:
    put(public / "large.bin", bytes(20 * PIECE))
    turns: list[int] = []
    loop = asyncio.get_running_loop()

    def look(answer: Answer) -> None:
        loop.call_soon(lambda: turns.append(len(answer.pieces)))

    await ask(site(public), "/large.bin", on_piece=look)
    assert turns[:20] == list(range(1, 21))


async def test_an_answer_that_is_cancelled_ends_the_reading(public: Path) -> None:
    """The server does that when the client has gone."""
    put(public / "huge.bin", b"")
    os.truncate(public / "huge.bin", 1 << 40)  # Whoever reads all of it does not come back.
    tasks: list[asyncio.Task[Answer]] = []

    def leave(answer: Answer) -> None:
        if len(answer.pieces) == 3:
            tasks[0].cancel()

    tasks.append(asyncio.ensure_future(ask(site(public), "/huge.bin", on_piece=leave)))
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert open_files() == []


def open_files() -> list[str]:
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return [target for link in links if os.path.lexists(link) and "public" in (target := os.readlink(link))]


async def test_a_file_that_becomes_shorter_ends_the_answer(public: Path) -> None:
    path = put(public / "log.txt", bytes(10 * PIECE))

    def cut(answer: Answer) -> None:
        if len(answer.pieces) == 2:
            os.truncate(path, 3 * PIECE)

    answer = await ask(site(public), "/log.txt", on_piece=cut)
    assert len(answer.body) == 3 * PIECE
    assert not answer.complete  # The server closes the connection then, so the client learns of it.
    assert open_files() == []


async def test_no_descriptor_is_left_open(public: Path) -> None:
    app = site(public, calculate_etag=True)
    put(public / "large.bin", bytes(2 * PIECE))
    for target, headers in (
        ("/a.css", []),
        ("/large.bin", []),
        ("/large.bin", [("Range", "bytes=x")]),
        ("/a.css", [("If-Modified-Since", DATE)]),
        ("/", []),
    ):
        await ask(app, target, headers=headers)
        await ask(app, target, "HEAD", headers)
    assert open_files() == []


async def test_without_descriptors_the_answer_is_503_and_not_that_of_php(public: Path) -> None:
    app, (soft, hard) = site(public), resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
    try:
        answer = await ask(app, "/a.css")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(taken)
    assert (answer.status, answer.body) == (503, b"too many open files\n")


async def test_what_is_not_in_memory_is_read_by_a_thread(
    public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that cannot tell whether it is."""
    readers: set[str] = set()

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        readers.add(threading.current_thread().name)
        return original(descriptor, size, offset)

    original = os.pread
    monkeypatch.setattr(os, "pread", pread)
    monkeypatch.setattr(files, "_CACHED_ONLY", 0)
    data = os.urandom(2 * PIECE + 1)
    put(public / "cold.bin", data)
    assert (await ask(site(public), "/cold.bin")).body == data
    assert (await ask(site(public), "/a.css")).body == b"body{}"
    assert readers and threading.main_thread().name not in readers
