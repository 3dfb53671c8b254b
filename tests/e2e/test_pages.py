"""Pages on the port of the WebSockets, made by real PHP workers: what PHP is asked, and what clients get."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from e2e.client import Connect, OpenRaw
from support.blocking import BlockingClient
from support.process import Server, Servers
from support.waiting import eventually_sync

WORKER = "pages.php"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
BOUNDARY = "a-boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps uploads."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def server(servers: Servers, uploads: Path) -> Server:
    started = servers.start(
        WORKER,
        http={"pool": {"num_workers": 2}, "uploads": {"dir": str(uploads)}, "max_request_size": 120},
    )
    # What workers do in these tests is an error for the log.
    started.tolerated += ["a page failed", "a page broke off"]
    return started


class Pages:
    """A client that keeps its connection."""

    def __init__(self, server: Server) -> None:
        self.connection = HTTPConnection(*server.address, timeout=30)

    def __call__(
        self,
        path: str,
        body: bytes | str | Iterator[bytes] | None = None,
        method: str | None = None,
        **headers: str,
    ) -> HTTPResponse:
        """Ask for a page; the answer is still to be read."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method or ("POST" if body else "GET"), path, body, named)
        return self.connection.getresponse()

    def json(self, path: str, *args: Any, **headers: str) -> Any:
        """Ask for a page with JSON."""
        return json.loads(self(path, *args, **headers).read())


@pytest.fixture
def ask(server: Server) -> Iterator[Pages]:
    pages = Pages(server)
    yield pages
    pages.connection.close()


def part(name: str, content: bytes, file: str | None = None, mime: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{file}"' if file is not None else "")
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n"
    head += f"Content-Type: {mime}\r\n" if mime else ""
    return head.encode() + b"\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


class TestWhatPHPIsAsked:
    def test_a_request_without_a_body(self, ask: Pages) -> None:
        page = ask.json("/some/page?a=1&b=%20x", Cookie="sid=a+b; bad=%zz", X_Tag="1")
        assert (page["method"], page["rawQuery"], page["protocol"]) == ("GET", "a=1&b=%20x", "HTTP/1.1")
        assert page["uri"] == f"http://{ask.connection.host}:{ask.connection.port}/some/page?a=1&b=%20x"
        assert page["headers"]["X-Tag"] == ["1"] and "Host" not in page["headers"]
        assert page["cookies"] == {"sid": "a b"}
        assert (page["remoteAddr"], page["body"], page["parsed"]) == ("127.0.0.1", "", False)
        assert page["uploads"] == page["attributes"] == []

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "GET"])
    def test_a_body_is_passed_on_as_it_is(self, ask: Pages, method: str) -> None:
        page = ask.json("/", b'{"a": [1]}', method, Content_Type="application/json")
        assert (page["method"], page["body"], page["parsed"]) == (method, '{"a": [1]}', False)

    def test_a_body_in_chunks(self, ask: Pages) -> None:
        page = ask.json("/", iter([b"one ", b"two ", b"three"]), "POST", Content_Type="text/plain")
        assert page["body"] == "one two three"
        assert {"Content-Length", "Transfer-Encoding"} & page["headers"].keys() == set()

    def test_a_form_with_nested_names(self, ask: Pages) -> None:
        body = "a=1&a=2&list[]=x&list[]=y&user[name][first]=J%C3%B6rg&user[tags][]=p+q&s p=1&empty="
        page = ask.json("/", body, Content_Type="application/x-www-form-urlencoded")
        assert page["parsed"] is True
        assert json.loads(page["body"]) == {
            "a": "2",
            "empty": "",
            "list": ["x", "y"],
            "sp": "1",
            "user": {"name": {"first": "Jörg"}, "tags": ["p q"]},
        }

    def test_a_form_of_another_method_is_empty(self, ask: Pages) -> None:
        page = ask.json("/", b"a=1", "DELETE", Content_Type="application/x-www-form-urlencoded")
        assert (page["body"], page["parsed"]) == ("{}", True)

    def test_files_of_a_form_are_gone_after_the_answer(self, ask: Pages, uploads: Path) -> None:
        body = form(
            part("title", b"holiday"),
            part("photos[]", b"\xff\xd8one", "C:/a/one.jpg", "image/jpeg"),
            part("photos[]", b"two", "two.JPG", "image/jpeg"),
            part("docs[cv]", b"\r\n--a-bound", "cv.txt"),
        )
        page = ask.json("/files", body, Content_Type=MULTIPART)
        one, two = page["photos"]
        assert (one["name"], one["mime"], one["size"], one["error"]) == ("one.jpg", "image/jpeg", 5, 0)
        assert two["name"] == "two.JPG"
        assert page["docs"]["cv"]["md5"] == hashlib.md5(b"\r\n--a-bound").hexdigest()
        assert all(Path(file["tmpName"]).parent == uploads for file in page["photos"])
        eventually_sync(lambda: list(uploads.iterdir()) == [])

    def test_fields_beside_files(self, ask: Pages) -> None:
        body = form(part("a[b]", b"1"), part("f", b"x", "x.exe"), part("none", b"", "", "x/y"))
        page = ask.json("/", body, Content_Type=MULTIPART)
        assert json.loads(page["body"]) == {"a": {"b": "1"}, "none": ""}
        forbidden = {"name": "x.exe", "mime": "", "size": 0, "error": 8, "tmpName": ""}
        assert page["uploads"] == {"f": forbidden}

    def test_head_and_options_have_no_body(self, ask: Pages) -> None:
        answer = ask("/hello", method="HEAD")
        assert (answer.status, answer.read()) == (200, b"")
        page = ask.json("/", b"a=1", "OPTIONS", Content_Type="application/x-www-form-urlencoded")
        assert (page["body"], page["parsed"]) == ("", False)


