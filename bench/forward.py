"""What a request costs that is passed on to another server; that server is a part of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

from bench.generator import HOST
from bench.http import Requests, body_length
from bench.measure import Effort, Line, Scenario, Start
from bench.servers import Server, scratch, start_ours

_CONNECTIONS = 16
_HEADERS = (
    b"Host: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101\r\n"
    b"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nCookie: PHPSESSID=0123456789abcdef; theme=dark\r\n"
)
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nX-Powered-By: PHP\r\n"
    b"Content-Type: text/html; charset=UTF-8\r\nSet-Cookie: a=b; path=/\r\nCache-Control: no-cache\r\n"
)


class _Behind(asyncio.Protocol):
    """The server behind: answers each request with as many bytes as its path says."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n") + 4) >= 4:
            head = self._received[:end]
            end += body_length(head)
            if len(self._received) < end:
                return
            self._received = self._received[end:]
            size = int(head.split(b" ", 2)[1][1:])
            self._transport.write(_ANSWER + b"Content-Length: %d\r\n\r\n" % size + bytes(size))


async def forward(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """A page, a form, and a large answer. There is no peer."""
    body = b"x=" + b"y" * 1022
    form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    kinds = [
        (Line("forwarded GET", "us", most=300.0), b"GET /5000 HTTP/1.1\r\n" + _HEADERS + b"\r\n", 2000),
        (Line("forwarded POST of 1 KB", "us"), b"POST /5000 HTTP/1.1\r\n" + _HEADERS + form, 2000),
        (Line("forwarded answer of 1 MiB", "us"), b"GET /1048576 HTTP/1.1\r\n" + _HEADERS + b"\r\n", 100),
    ]
    loop = asyncio.get_running_loop()
    behind = await loop.create_server(_Behind, HOST, 0)
    port = behind.sockets[0].getsockname()[1]
    with (
        scratch() as directory,
        start_ours(directory, websockets={"http": {"forward": f"http://{HOST}:{port}"}}) as server,
    ):
        for line, request, per_second in kinds:
            count = int(effort.seconds * per_second)
            await _cost(server, request, count)  # the first ones are dearer
            for _ in range(effort.rounds):
                line.add([await _cost(server, request, count)])
            yield line
    behind.close()


async def _cost(server: Server, request: bytes, count: int) -> float:
    """Server CPU in microseconds for one request."""
    before = server.cpu()
    await Requests(request, count).send(server.ws_port, min(_CONNECTIONS, count))
    return (server.cpu() - before) / 1e3 / count


SCENARIOS: dict[str, Scenario] = {"forward": forward}
