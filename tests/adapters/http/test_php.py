"""Pages by PHP, over real sockets, with workers that a test plays; real ones in `tests/e2e/test_pages.py`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.adapters.http.php import PHPPages
from rr_py_ws.config import HTTP, Limits, Uploads
from rr_py_ws.errors import ExecTimeout, NoFreeWorkers, SoftJobError, WorkerError, WorkersDown
from rr_py_ws.wire.worker import Message, Question
from support.http_site import Site, Start, get, parse
from support.waiting import eventually
from support.ws_peer import Client

FORM = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = "Content-Type: multipart/form-data; boundary=x"


def answer(body: bytes = b"", status: int = 200, **headers: list[str]) -> Message:
    return Message(json.dumps({"status": status, "headers": headers}).encode(), body)


class Workers:
    """Plays the pool.

    Attributes:
        asked: the questions, in order.
        answer: what is answered, or raised.
        look: called with each question, before the answer.
    """

    allocate_timeout = 60.0

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.answer: Message | WorkerError = answer(b"hello")
        self.look: Callable[[Question], None] = lambda question: None

    async def exec_streamed(self, question: Question, limit: float = 0.0) -> tuple[Message, None]:
        self.asked.append(question)
        self.look(question)
        if isinstance(self.answer, WorkerError):
            raise self.answer
        return self.answer, None

    @property
    def context(self) -> Any:
        """The context of the last question."""
        return json.loads(self.asked[-1].context)


@pytest.fixture
def workers() -> Workers:
    return Workers()


Serve = Callable[..., PHPPages]


@pytest.fixture
def serve(site: Site, workers: Workers, tmp_path: Path) -> Serve:
    """Answer all paths by PHP, with keys of `http` and limits that are to be different."""

    def serve(limits: dict[str, Any] | None = None, **section: Any) -> PHPPages:
        section = {"uploads": Uploads(dir=str(tmp_path))} | section
        pages = PHPPages(workers, HTTP(**section), Limits(**limits or {}))  # type: ignore[arg-type]
        site.serve(pages)
        return pages

    return serve


def post(body: bytes, *headers: str, method: str = "POST") -> bytes:
    return get("/page", f"Content-Length: {len(body)}", "Connection: close", *headers, method=method) + body


def form(*parts: tuple[str, bytes]) -> bytes:
    """Parts of a multipart form: what is behind `form-data; `, and the content."""
    lines = [
        b"--x\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (head.encode(), body)
        for head, body in parts
    ]
    return b"".join(lines) + b"--x--\r\n"


@pytest.mark.parametrize(
    ("error", "busy"),
    [(SoftJobError, False), (ExecTimeout, False), (NoFreeWorkers, True), (WorkersDown, True)],
)
async def test_a_failure_is_a_status_and_nothing_else(
    site: Site, serve: Serve, workers: Workers, error: type[WorkerError], busy: bool
) -> None:
    serve(internal_error_code=503)
    # Made here: the traceback holds the connection as long as there is the error.
    workers.answer = error("secret")
    status, headers, body = await site.ask(post(b""))
    assert (status, headers["No-Workers"], body) == (503, "true" if busy else None, b"")


async def test_an_answer_that_cannot_be_read(site: Site, serve: Serve, workers: Workers) -> None:
    serve()
    workers.answer = Message(b"nonsense", b"secret")
    status, _, body = await site.ask(post(b""))
    assert (status, body) == (500, b"")


@pytest.mark.parametrize("status", [-1, 0, 99, 101, 600, 1000])
async def test_a_status_that_there_is_not(site: Site, serve: Serve, workers: Workers, status: int) -> None:
    serve()
    workers.answer = answer(status=status)
    found, _, body = await site.ask(post(b""))
    assert (found, body) == (500, b"unknown status code from worker: %d" % status)


async def test_php_does_not_frame_its_answer(site: Site, serve: Serve, workers: Workers) -> None:
    serve()
    workers.answer = answer(
        b"hello", **{"Content-Length": ["99"], "Transfer-Encoding": ["chunked"], "A": ["b"]}
    )
    _, headers, body = await site.ask(post(b""))
    assert (headers.get_all("content-length"), headers["transfer-encoding"], body) == (["5"], None, b"hello")


@pytest.mark.parametrize(
    ("said", "status", "sent"),
    [
        (["99"], 200, ["99"]),
        (["99", "98"], 200, ["99"]),
        (["many"], 200, None),
        (["-1"], 200, None),
        (["9" * 5000], 200, None),
        ([""], 200, None),
        (["99"], 204, None),
        (["99"], 304, None),
    ],
)
async def test_a_head_request_has_the_length_that_php_says_if_there_can_be_one(
    site: Site, serve: Serve, workers: Workers, said: list[str], status: int, sent: list[str] | None
) -> None:
    """As Go sends it. What is no number was answered 500, two of them were both sent."""
    serve()
    workers.answer = answer(b"", status, **{"Content-Length": said})
    got, headers, body = await site.ask(get("/page", "Connection: close", method="HEAD"))
    assert (got, headers.get_all("content-length"), body) == (status, sent, b"")


async def test_options_for_the_server_itself(site: Site, serve: Serve, workers: Workers) -> None:
    serve()
    status, _, body = await site.ask(get("*", "Connection: close", method="OPTIONS"))
    assert (status, body, workers.asked) == (200, b"", [])


@pytest.mark.parametrize("host", [b"", b"Host:\r\n", b"Host: \t \r\n"])
async def test_a_uri_has_a_host_also_when_the_request_has_none(
    site: Site, serve: Serve, workers: Workers, host: bytes
) -> None:
    """Point 1: HAProxy's checks are HTTP/1.0 without a host, and PSR-7 libraries throw at `http:///`."""
    serve()
    assert (await site.ask(b"GET /check?a HTTP/1.0\r\n%b\r\n" % host))[0] == 200
    address, port = site.address
    assert workers.context["uri"] == f"http://{address}:{port}/check?a"


