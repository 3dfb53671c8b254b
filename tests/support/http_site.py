"""A running HTTP listener for tests, with handlers that answer as a test wants it."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any, Protocol

from starlette.types import ASGIApp

from rr_py_ws.adapters.http import HTTPConnection, HTTPListener, TrustedProxies
from rr_py_ws.adapters.http.pages import Exchanges
from rr_py_ws.config import Limits
from support.ws_peer import Client


def open_sockets() -> int:
    """How many sockets this process has open."""
    return sum(map(_is_socket, Path("/proc/self/fd").iterdir()))


def _is_socket(descriptor: Path) -> bool:
    try:
        return os.readlink(descriptor).startswith("socket:")
    except FileNotFoundError:  # the one that the directory was read with
        return False


def get(target: str = "/echo", *headers: str, method: str = "GET") -> bytes:
    """A request head."""
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: app.test", *headers, "", "")).encode()


def parse(answer: bytes) -> tuple[int, Message, bytes]:
    """Status, headers and body of a response."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    assert line.startswith(b"HTTP/1.1 ")
    return int(line.split()[1]), message_from_bytes(fields), body


class Echo(asyncio.Protocol):
    """Takes over a connection: greets, then sends back whatever comes, from the end of the head on."""

    def __init__(self, listener: HTTPListener, connection: HTTPConnection) -> None:
        self.listener = listener
        self.transport = connection.transport
        rest = connection.hand_over(self)
        self.transport.write(b"hello\n")
        if rest:
            self.data_received(rest)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.listener.release(self)


class Site:
    """A listener whose `/echo` is handed over at once; the handler of `/held` leaves the answer to the test.

    Attributes:
        held: connections with a request for `/held`, in order.
        lost: those of them whose `on_lost` was called, once for each call.
    """

    def __init__(self, limits: dict[str, Any], subnets: Sequence[str], **options: Any) -> None:
        self.clients: list[Client] = []
        self.held: list[HTTPConnection] = []
        self.lost: list[HTTPConnection] = []
        options = {"max_connections": 0, "max_refusals": 128} | options
        chosen = Limits().model_copy(update=limits)
        self.listener = HTTPListener(chosen, TrustedProxies(subnets), not_found="nothing here", **options)
        self.listener.handlers["/echo"] = lambda connection: Echo(self.listener, connection) and None
        self.listener.handlers["/held"] = self._hold
        self._page_timeout = chosen.page_timeout
        self._others = open_sockets()

    def serve(self, app: ASGIApp) -> None:
        """Have an application answer all paths without a handler."""
        self.listener.pages = Exchanges(app, self._page_timeout)

    def _hold(self, connection: HTTPConnection) -> None:
        self.held.append(connection)
        connection.on_lost = lambda: self.lost.append(connection)

    @property
    def address(self) -> tuple[str, int]:
        return self.listener.addresses[0]

    def sample(self, name: str, *labels: str) -> float:
        """The value of one of the listener's metrics."""
        [sample] = [sample for sample in self.listener.metrics() if sample.name == name]
        return sample.values[labels]

    def sockets(self) -> int:
        """Connections whose server side is there: sockets that are neither the clients' nor older."""
        return open_sockets() - self._others - 1 - sum(not client.closed for client in self.clients)

    async def connect(self, **options: Any) -> Client:
        """A TCP connection."""
        self.clients.append(await Client.connect(self.address, **options))
        return self.clients[-1]

    async def send(self, data: bytes, **options: Any) -> Client:
        """A TCP connection on which something is sent."""
        client = await self.connect(**options)
        await client.send(data)
        return client

    async def ask(self, data: bytes, **options: Any) -> tuple[int, Message, bytes]:
        """Send a request; return the answer, which the server must end with FIN."""
        client = await self.send(data, **options)
        answer = await client.rest()
        client.close()
        return parse(answer)

    async def echo(self, *headers: str, **options: Any) -> Client:
        """A connection that was handed over."""
        client = await self.send(get("/echo", *headers), **options)
        assert await client.exactly(6) == b"hello\n"
        return client


class Start(Protocol):
    """Starts a listener; `limits` are those of `config.Limits`, the rest is for `HTTPListener`."""

    def __call__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        limits: dict[str, Any] | None = None,
        subnets: Sequence[str] = (),
        **options: Any,
    ) -> Awaitable[Site]: ...


Log = Callable[[], str]
