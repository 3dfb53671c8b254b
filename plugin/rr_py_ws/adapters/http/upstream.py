"""Connections to the one server that `websockets.http.forward` names.

Each carries one request at a time. Those that are idle wait in a pool, the one used last on top. A server
closes idle connections when it likes, perhaps in the moment in which a request is sent, and nobody knows then
whether it was carried out. So a request that may not be sent twice gets a connection that has just been used,
or a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from secrets import token_hex

from rr_py_ws.adapters.http.upstream_connection import UpstreamConnection, UpstreamError
from rr_py_ws.adapters.net.deadline import timeout
from rr_py_ws.adapters.net.timeout_queue import TimeoutQueue
from rr_py_ws.adapters.net.transports import keep_alive
from rr_py_ws.address import Address, TCPAddress, UnixAddress
from rr_py_ws.metrics import Sample, gauge
from rr_py_ws.wire.upstream import Headers, came_back

_IDLE = 15.0
"""Seconds that an idle connection is kept."""
_MAX_IDLE = 32
_FRESH = 1.0
"""Seconds after its last answer in which no server closes a connection, unless it has said so or ends."""


class Upstream:
    """The server that requests are passed on to, and the connections to it.

    Args:
        address: of the server.
        authority: `Host` for requests that have none.
        connect_timeout: seconds that a connection may take, and that a request may wait for a place.
        response_timeout: seconds that the server may be silent between the request and the head of its
            answer.
        max_connections: requests that are passed on at a time; others wait in line.

    Attributes:
        idle: connections that no request uses, the one used last at the end.
        silent: connections whose answer has not begun.
        response_timeout: seconds that the server may take for the head of an answer.
        connections: how many there are, without those of tunnels.
        mark: this server's name in requests that it has passed on.
    """

    def __init__(
        self,
        address: Address,
        authority: str,
        *,
        connect_timeout: float,
        response_timeout: float,
        max_connections: int,
    ) -> None:
        self.authority = authority.encode()
        self.mark = b"rr-py-ws-" + token_hex(6).encode()
        self.connections = 0
        self.response_timeout = response_timeout
        self._now = asyncio.get_running_loop().time
        self._address = address
        self._connect_timeout = connect_timeout
        self._places = asyncio.Semaphore(max_connections)
        self._limit = max_connections
        self.idle = TimeoutQueue[UpstreamConnection](_IDLE, UpstreamConnection.close)
        self.silent = TimeoutQueue[UpstreamConnection](response_timeout, self._give_up)

    def reload(self, connect_timeout: float, response_timeout: float) -> None:
        """Go by other times, also for requests that wait for an answer."""
        self._connect_timeout = connect_timeout
        self.response_timeout = response_timeout
        self.silent.change(response_timeout)

    def _give_up(self, connection: UpstreamConnection) -> None:
        text = f"no answer within {self.response_timeout:g} s (websockets.http.response_timeout)"
        connection.fail(UpstreamError(text, 504))

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        yield gauge("upstream_connections", "Connections to the server behind.", self.connections)

    def check_new(self, headers: Headers) -> None:
        """Look whether a request was passed on before, and has come back.

        Raises:
            UpstreamError: it has; it would go round and round.
        """
        if came_back(headers, self.mark):
            raise UpstreamError("it came back from the server behind (websockets.http.forward)", 508)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for one of the places for requests, and hold it.

        Raises:
            UpstreamError: none became free in time.
        """
        try:
            if self._places.locked():
                async with timeout(self._connect_timeout):
                    await self._places.acquire()
            else:
                await self._places.acquire()
        except TimeoutError:
            text = f"{self._limit} requests are under way (websockets.http.max_connections)"
            raise UpstreamError(text, 503) from None
        try:
            yield
        finally:
            self._places.release()

    async def connect(self) -> UpstreamConnection:
        """Open a new connection.

        Raises:
            UpstreamError: that failed, or took too long.
        """
        loop = asyncio.get_running_loop()
        connection = UpstreamConnection(self)
        try:
            async with timeout(self._connect_timeout):
                match self._address:
                    case TCPAddress(host, port):
                        await loop.create_connection(lambda: connection, host or "localhost", port)
                    case UnixAddress(path):
                        await loop.create_unix_connection(lambda: connection, path)
        except TimeoutError:
            text = f"no connection within {self._connect_timeout:g} s (websockets.http.connect_timeout)"
            raise UpstreamError(text, 504) from None
        except OSError as error:
            raise UpstreamError(f"cannot connect: {error.strerror or error}") from None
        keep_alive(connection.transport.get_extra_info("socket"))  # an answer may be silent for hours
        return connection

    def take_idle(self, *, fresh: bool) -> UpstreamConnection | None:
        """Take the connection that was used last.

        Args:
            fresh: it must have just been used.

        Returns:
            None when there is none.
        """
        connection = next(reversed(self.idle), None)
        if connection is None or (fresh and self._now() - self.idle.since(connection) > _FRESH):
            return None
        self.idle.pop(connection, None)
        return connection

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose answer is complete for the next request, or close it."""
        if not connection.answer.reusable or connection.transport.is_closing():
            connection.close()
            return
        connection.answer.close()
        connection.used = True
        if len(self.idle) >= _MAX_IDLE:
            connection.close()
        else:
            self.idle.add(connection, self._now())

    def close(self) -> None:
        """Close the idle connections, and have no timers any more."""
        for connection in tuple(self.idle):
            connection.close()
        self.idle.stop()
        self.silent.stop()