@pytest.mark.parametrize("host", [b"Host:\r\n", b"Host: \t \r\n"])
async def test_an_empty_host_is_none(site: Site, serve: Serve, workers: Workers, host: bytes) -> None:
    """Point 1."""
    serve()
    status, _, text = await site.ask(b"GET / HTTP/1.1\r\n%b\r\n" % host)
    assert (status, text, workers.asked) == (400, b"malformed Host header", [])
    head = b"GET http://b.example/x HTTP/1.1\r\nConnection: close\r\n%b\r\n" % host
    assert (await site.ask(head))[0] == 200
    assert workers.context["uri"] == "http://b.example/x"


@pytest.mark.parametrize("length", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
async def test_a_body_that_is_too_large(site: Site, serve: Serve, workers: Workers, length: bytes) -> None:
    """As soon as it is announced, or when it has come."""
    serve(max_request_size=8)
    body = b"" if b"Content" in length else b"9\r\n123456789\r\n"
    client = await site.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + length + b"\r\n\r\n" + body)
    status, _, text = parse(await client.rest())
    assert (status, text, workers.asked) == (413, b"a body over the limit of 8 bytes", [])


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (FORM, b"a=" + b"b" * 100, 413),
        (FORM, b"a&" * 6, 413),
        (FORM, b"a=%zz", 400),
        (FORM, b"a=1&a[b][c]=2", 400),
        (MULTIPART, form(('name="a"', b"b" * 100)), 413),
        (MULTIPART, form(*[('name="a"', b"")] * 6), 413),
        (MULTIPART, form(('name="a"', b""))[:-4], 400),
        (MULTIPART, b"nonsense", 400),
        ("Content-Type: multipart/form-data", b"--x--\r\n", 400),
    ],
)
async def test_forms_that_are_refused(
    site: Site, serve: Serve, workers: Workers, headers: str, body: bytes, status: int
) -> None:
    serve({"max_form": 64, "max_form_fields": 5})
    assert (await site.ask(post(body, headers)))[0] == status
    assert workers.asked == []


async def test_raw_forms(site: Site, serve: Serve, workers: Workers) -> None:
    serve(raw_body=True)
    await site.ask(post(b"a=%zz", FORM))
    assert (workers.asked[-1].body, workers.context["parsed"]) == (b"a=%zz", False)


