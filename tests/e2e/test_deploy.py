"""The proxies of `deploy/`, with the files there, in front of the server and of a stand-in for RoadRunner."""

from __future__ import annotations

import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from e2e.client import Client
from support.php import REPOSITORY
from support.ports import free_port
from support.process import Server, Servers
from support.proxies import PATH, nginx, running
from support.waiting import DEADLINE, eventually_sync
from support.ws_peer import push

DEPLOY = REPOSITORY / "deploy"


class App(BaseHTTPRequestHandler):
    """RoadRunner's pages: says which path was asked for, and who the proxy says has asked."""

    def do_GET(self) -> None:
        body = f"{self.path} for {self.headers['X-Forwarded-For']} at {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def app() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), App) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def server(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """From the shared file, on ports that are free; everybody may join, since there is no PHP."""
    text = (DEPLOY / "rr.yaml").read_text()
    ports = {"8081": free_port(), "6002": free_port(), "2113": free_port(), "2115": free_port()}
    for old, new in ports.items():
        assert text.count(f"127.0.0.1:{old}\n") == 1
        text = text.replace(f"127.0.0.1:{old}\n", f"127.0.0.1:{new}\n")
    more = [
        "-o",
        "websockets.authorize=none",
        "-o",
        "websockets.allowed_origin=*",
        "-o",
        "logs.mode=production",
    ]
    server = Server(tmp_path_factory.mktemp("shared"), text, *more)
    server.config = {
        "http": {"address": f"127.0.0.1:{ports['8081']}"},
        "rpc": {"listen": f"tcp://127.0.0.1:{ports['6002']}"},
    }
    return servers.add(server)


def haproxy(directory: Path, text: str) -> list[str]:
    (directory / "haproxy.cfg").write_text(text.replace("maxconn 65536", "maxconn 64"))
    return ["haproxy", "-db", "-f", str(directory / "haproxy.cfg")]


def caddy(directory: Path, text: str) -> list[str]:
    (directory / "Caddyfile").write_text(f"{{\n\tadmin off\n}}\n{text}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]


CASES = [
    pytest.param(
        *case,
        id=case[0],
        marks=pytest.mark.skipif(not shutil.which(case[0], path=PATH), reason=f"no {case[0]} here"),
    )
    for case in (
        ("nginx", "nginx.conf", "listen 80;", "listen 127.0.0.1:{};", nginx),
        ("haproxy", "haproxy.cfg", "bind :80\n", "bind 127.0.0.1:{}\n", haproxy),
        ("caddy", "Caddyfile", "\n:80 {", "\nhttp://127.0.0.1:{} {{", caddy),
    )
]


@pytest.mark.parametrize(("program", "file", "listens", "at", "prepare"), CASES)
def test_a_proxy_serves_both(
    server: Server,
    app: int,
    tmp_path: Path,
    program: str,
    file: str,
    listens: str,
    at: str,
    prepare: Callable[[Path, str], list[str]],
) -> None:
    text, port = (DEPLOY / file).read_text(), free_port()
    ours = server.config["http"]["address"]
    for old, new in (
        (listens, at.format(port)),
        ("127.0.0.1:8081", ours),
        ("127.0.0.1:8080", f"127.0.0.1:{app}"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    with running(prepare(tmp_path, text), tmp_path):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/page", headers={"X-Forwarded-For": "203.0.113.9"}
        )

        def page() -> str:
            with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                return str(answer.read().decode())

        eventually_sync(lambda: page() == f"/page for 127.0.0.1 at 127.0.0.1:{port}", "the page")

        def joined() -> Client | None:  # HAProxy and Caddy ask first whether the server is there
            try:
                return Client(connect(f"ws://127.0.0.1:{port}/ws", compression=None, proxy=None))
            except WebSocketException:
                return None

        clients: list[Client] = []
        eventually_sync(lambda: clients.extend(filter(None, [joined()])) or clients, "the socket")
        with clients[0].websocket:
            clients[0].join("news")
            server.php("$broadcast->publish('news', 'hello');")
            clients[0].expect(push("news", "hello"))
