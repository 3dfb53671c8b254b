"""All WebSockets of a server: how they begin, which are open, how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from rr_py_ws import logs
from rr_py_ws.adapters.ws.connection import Connection
from rr_py_ws.adapters.ws.context import ConnectionContext
from rr_py_ws.adapters.ws.drain import close_all
from rr_py_ws.adapters.ws.handshake_queue import HandshakeQueue
from rr_py_ws.adapters.ws.keepalive import KeepAlive
from rr_py_ws.adapters.ws.metrics import WebSocketMetrics
from rr_py_ws.adapters.ws.protocol.deflate import negotiate
from rr_py_ws.adapters.ws.read_throttle import ReadTurns
from rr_py_ws.adapters.ws.upgrade import HTTPConnection, Upgrade
from rr_py_ws.config import WebSockets
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.origin import OriginRule
from rr_py_ws.core.ports import Authorizer, Subscriptions
from rr_py_ws.core.registry import Registry
from rr_py_ws.core.session import SessionContext
from rr_py_ws.core.token_bucket import TokenBucket
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.access import Verdict
from rr_py_ws.wire.deflate import Compressor
from rr_py_ws.wire.http import RequestHead
from rr_py_ws.wire.push import BY_SUBPROTOCOL, STRING, Encoding
from rr_py_ws.wire.upgrade import accept_response, check_upgrade, offered_extensions, requested_subprotocols

log = logs.get_limited("websockets")


class WebSocketHandler:
    """The handler of `websockets.path`, and everything that its WebSockets share.

    Args:
        section: `websockets`; it is used as it is.
        authorizer: decides about handshakes and joins.
        subscriptions: where clients join topics.
        backpressure: told of receivers that are behind.
        release: called with a connection whose socket is gone, so that another one may have its place.
        close_timeout: see `ConnectionContext`.

    Attributes:
        queue: in what order handshakes are decided.
        registry: the open connections.
        authorize_timeout: seconds that a handshake may take to be decided, with the wait for its turn.
    """

    def __init__(
        self,
        section: WebSockets,
        authorizer: Authorizer,
        subscriptions: Subscriptions,
        backpressure: Backpressure,
        release: Callable[[Connection], None],
        *,
        close_timeout: float = 10.0,
    ) -> None:
        limits = section.limits
        self.authorizer = authorizer
        self.authorize_timeout = section.authorize_timeout
        self.counters = WebSocketMetrics()
        self.registry: Registry[Connection] = Registry()
        self.queue = HandshakeQueue(
            limits.max_handshakes,
            limits.handshakes_per_second,
            min(limits.handshake_wait, section.authorize_timeout),
        )
        self._origins = OriginRule(section.allowed_origin)
        self._compressor: Compressor | None = None
        if section.compression.enabled:
            compression = section.compression
            self._compressor = Compressor(compression.level, compression.min_size, self.counters.deflate)
        self._context = ConnectionContext(
            limits,
            SessionContext(authorizer, subscriptions, limits, self.counters.commands),
            self.counters,
            TokenBucket(limits.commands_per_second),
            ReadTurns(),
            backpressure,
            close_timeout,
            self._closed,
        )
        self._release = release
        self._keepalive = KeepAlive(section.ping.interval, section.ping.timeout)
        self._keepalive.start()
        self._warned_of_cookies = False
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    def __len__(self) -> int:
        """Return the number of open WebSockets."""
        return len(self.registry)

    def metrics(self) -> Iterator[Sample]:
        """Yield the samples of all WebSockets."""
        yield gauge("connections", "Open WebSockets.", len(self.registry))
        yield gauge("handshakes_waiting", "Requests that wait for their turn.", self.queue.waiting)
        text = "WebSockets cut because a ping was not answered."
        yield counter("silent_clients", text, self._keepalive.cut)
        yield from self.counters.metrics()

    def handle(self, connection: HTTPConnection) -> None:
        """Decide about a request: refuse what needs no authorizer, and queue the rest."""
        if self._origins.allows(connection.request.head.header(b"origin")):
            Upgrade(connection, self)
        else:
            connection.refuse("origin", Verdict(405))

    def accept(self, connection: HTTPConnection, verdict: Verdict) -> None:
        """Make a request that the authorizer has allowed a WebSocket, if it asks for one as it should."""
        head = connection.request.head
        refusal = check_upgrade(head)
        if refusal is not None:
            connection.refuse("upgrade", refusal)
            return
        self._look_at_cookies(head, verdict)
        encoding, extensions = self._choose_encoding(head)
        opened = Connection(self._context, connection.transport, connection.socket, encoding, verdict.grant)
        rest = connection.hand_over(opened)
        opened.write(accept_response(head, encoding.subprotocol, extensions))
        self.counters.accepted += 1
        self.registry.add(opened)
        self._all_gone.clear()
        self._keepalive.add(opened)
        log.debug("websocket client connected", client=opened.id)
        if rest:
            opened.data_received(rest)

    async def drain(self, seconds: float) -> None:
        """Tell all clients to go (1001), spread over some seconds; until its turn each is served as ever."""
        await close_all([connection.close_going_away for connection in self.registry], seconds)

    async def stop(self, timeout: float) -> int:
        """Cut the clients that do not go, after `drain`. Cancelling this cuts nobody.

        Args:
            timeout: seconds that the last clients get to go.

        Returns:
            How many had to be cut.
        """
        self._keepalive.stop()
        cut: tuple[Connection, ...] = ()
        try:
            async with asyncio.timeout(timeout):
                await self._all_gone.wait()
        except TimeoutError:
            cut = tuple(self.registry)
            for connection in cut:
                connection.abort()
            await self._all_gone.wait()
        self.queue.stop()
        return len(cut)

    def _choose_encoding(self, head: RequestHead) -> tuple[Encoding, str]:
        """Return the encoding of the client, and the header that accepts compression; empty for none."""
        offered = requested_subprotocols(head)
        encoding = next((BY_SUBPROTOCOL[name] for name in offered if name in BY_SUBPROTOCOL), STRING)
        agreed = None if self._compressor is None else negotiate(offered_extensions(head))
        if self._compressor is None or agreed is None:
            return encoding, ""
        extensions, window_bits = agreed
        self.counters.deflate.agreed += 1
        return self._compressor.encoding(encoding, window_bits), extensions

    def _look_at_cookies(self, head: RequestHead, verdict: Verdict) -> None:
        """Warn once when pages of any origin connect with the cookies of their visitors.

        Without a grant nobody looks at the cookies, so there is nothing to gain by them.
        """
        if self._warned_of_cookies or not self._origins.allows_all or verdict.grant is None:
            return
        if b"cookie" in head.first and b"origin" in head.first:
            self._warned_of_cookies = True
            log.warning(
                "a browser sent cookies, and websockets.allowed_origin allows every page: any web site can"
                " connect in the name of its visitors; name your own pages there"
            )

    def _closed(self, connection: Connection, code: int | None) -> None:
        self.counters.count_close(code)
        self.registry.discard(connection)
        self._release(connection)
        self._keepalive.discard(connection)
        if not self.registry:
            self._all_gone.set()
        log.debug("websocket client disconnected", client=connection.id)
