"""The port that browsers reach: any number of addresses, a handler for each path, one limit of connections.

What the listener accepts stays an `HTTPConnection` until it is handed over to another protocol (a WebSocket);
pages only borrow it. A connection that is handed over keeps its place in the limiter and is otherwise none
of the listener's business: `stop` neither waits for it nor cuts it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rr_py_ws import logs
from rr_py_ws.adapters.http.connection import HTTPConnection
from rr_py_ws.adapters.http.limiter import ConnectionLimiter
from rr_py_ws.adapters.http.places import Places
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.adapters.http.refusals import REFUSALS, Refusals
from rr_py_ws.adapters.net.acceptor import Acceptor
from rr_py_ws.adapters.net.listen import listen as bind
from rr_py_ws.adapters.net.transports import keep_alive
from rr_py_ws.adapters.net.turns import Turns
from rr_py_ws.address import TCPAddress, parse_host_port
from rr_py_ws.config import Limits
from rr_py_ws.errors import ConfigError
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.http import RequestHead
from rr_py_ws.wire.upgrade import requested_protocols

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.pages import Exchanges

Handler = Callable[[HTTPConnection], None]
"""Answers the request of a connection, now or later, by `HTTPConnection.refuse` or `hand_over`.

A handler that answers later sets `HTTPConnection.on_lost`, to learn when nobody waits for the answer.
"""

_NOT_SENT = 128 * 1024
"""Bytes not sent yet that the kernel may hold for a client."""

_HEADS = 16 * 1024
"""Bytes of request heads that are read in one turn of the event loop: one that is as dear as may be, full of
cookies, takes up to three milliseconds with the question to PHP, the usual one a tenth of one."""
_PAGE = 2 * 1024
"""What a request for a page counts for besides its head: a task, and much of a small answer."""
_SPARE_TIME = 1.0
"""Seconds, at a stop, in which the request of a connection that has sent nothing may still come."""

log = logs.get_logger("websockets")


class HTTPListener:
    """Accepts connections and has their requests answered.

    Args:
        limits: those of connections, request heads and refusals are looked at.
        proxies: which peers may say for whom they speak.
        not_found: what the 404 for a path without a handler says about the others.
        max_connections: TCP connections at a time, with those that were handed over; over it the answer is
            503. 0 for no limit.
        max_refusals: connections over the limits that are being answered; more are cut without an answer.
        close_timeout: seconds that a peer has to read a refusal and to close its side; then it is cut.
        places: see `ConnectionLimiter`.

    Attributes:
        handlers: path -> who answers it. Paths are percent-decoded and compared exactly: `/ws/` and `//ws`
            are not `/ws`.
        upgrades: who answers requests of other paths that ask for another protocol; None: as any other.
        pages: answers all other paths; None: they are answered 404.
        redirect_port: the port with TLS that requests on the plain one are sent on to; 0: they are handled.
        never_redirected: paths that are answered on the plain port all the same.
        max_head_size: largest request head, bytes.
        max_headers: most headers of a request.
        max_refusal_size: largest headers and body of a refusal, bytes.
        limiter: counts the connections.
        turns: how many bytes of request heads are read in a turn of the event loop.
        unread: the refused ones that are not closed yet.
        stopping: whether every request is refused.
        refusals: reason -> requests refused for it; and `tls`, handshakes of TLS that failed.
        accept_failures: how often the system had no more sockets.
    """

    def __init__(
        self,
        limits: Limits,
        proxies: TrustedProxies,
        *,
        not_found: str,
        max_connections: int,
        max_refusals: int,
        close_timeout: float = 10.0,
        places: Places | None = None,
    ) -> None:
        self.proxies = proxies
        self.handlers: dict[str, Handler] = {}
        self.upgrades: Handler | None = None
        self.not_found = not_found
        self.pages: Exchanges | None = None
        self.redirect_port = 0
        self.never_redirected: set[str] = set()
        self.unread = Refusals(limits.refusal_memory)
        self.limiter = ConnectionLimiter(
            limits,
            proxies,
            max_connections=max_connections,
            max_refusals=max_refusals,
            close_timeout=close_timeout,
            places=places,
        )
        self.reload(limits, max_connections)
        self.stopping = False
        self.refusals = dict.fromkeys((*REFUSALS, "tls"), 0)
        self.accept_failures = 0
        self._close_timeout = close_timeout
        self.turns = Turns(_HEADS)
        self._acceptors: list[Acceptor] = []
        self._secured: list[Acceptor] = []
        self._connections: set[HTTPConnection] = set()
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    def reload(self, limits: Limits, max_connections: int) -> None:
        """Take other limits of connections, heads and refusals."""
        self.max_head_size = limits.max_head_size
        self.max_headers = limits.max_headers
        self.max_refusal_size = limits.max_refusal_size
        self.limiter.reload(limits, max_connections)
        self.unread.limit = limits.refusal_memory

    def use(self, tls: ssl.SSLContext) -> None:
        """Secure connections from now on by another context, on the addresses that have TLS."""
        for acceptor in self._secured:
            acceptor.use(tls)

    def __len__(self) -> int:
        """Return the number of connections that are neither closed nor handed over."""
        return len(self._connections)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listening TCP socket."""
        found = [acceptor.address for acceptor in self._acceptors]
        return [(address.host, address.port) for address in found if isinstance(address, TCPAddress)]

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        yield gauge("handshakes", "Connections that are no WebSocket yet.", len(self._connections))
        yield from self.limiter.metrics()
        yield from self.unread.metrics()
        if self.pages is not None:
            yield from self.pages.metrics()
        yield counter("handshakes_refused", "Requests that were refused.", self.refusals, "reason")
        yield counter("accept_failures", "Failed attempts to accept connections.", self.accept_failures)

    async def listen(
        self,
        address: str,
        tls: ssl.SSLContext | None = None,
        *,
        key: str = "http.address",
        path: str = "",
        inherited: Sequence[socket.socket] = (),
    ) -> None:
        """Accept connections on `host:port`; an empty host means all IPv4 addresses, port 0 any free one.

        Args:
            address: where.
            tls: how connections are secured; None for not at all.
            key: the configuration key that the address comes from, for error texts.
            path: what is served there, for the log.
            inherited: sockets that listen already; used instead of binding the address.

        Raises:
            ConfigError: the address cannot be parsed or bound.
        """
        try:
            parsed = parse_host_port(address)
        except ValueError as error:
            raise ConfigError(key, str(error)) from None
        for listening in inherited or await bind(parsed, key):
            # Left alone the kernel takes megabytes that are not sent yet, of each client as many as it likes:
            # nobody would know which client is behind, and each message would be that much older on its way.
            if listening.family != socket.AF_UNIX:  # accepted sockets inherit both
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT)
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(listening)  # while a page is made, nothing is written that would tell of the end
            acceptor = Acceptor(
                listening,
                partial(self._accept, tls is not None),
                tls=tls,
                tls_shutdown_timeout=self._close_timeout,
                channel="websockets",
                on_failure=self._accept_failed,
                polled=tls is None,
            )
            self._acceptors.append(acceptor)
            if tls is not None:
                self._secured.append(acceptor)
            log.info(
                "websocket listener was started",
                address=str(acceptor.address),
                path=path,
                tls=tls is not None,
                inherited=bool(inherited),
            )

    def other_handler(self, head: RequestHead) -> Handler | None:
        """Return who answers a request whose path has no handler; None: a page, or nobody."""
        if self.upgrades and b"upgrade" in head.first and requested_protocols(head):
            return self.upgrades
        return None

    def begin_page(self) -> None:
        """Count a request for a page: few are begun in one turn of the event loop."""
        self.turns.charge(_PAGE)

    def refuse(self) -> None:
        """Listen no more, and answer requests that are not answered yet with 503."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()
        self.stopping = True  # those that are accepted, and whose `connection_made` is to come, look at this
        for connection in tuple(self._connections):
            connection.dismiss()

    async def stop(self, timeout: float) -> int:
        """Refuse new requests, let pages finish theirs, wait until all connections are closed, cut the rest.

        Connections that were handed over are not waited for. Cancelling this cuts nobody.

        Args:
            timeout: seconds to wait.

        Returns:
            How many connections had to be cut.
        """
        self.refuse()
        if not await self._gone_within(min(timeout, _SPARE_TIME)):
            for connection in tuple(self._connections):
                if connection.spare:
                    connection.cut()
        left: tuple[HTTPConnection, ...] = ()
        if not await self._gone_within(max(0.0, timeout - _SPARE_TIME)):
            # Cutting is told by `connection_lost` in a later turn of the loop, hence the second wait.
            left = tuple(self._connections)
            for connection in left:
                connection.cut()
            await self._all_gone.wait()
        if self.pages is not None:
            await self.pages.stop()
        self.limiter.stop()
        return len(left)

    async def _gone_within(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await self._all_gone.wait()
        except TimeoutError:
            return False
        return True

    def release(self, successor: asyncio.Protocol) -> None:
        """Give back the place of a connection that was handed over; its socket is closed. Once for each."""
        self.limiter.release(successor)

    def forget(self, connection: HTTPConnection) -> None:
        """The transport of a connection is closed, or belongs to another protocol."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    def _accept(self, secure: bool, accepted: socket.SocketType, peer: str) -> HTTPConnection | None:
        connection = HTTPConnection(self, accepted, peer, secure=secure)
        # None: the acceptor closes the socket, and no transport is made for it.
        if not self.limiter.acquire(connection):
            return None
        if not self._connections:
            self._all_gone.clear()
        self._connections.add(connection)
        return connection

    def _accept_failed(self) -> None:
        self.accept_failures += 1
