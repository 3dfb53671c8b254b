"""A small HTTP listener for a page that operators read.

HTTP is uvicorn's protocol, the rest is not: its `Server` takes over signals, polls, and says nothing about
connections that never finish their request.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from rr_py_ws import logs
from rr_py_ws.adapters.net.acceptor import Acceptor
from rr_py_ws.adapters.net.deadline import Deadline
from rr_py_ws.adapters.net.listen import bound_address, listen
from rr_py_ws.adapters.net.transports import has_unread, peer_of
from rr_py_ws.adapters.net.turns import Turns
from rr_py_ws.address import Address, parse_host_port
from rr_py_ws.errors import ConfigError
from rr_py_ws.metrics import Sample, counter, gauge

_LIFETIME = 10.0
"""Seconds that a peer has for its request and for taking the answer; then the connection is cut."""
_MIN_IDLE = 1.0
"""Seconds after which an idle connection may be cut for a new one: a few round trips on a bad line."""
_MAX_REQUEST = 8 * 1024
"""Bytes, head and body together. Small headers are kept as twenty times their bytes."""

_REQUESTS = 2
"""Requests that are answered in one turn of the event loop."""

_log = logs.get_logger("app")
_limited = logs.get_limited("app")


class OpsListener:
    """Serves one page on one address, without authentication: the address must be private.

    Each connection carries one request.

    Args:
        page: the ASGI application.
        address: `host:port`; an empty host means all IPv4 addresses, port 0 any free one.
        key: the configuration key of the address, for error texts.
        max_connections: at a time; for one more the oldest idle one is cut, so that connections which say
            nothing cannot keep the health probe out. When none has been idle for a second, it is closed at
            once.

    Attributes:
        key: the same.
        max_connections: the same; it may change.

    Raises:
        ConfigError: the address cannot be read.
    """

    def __init__(self, page: ASGIApp, address: str, *, key: str, max_connections: int) -> None:
        self.key = key
        self.max_connections = max_connections
        self._refused = 0
        self._cut = 0
        try:
            self._address: Address = parse_host_port(address)
        except ValueError as error:
            raise ConfigError(key, str(error)) from None
        self._page = page
        self._turns = Turns(_REQUESTS)
        self._config = uvicorn.Config(
            self._answer,
            http=_Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level=logging.ERROR,  # any peer can cause uvicorn's warnings
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            headers=[("connection", "close")],
        )
        # What uvicorn.Server would do with its configuration.
        self._config.load()
        self._state = ServerState()
        self._state.default_headers = self._config.encoded_headers
        self._acceptors: list[Acceptor] = []
        self._connections: dict[_Connection, None] = {}

    @property
    def address(self) -> str:
        """The address as `host:port`; after `start` with the real port."""
        return str(self._address)

    async def start(self, inherited: Sequence[socket.socket] = ()) -> None:
        """Listen.

        Args:
            inherited: sockets that listen already; used instead of binding the address.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        sockets = list(inherited) or await listen(self._address, self.key)
        self._address = bound_address(sockets[0])
        self._acceptors = [Acceptor(listening, self._accept) for listening in sockets]
        _log.info("monitoring listener was started", key=self.key, address=self.address)

    async def stop(self, timeout: float) -> None:
        """Stop listening, finish the answers that have begun. Safe without `start`.

        Args:
            timeout: seconds; peers that have not taken their answer by then are cut.
        """
        for acceptor in self._acceptors:
            acceptor.close()
        for connection in self._connections:
            connection.finish()
        closed = [connection.closed for connection in self._connections]
        if closed:
            await asyncio.wait(closed, timeout=timeout)
        for connection in self._connections:
            connection.abort()
        # Pages do not wait for anything but their peer, so their tasks end with the connections.
        if remaining := {*closed, *self._state.tasks}:
            await asyncio.wait(remaining)

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        connections, refused = {self.key: len(self._connections)}, {self.key: self._refused}
        yield gauge("monitoring_connections", "Connections to a monitoring page.", connections, "key")
        yield counter("monitoring_refused", "Such connections over the limit.", refused, "key")
        yield counter("monitoring_cut", "Such connections cut for new ones.", {self.key: self._cut}, "key")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._turns.piece(1)
        await self._page(scope, receive, send)

    def _accept(self, accepted: socket.SocketType, _: str) -> asyncio.Protocol | None:
        if len(self._connections) >= self.max_connections and not self._cut_idle():
            self._refused += 1
            text = "monitoring connection refused, see websockets.limits.max_monitoring_connections"
            _limited.warning(text, key=self.key, remote=peer_of(accepted))
            return None
        connection = _Connection(self._config, self._state, accepted)
        self._connections[connection] = None
        connection.closed.add_done_callback(lambda _: self._connections.pop(connection, None))
        return connection

    def _cut_idle(self) -> bool:
        """Free a place by cutting an idle connection; False when none has been idle for long enough."""
        latest = asyncio.get_running_loop().time() - _MIN_IDLE
        old = [*takewhile(lambda connection: connection.accepted_at <= latest, self._connections)]
        # Rather one that says nothing than one that does not take its answer.
        for is_idle in (_Connection.is_silent, _Connection.is_answered):
            oldest = next(filter(is_idle, old), None)
            if oldest is not None:
                self._cut += 1
                del self._connections[oldest]
                oldest.abort()
                return True
        return False


class _Connection(HttpToolsProtocol):
    """A connection that ends in time, whatever the peer does; uvicorn alone waits for a request without end.

    Attributes:
        accepted_at: when, in the event loop's time.
        closed: done when the connection is closed.
    """

    def __init__(self, config: uvicorn.Config, state: ServerState, accepted: socket.SocketType) -> None:
        super().__init__(config, state, app_state={})
        self.accepted_at = self.loop.time()
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self._socket = accepted
        self._received = 0
        self._aborted = False
        self._deadline = Deadline(self.accepted_at + _LIFETIME, lambda _: self.abort())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        super().connection_made(cast(asyncio.Transport, transport))  # uvloop's class does not inherit from it
        if self._aborted:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take a part of the request, the whole of which has a limit."""
        self._received += len(data)
        if self._received > _MAX_REQUEST:
            self.abort()
        else:
            super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        """End; the transport is closed."""
        self._deadline.cancel()
        super().connection_lost(error)
        if not self.closed.done():
            self.closed.set_result(None)

    def is_silent(self) -> bool:
        """Whether the peer has not sent a whole request head, nor more of it than was read."""
        return self.cycle is None and not has_unread(self._socket)

    def is_answered(self) -> bool:
        """Whether the answer has begun, and only the peer is waited for."""
        return self.cycle is not None and self.cycle.response_started

    def finish(self) -> None:
        """Close when the running answer is written, or now when there is none."""
        # Accepted in this turn of the loop; there is nothing to be written yet.
        if self.transport is None:
            self.abort()
        else:
            self.shutdown()

    def abort(self) -> None:
        """Close now."""
        self._aborted = True  # the event loop makes the transport a moment after the connection was accepted
        if self.transport is not None:
            self.transport.abort()
