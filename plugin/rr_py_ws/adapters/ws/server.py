"""The WebSocket listener: sockets, open connections, and the orderly end of both."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from rr_py_ws import logs
from rr_py_ws.adapters.ws.connection import Connection
from rr_py_ws.adapters.ws.handshake import Handshake
from rr_py_ws.adapters.ws.keepalive import KeepAlive
from rr_py_ws.adapters.ws.proxy import TrustedProxies
from rr_py_ws.domain.origin import OriginRule
from rr_py_ws.domain.ports import Authorizer, Subscriptions
from rr_py_ws.errors import ConfigError
from rr_py_ws.wire.access import NO_REQUEST, AccessRequest
from rr_py_ws.wire.upgrade import RequestHead

_BACKLOG = 4096
_BATCH = 200

log = logs.get_logger("websockets")
limited = logs.get_limited("websockets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the listener needs to know. Sizes in bytes, durations in seconds.

    Attributes:
        path: served path, compared exactly.
        allowed_origin: see `OriginRule`.
        trusted_subnets: see `TrustedProxies`.
        max_message_size: largest client message; over it the connection is closed with 1009.
        max_head_size: largest request head; over it the answer is 431.
        head_timeout: how long a request head may take.
        send_queue: what may wait for one slow receiver; over it the connection is closed with 1013.
        max_commands_waiting: commands of one client that may wait; then its socket is not read.
        ping_interval: between server pings; 0 for none.
        ping_timeout: how long a peer may be silent after a ping.
    """

    path: str = "/ws"
    allowed_origin: Sequence[str] = ("*",)
    trusted_subnets: Sequence[str] = ()
    max_message_size: int = 64 * 1024
    max_head_size: int = 16 * 1024
    head_timeout: float = 10.0
    send_queue: int = 1024 * 1024
    max_commands_waiting: int = 64
    ping_interval: float = 25.0
    ping_timeout: float = 20.0


class WebSocketServer:
    """Accepts WebSockets on any number of addresses.

    Args:
        settings: see `Settings`.
        authorizer: decides about handshakes and joins.
        subscriptions: where clients join topics.
    """

    def __init__(self, settings: Settings, authorizer: Authorizer, subscriptions: Subscriptions) -> None:
        self.settings = settings
        self.authorizer = authorizer
        self.subscriptions = subscriptions
        self.origins = OriginRule(settings.allowed_origin)
        self.handshakes: set[Handshake] = set()
        self._connections: set[Connection] = set()
        self._proxies = TrustedProxies(settings.trusted_subnets)
        self._keepalive = KeepAlive(settings.ping_interval, settings.ping_timeout)
        self._listeners: list[asyncio.Server] = []
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def connections(self) -> int:
        """Number of open WebSockets."""
        return len(self._connections)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listening socket."""
        return [socket.getsockname()[:2] for listener in self._listeners for socket in listener.sockets]

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
        secure = tls is not None
        try:
            server = await loop.create_server(
                lambda: Handshake(self, tls=secure),
                host,
                port,
                ssl=tls,
                ssl_handshake_timeout=self.settings.head_timeout if secure else None,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise ConfigError(key, f"{address} {_bind_problem(error)}") from error
        if not self._listeners:
            self._keepalive.start()
        self._listeners.append(server)
        for host, port in [socket.getsockname()[:2] for socket in server.sockets]:
            log.info(
                "websocket listener was started",
                address=f"{host}:{port}",
                path=self.settings.path,
                tls=secure,
            )

    async def stop(self, timeout: float) -> None:
        """Refuse new connections, close the open ones with 1001, cut what is left after `timeout` seconds."""
        for listener in self._listeners:
            listener.close()
        self._keepalive.stop()
        for handshake in tuple(self.handshakes):
            handshake.close()
        for number, connection in enumerate(tuple(self._connections)):
            connection.close(1001, "server is stopping")
            if number % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)  # let the batch leave before the next one
        try:
            await asyncio.wait_for(self._empty.wait(), timeout)
        except TimeoutError:
            for connection in tuple(self._connections):
                connection.give_up()
            await asyncio.sleep(0)

    # What handshakes and connections report

    def access_request(self, head: RequestHead, transport: asyncio.Transport, *, tls: bool) -> AccessRequest:
        """Describe a request as PHP shall see it."""
        if not self.authorizer.reads_requests:
            return NO_REQUEST
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        scheme = "https" if tls else "http"
        return AccessRequest.encode(
            remote_addr=self._proxies.client_address(address, head),
            protocol=f"HTTP/{head.version}",
            method=head.method,
            uri=f"{scheme}://{head.header(b'host')}{head.target}",
            headers=head.headers,
            raw_query=head.query,
        )

    def connection_made(self, connection: Connection) -> None:
        """A handshake became a WebSocket."""
        self._connections.add(connection)
        self._empty.clear()
        self._keepalive.add(connection)
        log.debug("websocket client connected")

    def connection_lost(self, connection: Connection) -> None:
        """A WebSocket is gone."""
        self._connections.discard(connection)
        self._keepalive.discard(connection)
        if not self._connections:
            self._empty.set()
        log.debug("websocket client disconnected")

    def log_ignored(self, reason: str) -> None:
        """A client's command was dropped."""
        limited.warning("command ignored", reason=reason[:200])

    def log_bad_request(self, error: Exception) -> None:
        """A request head could not be read."""
        limited.warning("bad handshake", reason=str(error)[:200])

    def log_slow(self, transport: asyncio.Transport) -> None:
        """A receiver was too slow."""
        limited.warning(
            "slow client closed, its send queue is full", remote=str(transport.get_extra_info("peername"))
        )

    def log_failed(self, error: Exception) -> None:
        """Something of ours failed for one connection."""
        limited.error("connection failed", error=f"{type(error).__name__}: {error}"[:200])


def _split_address(key: str, address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(key, f"found {address!r}, accepted: host:port, as in 127.0.0.1:8080 or :8080")
    return host.strip("[]") or "0.0.0.0", int(port)


def _bind_problem(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "is in use by another process (another server still running?)"
    if error.errno == errno.EACCES:
        return "may not be used by this user (ports below 1024 need a privilege)"
    return f"cannot be listened on: {os.strerror(error.errno) if error.errno else error}"
