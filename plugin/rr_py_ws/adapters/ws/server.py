"""The WebSocket listener: sockets, open connections, and the orderly end of both."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence

from rr_py_ws import logs
from rr_py_ws.adapters.net.acceptor import Acceptor
from rr_py_ws.adapters.net.listen import listen as bind
from rr_py_ws.adapters.ws.clients import Clients
from rr_py_ws.adapters.ws.handshake import Handshake
from rr_py_ws.adapters.ws.settings import Settings
from rr_py_ws.address import TCPAddress, parse_host_port
from rr_py_ws.core.ports import Authorizer, Subscriptions
from rr_py_ws.errors import ConfigError
from rr_py_ws.metrics import Sample

_KERNEL_HOLDS = 128 * 1024
"""Bytes not sent yet that the kernel may hold for a client."""

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
        found = [listener.address for listener in self._listeners]
        return [(address.host, address.port) for address in found if isinstance(address, TCPAddress)]

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
        try:
            parsed = parse_host_port(address)
        except ValueError as error:
            raise ConfigError(key, str(error)) from None
        sockets = inherited or await bind(parsed, key)
        if not self._listeners:
            self._clients.start()
        for listening in sockets:
            # Left alone the kernel takes megabytes that are not sent yet, of each client as many as it likes:
            # nobody would know who is behind, and each message would be that much older on its way.
            if listening.family != socket.AF_UNIX:  # accepted sockets inherit it
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_HOLDS)

            def accept(connection: socket.socket, peer: str) -> Handshake | None:
                handshake = Handshake(self._clients, connection, peer, tls=tls is not None)
                if self._clients.arrived(handshake):
                    return handshake
                handshake.connection_lost(None)
                return None

            listener = Acceptor(
                listening,
                accept,
                tls=tls,
                tls_timeout=self._settings.head_timeout,
                tls_shutdown_timeout=self._settings.close_timeout,
                channel="websockets",
                on_failure=self._clients.accept_failed,
            )
            self._listeners.append(listener)
            log.info(
                "websocket listener was started",
                address=str(listener.address),
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
