"""The WebSocket listener: sockets, open connections, and the orderly end of both."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator, Sequence

from rr_py_ws import logs
from rr_py_ws.adapters.net.acceptor import Acceptor, bind
from rr_py_ws.adapters.ws.clients import Clients
from rr_py_ws.adapters.ws.settings import Settings
from rr_py_ws.core.ports import Authorizer, Subscriptions
from rr_py_ws.errors import ConfigError
from rr_py_ws.metrics import Sample

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
        self._listeners: list[Acceptor] = []

    @property
    def connections(self) -> int:
        """Number of open WebSockets."""
        return len(self._clients)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listening socket."""
        return [listener.address for listener in self._listeners]

    def metrics(self) -> Iterator[Sample]:
        """See `metrics.MetricSource`."""
        return self._clients.metrics()

    async def listen(
        self,
        address: str,
        tls: ssl.SSLContext | None = None,
        *,
        key: str = "http.address",
        inherited: Sequence[socket.socket] = (),
    ) -> None:
        """Accept connections on `host:port`; an empty host means all IPv4 addresses, port 0 any free one.

        Args:
            address: where.
            tls: how connections are secured; None for not at all.
            key: the configuration key that the address comes from, for error texts.
            inherited: sockets that listen already; used instead of binding the address.

        Raises:
            ConfigError: the address cannot be parsed or bound.
        """
        host, port = _split_address(key, address)
        try:
            sockets = inherited or await bind(host, port)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host name, such as one of 70 letters
            raise ConfigError(key, f"{address} {_bind_problem(error)}") from error
        if not self._listeners:
            self._clients.start()
        for listening in sockets:
            listener = Acceptor(listening, self._clients, tls)
            self._listeners.append(listener)
            host, port = listener.address
            log.info(
                "websocket listener was started",
                address=f"{host}:{port}",
                path=self._settings.path,
                tls=tls is not None,
                inherited=bool(inherited),
            )

    def refuse(self) -> None:
        """Listen no more, and answer handshakes that are not done with 503."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._clients.refuse()

    async def stop(self, timeout: float, drain: float = 0.0) -> int:
        """Refuse new connections, close the open ones with 1001, cut what is left in the end.

        Args:
            timeout: seconds for the last of them, after it was told.
            drain: seconds over which the closing is spread; those whose turn has not come go on as ever.

        Returns:
            How many connections had to be cut.
        """
        self.refuse()
        return await self._clients.stop(timeout, drain)


def _split_address(key: str, address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(key, f"found {address!r}, accepted: host:port, as in 127.0.0.1:8080 or :8080")
    return host.strip("[]") or "0.0.0.0", int(port)


def _bind_problem(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError | socket.gaierror):
        return "cannot be resolved to an address of this machine"
    if error.errno == errno.EADDRINUSE:
        return "is in use by another process (a server still running?), or by a socket of systemd"
    if error.errno == errno.EACCES:
        return "may not be used by this user (ports below 1024 need a privilege)"
    return f"cannot be listened on: {os.strerror(error.errno) if error.errno else error}"
