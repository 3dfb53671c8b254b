"""The WebSocket listener: sockets, open connections, and the orderly end of both."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Iterator

from rr_py_ws import logs
from rr_py_ws.adapters.ws.clients import Clients
from rr_py_ws.adapters.ws.handshake import Handshake
from rr_py_ws.adapters.ws.settings import Settings
from rr_py_ws.domain.figures import Figure
from rr_py_ws.domain.ports import Authorizer, Subscriptions
from rr_py_ws.errors import ConfigError

_BACKLOG = 4096

log = logs.get_logger("websockets")


class WebSocketServer:
    """Accepts WebSockets on any number of addresses.

    Args:
        settings: see `Settings`.
        authorizer: decides about handshakes and joins.
        subscriptions: where clients join topics.
    """

    def __init__(self, settings: Settings, authorizer: Authorizer, subscriptions: Subscriptions) -> None:
        self._settings = settings
        self._clients = Clients(settings, authorizer, subscriptions)
        self._listeners: list[asyncio.Server] = []

    @property
    def connections(self) -> int:
        """Number of open WebSockets."""
        return len(self._clients)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listening socket."""
        return [listening.getsockname()[:2] for server in self._listeners for listening in server.sockets]

    def figures(self) -> Iterator[Figure]:
        """See `figures.Source`."""
        return self._clients.figures()

    async def listen(
        self, address: str, tls: ssl.SSLContext | None = None, *, key: str = "http.address"
    ) -> None:
        """Accept connections on `host:port`; an empty host means all IPv4 addresses, port 0 any free one.

        Args:
            address: where.
            tls: how connections are secured; None for not at all.
            key: the configuration key that the address comes from, for error texts.

        Raises:
            ConfigError: the address cannot be parsed or bound.
        """
        host, port = _split_address(key, address)
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                lambda: Handshake(self._clients, tls=tls is not None),
                host,
                port,
                ssl=tls,
                ssl_handshake_timeout=self._settings.head_timeout if tls else None,
                ssl_shutdown_timeout=self._settings.close_timeout if tls else None,
                backlog=_BACKLOG,
            )
        except (OSError, UnicodeError) as error:  # UnicodeError: no host name, such as one of 70 letters
            raise ConfigError(key, f"{address} {_bind_problem(error)}") from error
        if not self._listeners:
            self._clients.start()
        self._listeners.append(server)
        for host, port in [listening.getsockname()[:2] for listening in server.sockets]:
            log.info(
                "websocket listener was started",
                address=f"{host}:{port}",
                path=self._settings.path,
                tls=tls is not None,
            )

    async def stop(self, timeout: float) -> None:
        """Refuse new connections, close the open ones with 1001, cut what is left after `timeout` seconds."""
        for listener in self._listeners:
            listener.close()
        await self._clients.stop(timeout)


def _split_address(key: str, address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(key, f"found {address!r}, accepted: host:port, as in 127.0.0.1:8080 or :8080")
    return host.strip("[]") or "0.0.0.0", int(port)


def _bind_problem(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError | socket.gaierror):
        return "cannot be resolved to an address of this machine"
    if error.errno == errno.EADDRINUSE:
        return "is in use by another process (another server still running?)"
    if error.errno == errno.EACCES:
        return "may not be used by this user (ports below 1024 need a privilege)"
    return f"cannot be listened on: {os.strerror(error.errno) if error.errno else error}"
