"""A running WebSocket server for tests, with what stands behind it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

from rr_py_ws.adapters.auth.php import PHPAuthorizer
from rr_py_ws.adapters.http.connection import HTTPConnection
from rr_py_ws.adapters.http.listener import HTTPListener
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.adapters.ws import WebSocketHandler
from rr_py_ws.adapters.ws.connection import Connection
from rr_py_ws.adapters.ws.protocol.core import WebSocketProtocol
from rr_py_ws.config import Compression, Limits, Ping, WebSockets
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.hub import Hub
from rr_py_ws.core.node import Node
from rr_py_ws.core.ports import Answer, Authorizer
from rr_py_ws.core.session import Session
from rr_py_ws.metrics import Sample
from rr_py_ws.wire.http import Request
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.worker import Message
from support.ws_peer import Client, request


def open_sockets() -> int:
    """How many sockets this process has open."""
    return sum(map(_is_socket, Path("/proc/self/fd").iterdir()))


def _is_socket(descriptor: Path) -> bool:
    try:
        return os.readlink(descriptor).startswith("socket:")
    except FileNotFoundError:  # the one that the directory was read with
        return False


_KINDS = (Connection, HTTPConnection, Session, WebSocketProtocol)
NOTHING = {kind.__name__: 0 for kind in _KINDS}


def living() -> dict[str, int]:
    """How many objects there are of the kinds that each client has."""
    counts = Counter(type(item) for item in gc.get_objects())
    return {kind.__name__: counts[kind] for kind in _KINDS}


def make_backpressure(turn: int = 1 << 30) -> Backpressure:
    loop = asyncio.get_running_loop()
    return Backpressure(loop.call_later, loop.time, turn, lambda topic, behind, receivers: None)


class Server:
    """An HTTP listener with the WebSocket handler behind it, as `server.listener_role` puts them together.

    Args:
        authorizer: decides about handshakes and joins.
        node: where topics are joined.
        backpressure: that of the node.
        settings: keys of `websockets` and `websockets.limits`; `ping_interval` and `ping_timeout`;
            `compression_level` (0 for none) and `compression_min_size`; `trusted_subnets`; and what the
            listener is given beside the configuration: `max_connections`, `max_refusals`, `close_timeout`.
    """

    def __init__(
        self,
        authorizer: Authorizer,
        node: Node,
        backpressure: Backpressure | None = None,
        **settings: Any,
    ) -> None:
        own = {
            "max_connections": settings.pop("max_connections", 0),
            "max_refusals": settings.pop("max_refusals", 128),
            "close_timeout": settings.pop("close_timeout", 10.0),
        }
        proxies = TrustedProxies(settings.pop("trusted_subnets", ()))
        ping = {
            key: settings.pop(f"ping_{key}") for key in ("interval", "timeout") if f"ping_{key}" in settings
        }
        level, size = settings.pop("compression_level", 0), settings.pop("compression_min_size", 256)
        limits = {key: settings.pop(key) for key in tuple(settings) if key in Limits.model_fields}
        section = WebSockets(
            limits=Limits(**limits),
            ping=Ping(**ping),
            compression=Compression(enabled=bool(level), level=level or 1, min_size=size),
            **settings,
        )
        self.path = section.path
        self.http = HTTPListener(
            section.limits, proxies, not_found=f"WebSockets are at {section.path}", **own
        )
        self.websockets = WebSocketHandler(
            section,
            authorizer,
            node,
            backpressure or make_backpressure(),
            self.http.release,
            close_timeout=own["close_timeout"],
        )
        self.http.handlers[section.path] = self.websockets.handle

    @property
    def connections(self) -> int:
        """How many WebSockets are open."""
        return len(self.websockets)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return self.http.addresses

    def metrics(self) -> Iterator[Sample]:
        yield from self.http.metrics()
        yield from self.websockets.metrics()

    async def listen(
        self,
        address: str,
        tls: ssl.SSLContext | None = None,
        *,
        key: str = "http.address",
        inherited: Sequence[socket.socket] = (),
    ) -> None:
        await self.http.listen(address, tls, key=key, path=self.path, inherited=inherited)

    def refuse(self) -> None:
        self.http.refuse()

    async def stop(self, timeout: float, drain: float = 0.0) -> int:
        """Stop as `server.shutdown` does; return how many connections had to be cut."""
        self.refuse()
        await self.websockets.drain(drain)
        return sum(await asyncio.gather(self.websockets.stop(timeout), self.http.stop(timeout)))


class Site:
    """A running server with a memory broker, and its clients."""

    def __init__(self, server: Server, node: Node, backpressure: Backpressure) -> None:
        self.server = server
        self.backpressure = backpressure
        self.node = node
        self.clients: list[Client] = []
        self._others = open_sockets()

    @property
    def hub(self) -> Hub:
        return self.node.hub()

    @property
    def address(self) -> tuple[str, int]:
        return self.server.addresses[0]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.address[1]}/ws"

    def sample(self, name: str, *labels: str) -> float:
        """The value of one of the server's metrics."""
        [sample] = [sample for sample in self.server.metrics() if sample.name == name]
        return sample.values.get(labels, 0)

    def connections(self) -> list[Connection]:
        """The server's side of the open WebSockets, for what no client can bring about."""
        return list(self.server.websockets.registry)

    def handshakes(self) -> list[HTTPConnection]:
        """The server's side of the connections that are not WebSockets yet."""
        return list(self.server.http._connections)

    def here(self) -> list[Client]:
        """Clients that have not closed their sockets."""
        return [client for client in self.clients if not client.closed]

    def somebody(self, chance: Random) -> Client:
        """One of them.

        Raises:
            ConnectionError: there is none.
        """
        here = self.here()
        if not here:
            raise ConnectionError
        return chance.choice(here)

    def sockets(self) -> int:
        """Connections whose server side is there: sockets that are neither the clients' nor older."""
        return open_sockets() - self._others - len(self.here())

    def publish(self, topic: str, payload: bytes | str) -> None:
        """Publish a message as an RPC connection would."""
        data = payload.encode() if isinstance(payload, str) else payload
        assert self.node.publish("", Publication(topic, data)) is None

    async def connect(self, **options: Any) -> Client:
        """A TCP connection."""
        self.clients.append(await Client.connect(self.address, **options))
        return self.clients[-1]

    async def ask(self, data: bytes) -> bytes:
        """Send a request; return the whole answer, which the server must end with FIN."""
        client = await self.connect()
        await client.send(data)
        answer = await client.rest()
        client.close()
        return answer

    async def open(self, *headers: str, **options: Any) -> Client:
        """A WebSocket."""
        client = await self.connect(**options)
        await client.send(request("/ws", *headers))
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        return client


class _Asked:
    """A pool of workers that notes the question, and allows."""

    allocate_timeout = 1.0

    def ask(
        self, question: Message, on_answer: Callable[[Answer], object], *_: object, **__: object
    ) -> Callable[[], None]:
        self.context = question.context
        on_answer(Message(b'{"status":200}'))
        return lambda: None


async def asked_of_php(request: Request) -> Any:
    """What PHP would be asked about this request."""
    pool = _Asked()
    await PHPAuthorizer(pool, 1.0).connect(request)  # type: ignore[arg-type]
    return json.loads(pool.context)


class Start(Protocol):
    """Starts a server; see `Server` for the settings."""

    def __call__(
        self, authorizer: Authorizer | None = None, *, tls: ssl.SSLContext | None = None, **settings: Any
    ) -> Awaitable[Site]: ...
