"""The middleware behind a real HTTP server: uvicorn, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rr_py_ws.adapters.http.middleware import RequestMetrics, build
from rr_py_ws.config import HTTP
from support.asgi import page
from support.waiting import DEADLINE

NAMES = ["sendfile", "static", "gzip", "headers", "http_metrics"]
LARGE = 64 * 1024 * 1024


@pytest.fixture
def public(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_bytes(b"0123456789" * 1000)
    (tmp_path / "large.bin").touch()
    os.truncate(tmp_path / "large.bin", LARGE)
    return tmp_path


def site(public: Path, app: ASGIApp | None = None) -> ASGIApp:
    keys = {"middleware": NAMES, "static": {"dir": "."}, "headers": {"response": {"x-powered-by": "RR"}}}
    return build(app or page(b"php"), HTTP.from_file("http", keys), public, RequestMetrics())


class Peer:
    """A client with one connection.

    Args:
        reader: of the connection.
        writer: of the connection.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def ask(self, target: str, *headers: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        self.request(target, *headers, method=method)
        async with asyncio.timeout(DEADLINE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = [line.partition(": ") for line in head.split("\r\n")[1:-2]]
            fields = {name.lower(): value for name, _, value in lines}
            status = int(head.split(" ")[1])
            if method == "HEAD" or status == 304:
                return status, fields, b""
            if "content-length" in fields:
                return status, fields, await self._reader.readexactly(int(fields["content-length"]))
            return status, fields, await self._chunks()

    def request(self, target: str, *headers: str, method: str = "GET") -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: a", *headers, "\r\n"]
        self.writer.write("\r\n".join(lines).encode())

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return body


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[tuple[str, int]]:
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.ensure_future(server.serve([listening]))
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = server.force_exit = True
            await task


async def connect(address: tuple[str, int]) -> Peer:
    return Peer(*await asyncio.open_connection(*address))


async def test_one_connection_gets_files_and_pages_one_after_the_other(public: Path) -> None:
    async with serving(site(public)) as address:
        peer = await connect(address)
        status, fields, body = await peer.ask("/a.txt")
        assert (status, body, fields["x-powered-by"]) == (200, b"0123456789" * 1000, "RR")
        modified = fields["last-modified"]
        status, fields, _ = await peer.ask("/a.txt", method="HEAD")
        assert (status, fields["content-length"]) == (200, "10000")
        assert (await peer.ask("/a.txt", f"If-Modified-Since: {modified}"))[0] == 304
        status, fields, body = await peer.ask("/a.txt", "Range: bytes=10-12,15-16")
        assert status == 206
        assert b"\r\n012\r\n" in body and b"\r\n56\r\n" in body
        status, fields, body = await peer.ask("/a.txt", "Accept-Encoding: gzip")
        assert gzip.decompress(body) == b"0123456789" * 1000
        assert (await peer.ask("/x/../a.txt"))[0] == 403
        assert (await peer.ask("/missing.txt"))[2] == b"php"
        status, fields, body = await peer.ask("/large.bin")
        assert len(body) == LARGE
        assert (await peer.ask("/"))[2] == b"php"
        status, fields, body = await peer.ask("/large.bin", "Accept-Encoding: gzip")
        assert gzip.decompress(body) == bytes(LARGE)
        peer.writer.close()


async def test_a_client_that_reads_nothing_makes_nobody_wait(public: Path) -> None:
    """And little of its file is read for it."""
    sent = [0]

    def counting(app: ASGIApp) -> ASGIApp:
        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_and_count(message: Message) -> None:
                sent[0] += len(message.get("body", b""))
                await send(message)

            await app(scope, receive, send_and_count)

        return counted

    async with serving(counting(site(public))) as address:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            slow.connect(address)
            slow.sendall(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
            peer, before = await connect(address), -1
            async with asyncio.timeout(DEADLINE):
                while sent[0] != before or not sent[0]:  # until the server waits for the slow one
                    before = sent[0]
                    for _ in range(20):
                        assert (await peer.ask("/"))[2] == b"php"
                        sent[0] -= len(b"php")
            assert 0 < sent[0] < LARGE / 4
            peer.writer.close()


async def test_a_file_that_php_names_is_sent_in_ranges(public: Path) -> None:
    php = page(b"x", headers=[("X-Sendfile", str(public / "large.bin")), ("Content-Type", "video/mp4")])
    async with serving(site(public, php)) as address:
        peer = await connect(address)
        status, fields, body = await peer.ask("/movie", "Range: bytes=5-", "Accept-Encoding: gzip")
        assert (status, fields["content-type"], len(body)) == (206, "video/mp4", LARGE - 5)
        assert fields["content-range"] == f"bytes 5-{LARGE - 1}/{LARGE}"
        assert "x-sendfile" not in fields
        peer.writer.close()
