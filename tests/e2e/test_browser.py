"""A real browser opens the example page: what PHP publishes is what a person sees."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from support.php import REPOSITORY
from support.ports import free_port
from support.process import Server, Servers
from support.waiting import DEADLINE

OBSERVER = """
<script>
  // Added by the test: tells what a person would see, whenever that changes. Requests overtake each other.
  let changes = 0;
  const tell = () => fetch(`/seen/${++changes}`, {method: 'POST', body: document.body.innerText});
  new MutationObserver(tell).observe(document.body, {childList: true, characterData: true, subtree: true});
  tell();
</script>
"""


class Page:
    """Serves the example page, and hears from it what it shows."""

    def __init__(self) -> None:
        self.text = ""
        self._changes = 0
        self._changed = threading.Condition()
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                html = (REPOSITORY / "examples" / "browser.html").read_text() + OBSERVER
                self._answer(200 if self.path.startswith("/browser.html") else 404, html.encode())

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                page._show(int(self.path.rpartition("/")[2]), text)
                self._answer(204, b"")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: pytest shows what matters."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def url(self, server: Server, topics: str) -> str:
        """The address of the page, for a server and topics."""
        query = urlencode({"url": f"{server.url}/ws", "topics": topics})
        return f"http://127.0.0.1:{self._server.server_port}/browser.html?{query}"

    def _show(self, changes: int, text: str) -> None:
        with self._changed:
            if changes > self._changes:
                self._changes, self.text = changes, text
                self._changed.notify_all()

    def shows(self, text: str) -> None:
        """Wait until a person would see this."""
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, DEADLINE), self.text

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


Browse = Callable[[Server, str], Page]


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Browse]:
    """Open the example page in Chromium, with a profile of its own."""
    program = shutil.which("chromium")
    assert program, "Chromium is missing: apt-get install chromium"
    page = Page()
    browsers: list[subprocess.Popen[bytes]] = []

    def browse(server: Server, topics: str) -> Page:
        options = "headless no-sandbox disable-gpu no-first-run disable-background-networking"
        options += " disable-component-update disable-sync disable-quic disable-dev-shm-usage"
        arguments = [f"--{option}" for option in options.split()]
        with (tmp_path / "chromium.log").open("wb") as log:
            browsers.append(
                subprocess.Popen(
                    [program, *arguments, f"--user-data-dir={tmp_path}/profile", page.url(server, topics)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        return page

    try:
        yield browse
    finally:
        for browser in browsers:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
        page.close()


def serve_example(servers: Servers) -> Server:
    return servers.start("ok.php", server={"command": "php examples/worker.php"})


def test_a_page_joins_and_shows_what_php_publishes(browse: Browse, servers: Servers) -> None:
    """And again after the server was restarted, without anybody doing anything."""
    server = serve_example(servers)
    page = browse(server, "news,user.5")
    page.shows("joined news, user.5")
    server.php("$broadcast->publish('news', json_encode(['title' => 'Grüße <b>from</b> PHP']));")
    page.shows("news: Grüße <b>from</b> PHP")
    server.php("$broadcast->publish(['elsewhere', 'user.5'], 'only text');")
    page.shows("user.5: only text")
    assert "elsewhere" not in page.text
    server.end()
    page.shows("disconnected, trying again in")
    restarted = servers.add(Server(server.directory, server.config))
    page.shows("joined news, user.5")
    restarted.php("$broadcast->publish('news', '{\"id\":7}');")
    page.shows('news: {"id":7}')


def test_a_page_shows_that_a_private_topic_is_refused(browse: Browse, servers: Servers) -> None:
    page = browse(serve_example(servers), "private-orders")
    page.shows("not allowed to join private-orders")
    assert "joined" not in page.text


def test_a_page_shows_what_is_sent_to_it_compressed(browse: Browse, servers: Servers) -> None:
    """Chromium offers permessage-deflate by itself, and compresses its commands."""
    metrics = f"127.0.0.1:{free_port()}"
    server = servers.start(
        "ok.php",
        server={"command": "php examples/worker.php"},
        websockets={"compression": "on"},
        metrics={"address": metrics},
    )
    page = browse(server, "news")
    page.shows("joined news")
    server.php("$broadcast->publish('news', str_repeat('Grüße ', 100) . 'to all');")
    page.shows("Grüße Grüße to all")
    with urlopen(f"http://{metrics}/metrics") as answer:
        figures = answer.read().decode()
    assert "\nrr_ws_handshakes_deflated_total 1.0\n" in figures
    assert "\nrr_ws_compressed_messages_total 1.0\n" in figures
