"""An application that another server answers, and its WebSockets, on one port."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.client import OpenRaw
from support.behind import OK, SWITCH, Behind, Peer, Serve
from support.blocking import BlockingClient, run
from support.http_site import get
from support.ports import free_port
from support.process import Server, Servers
from support.waiting import eventually_sync
from support.ws_peer import ACCEPT, request

APP = """<?php
header('X-App: yes');
if ($_SERVER['REQUEST_URI'] === '/upload') {
    echo hash_file('md5', $_FILES['file']['tmp_name']);
    return;
}
echo json_encode([
    'uri' => $_SERVER['REQUEST_URI'],
    'get' => $_GET,
    'post' => $_POST,
    'cookies' => $_COOKIE,
    'headers' => array_filter($_SERVER, fn($name) => str_starts_with($name, 'HTTP_'), ARRAY_FILTER_USE_KEY),
]);
"""
MB = 1024 * 1024


@pytest.fixture(scope="module")
def php_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """PHP's own server, with an application that says what it was asked."""
    directory = tmp_path_factory.mktemp("app")
    (directory / "index.php").write_text(APP)
    port = free_port()
    limits = ["-d", "upload_max_filesize=200M", "-d", "post_max_size=200M"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["php", *limits, "-S", f"127.0.0.1:{port}", "index.php"],
            cwd=directory,
            stdout=log,
            stderr=log,
        )
    try:
        eventually_sync(lambda: BlockingClient(("127.0.0.1", port)).close() is None, "PHP listens")
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(servers: Servers, php_port: int) -> Server:
    return servers.start(websockets={"http": {"forward": f"http://127.0.0.1:{php_port}"}})


@pytest.fixture
def behind() -> Iterator[Behind]:
    """A server behind in the event loop of the blocking clients; a test says what it does."""
    server = Behind(_not_asked)
    run(server.start())
    yield server
    run(server.stop())


async def _not_asked(peer: Peer) -> None:
    raise AssertionError("nobody should ask")


def serving(servers: Servers, behind: Behind, serve: Serve) -> Server:
    behind.serve = serve
    return servers.start(websockets={"http": {"forward": f"http://127.0.0.1:{behind.port}"}})


def answer(client: BlockingClient) -> tuple[str, bytes]:
    """Head and body of an answer that has a length, or chunks."""
    head = client.head().decode().lower()
    if "transfer-encoding: chunked" not in head:
        length = head.partition("content-length: ")[2].partition("\r\n")[0]
        return head, client.exactly(int(length))
    body = b""
    while True:
        size = b""
        while not size.endswith(b"\r\n"):
            size += client.exactly(1)
        part = client.exactly(int(size, 16) + 2)[:-2]
        if not part:
            return head, body
        body += part


def test_pages_and_a_websocket_over_one_connection(server: Server, raw: OpenRaw) -> None:
    client = raw(server)
    client.send(get("/a%20b/?x[]=1&x[]=2", "Cookie: sid=a%20b"))
    head, body = answer(client)
    page = json.loads(body)
    assert head.startswith("http/1.1 200 ok\r\n") and "\r\nx-app: yes\r\n" in head
    assert (page["uri"], page["get"], page["cookies"]) == (
        "/a%20b/?x[]=1&x[]=2",
        {"x": ["1", "2"]},
        {"sid": "a b"},
    )
    form = b"a[b]=c&d=e"
    kind = "Content-Type: application/x-www-form-urlencoded"
    client.send(get("/form", kind, f"Content-Length: {len(form)}", method="POST") + form)
    assert json.loads(answer(client)[1])["post"] == {"a": {"b": "c"}, "d": "e"}
    client.send(request())
    assert f"sec-websocket-accept: {ACCEPT}".lower() in client.head().decode().lower()


