"""All WebSockets of a server: how they begin, which are open, how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

from rr_py_ws import logs
from rr_py_ws.adapters.ws.connection import Connection
from rr_py_ws.adapters.ws.context import ConnectionContext
from rr_py_ws.adapters.ws.drain import close_all
from rr_py_ws.adapters.ws.gap_closer import GapCloser
from rr_py_ws.adapters.ws.handshake_queue import HandshakeQueue
from rr_py_ws.adapters.ws.keepalive import KeepAlive
from rr_py_ws.adapters.ws.metrics import WebSocketMetrics
from rr_py_ws.adapters.ws.protocol.deflate import negotiate
from rr_py_ws.adapters.ws.read_throttle import ReadTurns
from rr_py_ws.adapters.ws.upgrade import HTTPConnection, Upgrade, ask
from rr_py_ws.config import Compression, WebSockets
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.origin import OriginRule
from rr_py_ws.core.ports import Authorizer, Subscriptions
from rr_py_ws.core.registry import Registry
from rr_py_ws.core.session_context import SessionContext, breach_of_put
from rr_py_ws.core.token_bucket import TokenBucket
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.deflate import Compressor
from rr_py_ws.wire.details import NO_DETAILS
from rr_py_ws.wire.http import RequestHead
from rr_py_ws.wire.push import BY_SUBPROTOCOL, STRING, Encoding
from rr_py_ws.wire.upgrade import (
    accept_response,
    check_before_asking,
    check_upgrade,
    offered_extensions,
    requested_subprotocols,
)
from rr_py_ws.wire.verdict import ALLOWED, FAILED, Verdict

_FOR_EACH_WORKER = 4
"""Handshakes that are being decided: so many that no worker waits for one, and few, as they take no turns."""
_GAP_TIME = 3.0
"""Seconds over which clients are closed after a gap, at least: they all come back."""

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
        self._workers = max(1, section.pool.num_workers)
        self.queue = HandshakeQueue(*self._handshakes(section))
        self._origins = OriginRule(section.allowed_origin)
        self._compressor = self._build_compressor(section.compression)
        self._compression = section.compression
        self._gaps = GapCloser(max(section.drain.time, _GAP_TIME))
        self._context = ConnectionContext(
            limits,
            SessionContext(
                authorizer,
                subscriptions,
                limits,
                self.counters.commands,
                select_broker=section.select_broker,
                tell_of_gaps=section.on_gap == "tell",
            ),
            self.counters,
            TokenBucket(limits.commands_per_second),
            ReadTurns(),
            backpressure,
            self._gaps,
            close_timeout,
            self._closed,
        )
        self._release = release
        self._keepalive = KeepAlive(section.ping.interval, section.ping.timeout)
        self._keepalive.start()
        self._warned_of_cookies = False
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    def reload(self, section: WebSockets) -> None:
        """Take what concerns clients that connect from now on, and the times that concern all of them."""
        limits, context = section.limits, self._context
        self.authorize_timeout = section.authorize_timeout
        self.queue.reload(*self._handshakes(section))
        self._origins = OriginRule(section.allowed_origin)
        if section.compression != self._compression:  # clients that share a compressor share its frames
            self._compressor = self._build_compressor(section.compression)
            self._compression = section.compression
        self._gaps.seconds = max(section.drain.time, _GAP_TIME)
        self._keepalive.reload(section.ping.interval, section.ping.timeout, self.registry)
        self._context = replace(
            context,
            limits=limits,
            session=replace(context.session, limits=limits, tell_of_gaps=section.on_gap == "tell"),
            bucket=TokenBucket(limits.commands_per_second),
        )

    def _handshakes(self, section: WebSockets) -> tuple[int, float, float]:
        """Return what a handshake queue goes by."""
        limits = section.limits
        return (
            limits.max_handshakes or _FOR_EACH_WORKER * self._workers,
            limits.handshakes_per_second,
            min(limits.handshake_wait, section.authorize_timeout),
        )

    def _build_compressor(self, section: Compression) -> Compressor | None:
        if not section.enabled:
            return None
        # The handler may be made before the loop runs.
        return Compressor(
            section.level,
            section.min_size,
            self.counters.deflate,
            lambda begin: asyncio.get_running_loop().call_soon(begin),
        )

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
        """Decide about a request: refuse what needs no authorizer, and ask it about the rest."""
        request = connection.request
        head = request.head
        if not self._origins.allows_all and not self._origins.allows(origin := head.joined(b"origin")):
            text = "handshake refused, see websockets.allowed_origin"
            log.warning(text, origin=origin, **connection.ends)
            connection.refuse("origin", Verdict(405))
        elif (refusal := check_before_asking(head)) is not None:
            self._refuse_upgrade(connection, refusal)
        elif not self.queue.may_begin():
            Upgrade(connection, self).wait()
        elif isinstance(verdict := ask(self.authorizer, request), Verdict):
            self.answer(connection, verdict)
        else:
            self.queue.begin()
            Upgrade(connection, self).await_verdict(verdict)

    def answer(self, connection: HTTPConnection, verdict: Verdict) -> None:
        """Do with a request what the authorizer says."""
        if verdict is ALLOWED or verdict.allowed:
            self._accept(connection, verdict)
        elif not verdict.answered:  # the authorizer has said why
            connection.refuse("unanswered", verdict)
        else:
            log.info("handshake refused", status=verdict.status, **connection.ends)
            fields = {"status": verdict.status, "headers": verdict.headers, "body": verdict.body}
            log.debug("handshake refused, the answer of PHP", **fields)
            connection.refuse("authorization", verdict)

    def _accept(self, connection: HTTPConnection, verdict: Verdict) -> None:
        """Make a request that the authorizer has allowed a WebSocket, if it asks for one as it should."""
        head = connection.request.head
        refusal = check_upgrade(head)
        if refusal is not None:
            self._refuse_upgrade(connection, refusal)
            return
        grant, details = verdict.grant, verdict.details
        if details.join and (breach := breach_of_put(details.join, self._context.limits)):
            text = "handshake refused: PHP puts the client into topics"
            log.error(text, reason=breach, **connection.ends)
            connection.refuse("unanswered", FAILED)
            return
        if grant is not None and not self._warned_of_cookies:
            self._look_at_cookies(head)
        encoding, extensions = STRING, ""
        if self._compressor is not None or b"sec-websocket-protocol" in head.first:
            encoding, extensions = self._choose_encoding(head)
        bare = None if connection.request.secure else connection.socket
        opened = Connection(self._context, connection.transport, bare, encoding, grant, details)
        rest = connection.hand_over(opened)
        opened.write(accept_response(head, encoding.subprotocol, extensions))
        self.counters.accepted += 1
        self.registry.add(opened)
        self._all_gone.clear()
        self._keepalive.add(opened)
        if log.debugs:
            user = {} if opened.identity is None else {"user": opened.identity.user}
            log.debug("websocket client connected", client=opened.id, **user)
        if details is not NO_DETAILS:
            opened.begin(details)
        if rest:
            opened.data_received(rest)

    async def drain(self, seconds: float, elsewhere: int = 0) -> None:
        """Tell all clients to go (1001), spread over some seconds; until its turn each is served as ever.

        Args:
            seconds: how many.
            elsewhere: clients of the server that are in other processes.
        """
        self._gaps.stop()
        await close_all([connection.close_going_away for connection in self.registry], seconds, elsewhere)

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

    @staticmethod
    def _refuse_upgrade(connection: HTTPConnection, refusal: Verdict) -> None:
        reason = refusal.body.decode()
        log.warning("request refused: it asks for no WebSocket", reason=reason, **connection.ends)
        connection.refuse("upgrade", refusal)

    def _choose_encoding(self, head: RequestHead) -> tuple[Encoding, str]:
        """Return the encoding of the client, and the header that accepts compression; empty for none."""
        offered = requested_subprotocols(head)
        encoding = next((BY_SUBPROTOCOL[name] for name in offered if name in BY_SUBPROTOCOL), STRING)
        if self._compressor is None or (agreed := negotiate(offered_extensions(head))) is None:
            return encoding, ""
        extensions, window_bits = agreed
        self.counters.deflate.agreed += 1
        return self._compressor.encoding(encoding, window_bits), extensions

    def _look_at_cookies(self, head: RequestHead) -> None:
        """Warn once when pages of any origin connect with the cookies of their visitors.

        Without a grant nobody looks at the cookies, so there is nothing to gain by them.
        """
        if self._origins.allows_all and b"cookie" in head.first and b"origin" in head.first:
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
        self._gaps.discard(connection)
        if not self.registry:
            self._all_gone.set()
        log.debug("websocket client disconnected", client=connection.id)