class TestWhatClientsGet:
    def test_status_headers_and_body(self, ask: Pages) -> None:
        answer = ask("/status?code=418")
        assert (answer.status, answer.headers.get_all("x-many"), answer.read()) == (418, ["a", "b"], b"body")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["date"].endswith("GMT")

    def test_the_type_is_guessed_as_in_go(self, ask: Pages) -> None:
        assert ask("/html").headers["content-type"] == "text/html; charset=utf-8"

    @pytest.mark.parametrize("status", [204, 304])
    def test_a_status_without_a_body(self, ask: Pages, status: int) -> None:
        answer = ask(f"/status?code={status}")
        assert (answer.status, answer.read()) == (status, b"")
        assert ask("/hello").read() == b"hello"

    def test_a_large_page(self, ask: Pages) -> None:
        answer = ask("/large?tens=500000")
        assert answer.headers["content-length"] == "5000000"
        assert answer.read() == b"0123456789" * 500_000

    def test_trailers(self, server: Server, raw: OpenRaw) -> None:
        client = raw(server)
        client.send(b"GET /trailers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        head, _, body = client.rest().partition(b"\r\n\r\n")
        assert b"trailer: X-Sum" in head and b"content-length" not in head
        assert body == b"6\r\nsummed\r\n0\r\nx-sum: 42\r\n\r\n"

    def test_a_page_in_parts_comes_as_it_is_made(self, ask: Pages, tmp_path: Path) -> None:
        answer = ask(f"/parts?for={tmp_path / 'go'}")
        assert answer.read(6) == b"first "
        (tmp_path / "go").touch()
        assert answer.read() == b"second third"
        assert ask("/hello").read() == b"hello"

    def test_an_old_client_gets_no_chunks(self, server: Server, raw: OpenRaw, tmp_path: Path) -> None:
        (tmp_path / "go").touch()
        client = raw(server)
        client.send(f"GET /parts?for={tmp_path / 'go'} HTTP/1.0\r\nHost: a\r\n\r\n".encode())
        assert client.rest().partition(b"\r\n\r\n")[2] == b"first second third"


class TestFailures:
    def test_a_worker_that_dies(self, ask: Pages) -> None:
        answer = ask("/dies")
        assert (answer.status, answer.read()) == (500, b"")
        assert ask("/hello").read() == b"hello"

    def test_a_worker_that_reports_an_error(self, ask: Pages) -> None:
        answer = ask("/throws")
        assert (answer.status, answer.read()) == (500, b"")

    def test_a_worker_that_dies_in_the_middle_of_its_answer(self, server: Server, raw: OpenRaw) -> None:
        """The client must not take a part for the whole."""
        client = raw(server)
        client.send(b"GET /dies-in-parts HTTP/1.1\r\nHost: a\r\n\r\n")
        received = b""
        try:
            while data := client.receive():
                received += data
        except ConnectionResetError:
            pass
        assert received.endswith(b"half of it\r\n")

    def test_a_client_that_goes_away_does_not_disturb_the_worker(
        self, server: Server, ask: Pages, raw: OpenRaw, tmp_path: Path
    ) -> None:
        for number in range(2):  # as many as there are workers
            client = raw(server)
            client.send(f"GET /await?for={tmp_path / 'go'}&n={number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            client.close()
        (tmp_path / "go").touch()
        assert ask("/hello").read() == b"hello"

    def test_a_client_that_goes_away_does_not_take_its_files_from_the_worker(
        self, server: Server, ask: Pages, raw: OpenRaw, uploads: Path, tmp_path: Path
    ) -> None:
        """PHP was in the middle of storing them, and they vanished."""
        begun, go, seen = (tmp_path / name for name in ("begun", "go", "seen"))
        body = form(part("f", b"x" * 100_000, "a.txt"))
        head = (
            f"POST /late-files?begun={begun}&for={go}&then={seen} HTTP/1.1\r\nHost: a\r\n"
            f"Content-Type: {MULTIPART}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        client = raw(server)
        client.send(head.encode() + body)
        eventually_sync(begun.exists)
        client.reset()
        assert ask("/hello").read() == b"hello"  # it has been told of the end by now
        assert len(list(uploads.iterdir())) == 1
        go.touch()
        eventually_sync(lambda: seen.exists() and seen.read_text() != "")
        assert json.loads(seen.read_text())["f"]["md5"] == hashlib.md5(b"x" * 100_000).hexdigest()
        eventually_sync(lambda: list(uploads.iterdir()) == [])

    def test_a_client_that_goes_away_ends_a_page_in_parts(
        self, server: Server, ask: Pages, raw: OpenRaw, tmp_path: Path
    ) -> None:
        eventually_sync(lambda: _states(server) == ["ready"] * 2)  # after what other tests have done
        before = server.workers("http")
        client = raw(server, small_buffers=True)
        client.send(f"GET /endless?then={tmp_path / 'ended'} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        client.exactly(100_000)
        client.reset()
        eventually_sync((tmp_path / "ended").exists)
        assert ask("/hello").read() == b"hello"
        assert server.workers("http") == before  # none was replaced

    def test_a_slow_client_keeps_a_page_in_parts_waiting(
        self, server: Server, raw: OpenRaw, tmp_path: Path
    ) -> None:
        before = server.memory()
        client = raw(server, small_buffers=True)
        client.send(f"GET /endless?then={tmp_path / 'ended'} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        for _ in range(20):
            client.exactly(500_000)
        assert not (tmp_path / "ended").exists()
        assert server.memory() - before < 8 << 20
        client.reset()
        eventually_sync((tmp_path / "ended").exists)

    def test_no_status_that_http_has(self, ask: Pages) -> None:
        answer = ask("/status?code=599")
        assert answer.status == 599


class TestKeepAlive:
    def test_a_websocket_as_the_third_request(self, server: Server, raw: OpenRaw) -> None:
        client = raw(server)
        for _ in range(2):
            client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"content-length: 5" in client.head()
            assert client.exactly(5) == b"hello"
        client.send(UPGRADE)
        assert client.head().startswith(b"HTTP/1.1 101 ")
        client.command("join", ["news"])
        client.expect('{"topic":"@join","payload":["news"]}')

    def test_pipelined_requests_are_answered_in_order_and_then_upgraded(
        self, server: Server, raw: OpenRaw
    ) -> None:
        client = raw(server)
        chunked = b"POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(
            b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
            + chunked
            + b"5\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: a\r\n\r\n"
            + b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
            + UPGRADE
        )
        client.head()
        assert client.exactly(5) == b"hello"
        for length in (6, 3):
            head = client.head().decode()
            size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            assert json.loads(client.exactly(size))["length"] == length
        assert client.head().startswith(b"HTTP/1.1 101 ")

    def test_ten_thousand_requests_of_one_connection_leave_nothing(self, server: Server) -> None:
        with socket.create_connection(server.address, 30) as client:
            _ask_hello(client, 500)
            before, descriptors = server.memory(), server.descriptors()
            _ask_hello(client, 10_000)
            assert server.memory() - before < 2 << 20
            assert server.descriptors() <= descriptors

    @pytest.mark.parametrize(
        "second",
        [
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
            b"POST /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            *(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding" + coding + b"\r\n\r\n0\r\n\r\n"
                for coding in (
                    *(b" : chunked", b": \x0bchunked", b': "chunked"', b": chunked;a=b", b": gzip, chunked"),
                    *(b": chunked, identity", b": identity", b":", b":\r\n chunked"),
                    b": chunked\r\nTransfer-Encoding: chunked",
                )
            ),
            *(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length" + length + b"\r\n\r\nabc"
                for length in (
                    *(b": 3, 3", b": 3\r\nContent-Length: 3", b": 0x3", b": -3", b":", b": 1_0"),
                    *(b": 99999999999999999999999", b": \xd9\xa3", b" : 3", b": 3 3", b"\r\n: 3"),
                )
            ),
            *(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
                for chunks in (
                    *(b"0x3\r\nabc\r\n0\r\n\r\n", b"+3\r\nabc\r\n0\r\n\r\n", b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
                    *(
                        b"ffffffffffffffff3\r\nabc\r\n0\r\n\r\n",
                        b"3\r\nabc\n0\r\n\r\n",
                        b"\r\nabc\r\n0\r\n\r\n",
                    ),
                    *(b"3\r\nabc\r\n0\n\n", b"3\r\nabc\r\n0\r\n\n", b"3\r\nabc\r\n0\r\nfoo\r\n\r\n"),
                    b"3\r\nabc\r\n0\r\nA: b\n\r\n",
                )
            ),
            *(
                b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n"
                for line in (
                    *(b"X: a\rb", b"X: a\0b", b"foo", b": x", b"X y: z", b"X: y\nA: z", b"\tb", b"hOST: a"),
                )
            ),
            *(
                b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
                for host in (b"a, b", b"a@b", b"a/b", b"a b", b"a\rX: b")
            ),
            *(
                line + b"\r\nHost: a\r\n\r\n"
                for line in (b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b"GET\t/ HTTP/1.1")
            ),
            b"GET /\r\n\r\n",
            b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
    )
    @pytest.mark.parametrize("before", [0, 1])
    def test_what_a_proxy_may_understand_otherwise_ends_the_connection(
        self, server: Server, raw: OpenRaw, before: int, second: bytes
    ) -> None:
        client = raw(server)
        for _ in range(before):
            client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            client.head()
            assert client.exactly(5) == b"hello"
        client.send(second + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = client.rest()
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ")) and b"smuggled" not in answer
        assert answer.count(b"HTTP/1.1 ") == 1


class TestLargeBodies:
    def test_over_the_limit_of_all_bodies(self, server: Server, ask: Pages) -> None:
        answer = ask("/", b"x", "POST", Content_Length=f"{200 << 20}")
        assert answer.status == 413

    @pytest.mark.parametrize("kind", ["raw", "file"])
    def test_a_large_upload_takes_no_memory(
        self, server: Server, ask: Pages, uploads: Path, kind: str
    ) -> None:
        # A raw body is one frame for PHP, which has limits of its own.
        block, count = os.urandom(1 << 20), 100 if kind == "file" else 20
        digest = hashlib.md5(block * count).hexdigest()
        ask("/hello").read()
        before, most = server.memory(), 0

        def body() -> Iterator[bytes]:
            nonlocal most
            if kind == "file":
                yield part("f", b"", "big.bin")[:-2]
            for _ in range(count):
                yield block
                most = max(most, server.memory())
            if kind == "file":
                yield b"\r\n" + form()

        if kind == "raw":
            page = ask.json("/length", body(), "POST", Content_Type="application/octet-stream")
        else:
            page = ask.json("/files", body(), "POST", Content_Type=MULTIPART)["f"]
        assert page["md5"] == digest
        assert most - before < 8 << 20
        eventually_sync(lambda: list(uploads.iterdir()) == [])


def test_a_slow_page_delays_no_handshake(
    server: Server, connect: Connect, raw: OpenRaw, tmp_path: Path
) -> None:
    for _ in range(4):
        raw(server).send(f"GET /await?for={tmp_path / 'go'} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    connect(server).join("news")
    (tmp_path / "go").touch()


def test_informer_and_resetter_know_the_workers(server: Server, ask: Pages) -> None:
    workers = server.workers("http")
    assert int(ask("/pid").read()) in workers
    assert json.loads(server.call("resetter.Reset", '"http"')) is True
    assert int(ask("/pid").read()) not in workers


def test_a_stop_lets_requests_finish_and_closes_idle_connections(servers: Servers, tmp_path: Path) -> None:
    server = servers.start(WORKER, http={"pool": {"num_workers": 1}})
    idle, busy, late = (BlockingClient(server.address) for _ in range(3))
    idle.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
    idle.head()
    assert idle.exactly(5) == b"hello"
    late.send(b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
    busy.send(f"GET /await?for={tmp_path / 'go'} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    eventually_sync(lambda: "working" in _states(server))
    server.signal(signal.SIGTERM)
    assert idle.rest() == b""
    late.send(b"def")
    (tmp_path / "go").touch()
    assert busy.rest().endswith(b"\r\n\r\ndone")
    assert json.loads(late.rest().partition(b"\r\n\r\n")[2])["length"] == 6
    for client in (idle, busy, late):
        client.close()
    assert server.wait() == 0


def _ask_hello(client: socket.socket, times: int) -> None:
    """Ask so often for a page, one request after the other; `http.client` would take twice the time."""
    for _ in range(times):
        client.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\nhello"):
            data = client.recv(4096)
            assert data, answer
            answer += data


def _states(server: Server) -> list[str]:
    workers = json.loads(server.call("informer.Workers", '"http"'))["workers"]
    return [worker["statusStr"] for worker in workers]