def test_php_sees_who_asks_and_nobody_can_forge_it(server: Server, raw: OpenRaw) -> None:
    client = raw(server)
    forged = ("X-Forwarded-For", "X_Forwarded_For", "X-Forwarded-Host", "X_FORWARDED_PROTO", "Forwarded")
    client.send(get("/", *(f"{name}: evil" for name in (*forged, "X-Real-IP", "Proxy"))))
    headers = json.loads(answer(client)[1])["headers"]
    assert headers.pop("HTTP_CDN_LOOP").startswith("rr-py-ws-")
    assert headers == {
        "HTTP_HOST": "app.test",
        "HTTP_X_FORWARDED_FOR": "127.0.0.1",
        "HTTP_X_FORWARDED_HOST": "app.test",
        "HTTP_X_FORWARDED_PROTO": "http",
    }


def test_a_large_upload_takes_no_memory(server: Server, raw: OpenRaw) -> None:
    client = raw(server)
    begin = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    end = b"\r\n--x--\r\n"
    size = len(begin) + 100 * MB + len(end)
    kind = "Content-Type: multipart/form-data; boundary=x"
    client.send(get("/upload", kind, f"Content-Length: {size}", method="POST") + begin)
    before, most = server.memory(), 0
    for _ in range(100):
        client.send(bytes(MB))
        most = max(most, server.memory())
    client.send(end)
    assert answer(client)[1] == b"2f282b84e7e608d5852449ed940bfc51"  # md5 of 100 MiB of NUL
    assert most - before < 16 * MB


def test_a_websocket_of_another_path_is_a_tunnel_and_a_stop_ends_it(
    servers: Servers, behind: Behind, raw: OpenRaw
) -> None:
    async def serve(peer: Peer) -> None:
        assert b"GET /other HTTP/1.1\r\n" in await peer.head()
        await peer.send(SWITCH)
        await peer.send(await peer.exactly(5))
        assert await peer.rest() == b""

    server = serving(servers, behind, serve)
    client = raw(server)
    client.send(request("/other"))
    assert client.head().startswith(b"HTTP/1.1 101 ")
    client.send(b"hello")
    assert client.exactly(5) == b"hello"
    server.end()
    assert client.rest() == b""


def test_a_stop_lets_a_download_end(servers: Servers, behind: Behind, raw: OpenRaw) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await stopping.wait()
        await peer.send(b"world")

    stopping = asyncio.Event()
    server = serving(servers, behind, serve)
    client = raw(server)
    client.send(get("/"))
    client.head()
    assert client.exactly(5) == b"hello"
    server.signal(signal.SIGTERM)
    server.log.wait_for("stopping")
    run(_set(stopping))
    assert client.rest() == b"world"
    client.close()
    assert server.wait() == 0


async def _set(event: asyncio.Event) -> None:
    event.set()


def test_many_requests_over_one_connection_leave_nothing(
    servers: Servers, behind: Behind, raw: OpenRaw
) -> None:
    async def serve(peer: Peer) -> None:
        while await peer.head():
            await peer.send(OK)

    server = serving(servers, behind, serve)
    client = raw(server)

    def ask(count: int) -> None:
        for _ in range(count // 50):
            client.send(get("/") * 50)  # pipelined
            for _ in range(50):
                assert answer(client)[1] == b"hello"

    ask(3000)  # the memory of Python's own pools
    before = server.memory(), server.descriptors()
    ask(5000)
    assert server.memory() - before[0] < 4 * MB
    assert server.descriptors() == before[1]
    assert behind.accepted == 1


def test_nothing_behind_is_a_plain_page(servers: Servers, raw: OpenRaw, tmp_path: Path) -> None:
    server = servers.start(websockets={"http": {"forward": f"unix://{tmp_path}/none.sock"}})
    client = raw(server)
    client.send(get("/page"))
    head, body = answer(client)
    assert head.startswith("http/1.1 502 ") and body.startswith(b"502 Bad Gateway\n")
    assert "cannot connect: No such file or directory" in server.log.wait_for("request not answered")


def test_without_a_server_behind_a_page_names_its_path(servers: Servers, raw: OpenRaw) -> None:
    client = raw(servers.start())
    client.send(get("/<b>%0Apage"))
    assert client.rest().endswith(b"\r\n\r\nnothing is served at /<b>\\npage; WebSockets are at /ws\n")