async def test_files_are_there_until_the_answer(
    site: Site, serve: Serve, workers: Workers, tmp_path: Path
) -> None:
    serve()
    seen: list[bytes] = []

    def look(question: Question) -> None:
        for file in json.loads(question.context)["uploads"]["f"]:
            seen.append(Path(file["tmpName"]).read_bytes())
        Path(file["tmpName"]).unlink()  # PHP may move it away

    workers.look = look
    files = [('name="f[]"; filename="a"', b"one"), ('name="f[]"; filename="b"', b"x" * 300_000)]
    await site.ask(post(form(*files), MULTIPART))
    assert seen == [b"one", b"x" * 300_000]
    await eventually(lambda: list(tmp_path.iterdir()) == [])


async def test_a_file_that_cannot_be_removed_keeps_no_other(
    site: Site, serve: Serve, workers: Workers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It kept all that came behind it in the form."""
    serve()
    names: list[str] = []

    def look(question: Question) -> None:
        uploads = json.loads(question.context)["uploads"]
        names.extend(uploads[field]["tmpName"] for field in "fg")
        Path(names[0]).unlink()
        Path(names[0]).mkdir()

    workers.look = look
    files = [(f'name="{field}"; filename="a"', b"one") for field in "fg"]
    status, _, body = await site.ask(post(form(*files), MULTIPART))
    assert (status, body) == (200, b"hello")
    await eventually(lambda: os.listdir(tmp_path) == [os.path.basename(names[0])])
    await eventually(lambda: "an upload cannot be removed, see http.uploads.dir" in capsys.readouterr().err)


async def test_files_of_a_form_that_is_refused_are_gone(
    site: Site, serve: Serve, workers: Workers, tmp_path: Path
) -> None:
    serve()
    await site.ask(post(form(('name="f"; filename="a"', b"one"))[:-6], MULTIPART))
    assert (workers.asked, os.listdir(tmp_path)) == ([], [])


async def test_a_stop_does_not_wait_for_a_worker_whose_client_has_gone(
    site: Site, serve: Serve, workers: Workers, tmp_path: Path
) -> None:
    """Else the files stay as long as it works with them."""
    withdrawn = asyncio.Event()

    async def exec_streamed(question: Question, limit: float = 0.0) -> tuple[Message, None]:
        workers.asked.append(question)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            withdrawn.set()
            await asyncio.get_running_loop().create_future()
        raise AssertionError

    serve()
    workers.exec_streamed = exec_streamed  # type: ignore[method-assign]
    client = await site.send(post(form(('name="f"; filename="a"', b"one")), MULTIPART))
    await eventually(lambda: workers.asked)
    client.reset()
    await withdrawn.wait()
    assert len(os.listdir(tmp_path)) == 1
    await site.listener.stop(5.0)
    assert os.listdir(tmp_path) == []


async def test_files_of_a_client_that_goes_away_are_gone(site: Site, serve: Serve, tmp_path: Path) -> None:
    serve()
    body = form(('name="f"; filename="a"', b"x" * 300_000))
    client = await site.send(post(body, MULTIPART)[:-20])
    await eventually(lambda: list(tmp_path.iterdir()) != [])
    client.reset()
    await eventually(lambda: list(tmp_path.iterdir()) == [])


@pytest.mark.parametrize(
    ("options", "errors"),
    [({}, [8, 0]), ({"forbid": (".b",)}, [0, 8]), ({"forbid": (), "allow": (".b",)}, [8, 0])],
)
async def test_extensions(
    site: Site, serve: Serve, workers: Workers, tmp_path: Path, options: dict[str, Any], errors: list[int]
) -> None:
    serve(uploads=Uploads(dir=str(tmp_path), **options))
    await site.ask(
        post(form(*[(f'name="f[]"; filename="{name}"', b"") for name in ("a.PHP", "a.b")]), MULTIPART)
    )
    assert [file["error"] for file in workers.context["uploads"]["f"]] == errors


async def test_uploads_without_a_directory_are_errors_for_php(
    site: Site, serve: Serve, workers: Workers, tmp_path: Path
) -> None:
    serve(uploads=Uploads(dir=str(tmp_path / "missing")))
    await site.ask(post(form(('name="f"; filename="a"', b"one")), MULTIPART))
    file = workers.context["uploads"]["f"]
    assert (file["error"], file["size"], file["tmpName"]) == (6, 0, "")


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 1_000_000])
async def test_a_raw_body_of_any_size(
    site: Site, serve: Serve, workers: Workers, tmp_path: Path, size: int
) -> None:
    serve()
    found: list[bytes] = []
    workers.look = lambda question: found.append(bytes(question.body))
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    await site.ask(post(body))
    assert found == [body]
    assert os.listdir(tmp_path) == []  # its file has no name


class TestMemory:
    async def test_large_forms_are_refused_when_there_are_too_many(
        self, site: Site, serve: Serve, workers: Workers
    ) -> None:
        pages = serve({"page_memory": 200_000})
        large = post(b"a=" + b"b" * 150_000, FORM)
        first = await site.send(large[:-10])
        await eventually(lambda: held(pages, "form") > 100_000)
        assert (await site.ask(large))[0] == 503
        assert (await site.ask(post(b"a=1", FORM)))[0] == 200
        await first.send(large[-10:])
        assert parse(await first.rest())[0] == 200
        assert held(pages, "form") == 0

    async def test_the_oldest_of_the_answers_that_are_not_taken_is_cut(
        self, site: Site, serve: Serve, workers: Workers
    ) -> None:
        pages = serve({"page_memory": 10_000_000})
        workers.answer = answer(bytes(6_000_000))
        slow = [await site.send(post(b""), small_buffers=True)]
        await eventually(lambda: held(pages, "answer") == 6_000_000)
        slow.append(await site.send(post(b""), small_buffers=True))
        assert len(await taken(slow[0])) < 6_000_000
        assert len(await taken(slow[1])) > 6_000_000
        await eventually(lambda: held(pages, "answer") == 0)


def held(pages: PHPPages, kind: str) -> float:
    [sample] = [sample for sample in pages.metrics() if sample.name == "page_bytes"]
    return sample.values[kind,]


async def taken(client: Client) -> bytes:
    """What comes until the end, whatever end."""
    received = bytearray()
    try:
        while data := await client.receive():
            received += data
            await asyncio.sleep(0)
    except ConnectionResetError:
        pass
    return bytes(received)


async def test_a_page_that_waits_is_taken_back(
    start: Start, site: Site, workers: Workers, serve: Serve
) -> None:
    """A client that goes away waits for no worker any more."""
    serve()
    cancelled = asyncio.Event()

    async def never(question: Question, limit: float = 0.0) -> tuple[Message, None]:
        workers.asked.append(question)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    workers.exec_streamed = never  # type: ignore[method-assign]
    client = await site.send(post(b""))
    await eventually(lambda: workers.asked)
    client.close()
    await cancelled.wait()


@pytest.mark.parametrize("target", ["/page?", "/page??", "/page?a=1?", "/page", "/?"])
async def test_the_target_is_whole(site: Site, serve: Serve, workers: Workers, target: str) -> None:
    """Go's URL remembers a question mark with nothing behind it."""
    serve()
    await site.ask(get(target, "Connection: close"))
    assert workers.context["uri"] == f"http://app.test{target}"
    assert workers.context["rawQuery"] == target.partition("?")[2]


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "GET", "DELETE", "POST"])
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", MULTIPART[14:]])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_slow_body_is_read_to_its_end(
    site: Site, serve: Serve, workers: Workers, method: str, content_type: str, chunked: bool
) -> None:
    """Whatever PHP gets of it, the next request of the connection is found behind it."""
    serve()
    body = form(('name="a"', b"1")) if "multipart" in content_type else b"a=1"
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    if chunked:
        body = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    client = await site.send(get("/slow", f"Content-Type: {content_type}", length, method=method))
    for byte in body:
        assert workers.asked == []
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    await client.send(get("/next", "Connection: close"))
    assert (await client.rest()).count(b"HTTP/1.1 200 OK\r\n") == 2
    slow, following = (json.loads(question.context) for question in workers.asked)
    assert (slow["method"], slow["uri"]) == (method, "http://app.test/slow")
    assert following["uri"] == "http://app.test/next"


async def test_an_expectation_that_nobody_knows(site: Site, serve: Serve, workers: Workers) -> None:
    serve()
    status, _, _ = await site.ask(get("/page", "Expect: miracles"))
    assert (status, workers.asked) == (417, [])
    for known in ("100-Continue", "100-continue"):
        assert (await site.ask(get("/page", f"Expect: {known}", "Connection: close")))[0] == 200
