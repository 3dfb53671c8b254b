"""A running WebSocket server for tests, with what stands behind it."""

from __future__ import annotations

import gc
import os
import ssl
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from random import Random
from typing import Any, Protocol

from rr_py_ws.adapters.ws import WebSocketServer
from rr_py_ws.adapters.ws.connection import Connection
from rr_py_ws.adapters.ws.handshake import Handshake
from rr_py_ws.adapters.ws.protocol.core import Core
from rr_py_ws.core.hub import Hub
from rr_py_ws.core.node import Node
from rr_py_ws.core.ports import Authorizer
from rr_py_ws.core.session import Session
from support.ws_peer import Client, request


def open_sockets() -> int:
    """How many sockets this process has open."""
    return sum(map(_is_socket, Path("/proc/self/fd").iterdir()))


def _is_socket(descriptor: Path) -> bool:
    try:
        return os.readlink(descriptor).startswith("socket:")
    except FileNotFoundError:  # the one that the directory was read with
        return False


_KINDS = (Connection, Handshake, Session, Core)
NOTHING = {kind.__name__: 0 for kind in _KINDS}


def living() -> dict[str, int]:
    """How many objects there are of the kinds that each client has."""
    counts = Counter(type(item) for item in gc.get_objects())
    return {kind.__name__: counts[kind] for kind in _KINDS}


class Site:
    """A running server with a memory broker, and its clients."""

    def __init__(self, server: WebSocketServer, node: Node) -> None:
        self.server = server
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
        return [client for client in self.server._clients._open if isinstance(client, Connection)]

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
        assert self.node.publish("", [topic], data) is None

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


class Start(Protocol):
    """Starts a server; see `Settings` for the options."""

    def __call__(
        self, authorizer: Authorizer | None = None, *, tls: ssl.SSLContext | None = None, **settings: Any
    ) -> Awaitable[Site]: ...
