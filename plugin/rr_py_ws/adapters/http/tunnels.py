"""Upgrades of paths that are not ours: WebSockets, and whatever else, of the server behind.

The head is passed on as that of any request, with the protocols that the client asks for. Bytes of the client
follow only when the server has changed to one of them (101): to a server that has not, they would be another
request, one that nobody here has looked at. From then on bytes go both ways, and each side waits for the
other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from rr_py_ws import logs
from rr_py_ws.adapters.http.connection import HTTPConnection
from rr_py_ws.adapters.http.forward import PAGES, sender_of
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.adapters.http.tunnel import End, Tunnel
from rr_py_ws.adapters.http.upstream import Upstream
from rr_py_ws.adapters.http.upstream_connection import UpstreamConnection, UpstreamError
from rr_py_ws.adapters.net.deadline import timeout
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.adapters.net.timeout_queue import TimeoutQueue
from rr_py_ws.adapters.net.transports import cancel_soon
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.http import Request, try_again_later
from rr_py_ws.wire.upgrade import requested_protocols
from rr_py_ws.wire.upstream import Headers, answer_headers, request_head, switching_head, tokens
from rr_py_ws.wire.verdict import Verdict

_HALF_CLOSED = 60.0
"""Seconds that a tunnel may be silent when one side has ended."""
_STUCK = 60.0
"""Seconds in which one side has to take something of what waits for it."""
_CLOSING = 10.0
"""Seconds that one side may take to take what is left when the other one is gone."""

log = logs.get_limited("http")


class Tunnels:
    """The handler of upgrades, and all tunnels.

    Args:
        upstream: the server behind.
        proxies: which peers may say for whom they speak.
        release: called with the protocol of a client whose socket is gone, so that another one may have its
            place.
        limit: most tunnels at a time, with those that are being opened.
        max_answer: bytes of headers and body of an answer that is no 101; of a larger one only the status is
            passed on.

    Attributes:
        half_closed: tunnels of which one way has ended.
        closing: tunnels of which one connection is gone.
        stuck: ends whose peers do not take what waits for them.
    """

    def __init__(
        self,
        upstream: Upstream,
        proxies: TrustedProxies,
        release: Callable[[asyncio.Protocol], None],
        *,
        limit: int,
        max_answer: int,
    ) -> None:
        self.release = release
        self.half_closed = TimeoutQueue[Tunnel](_HALF_CLOSED, Tunnel.abort)
        self.closing = TimeoutQueue[Tunnel](_CLOSING, Tunnel.abort)
        self.stuck = TimeoutQueue[End](_STUCK, End.look_again)
        self._upstream = upstream
        self._proxies = proxies
        self.limit = limit
        self.max_answer = max_answer
        self._tasks = TaskSet("tunnels")
        self._opening: set[asyncio.Task[None]] = set()
        self._open: set[Tunnel] = set()
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._results = dict.fromkeys(("opened", "refused", "failed", "limit"), 0)

    def __len__(self) -> int:
        """Return the number of tunnels, with those that are being opened."""
        return len(self._open) + len(self._opening)

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        yield gauge("tunnels", "Upgraded connections that are passed on.", len(self._open))
        yield counter("upgrades_forwarded", "Upgrades of other paths.", self._results, "result")

    def handle(self, connection: HTTPConnection) -> None:
        """Ask the server behind about an upgrade."""
        if len(self) >= self.limit:
            self._results["limit"] += 1
            remote = connection.request.remote_addr
            log.warning("upgrade refused, see websockets.http.max_tunnels", limit=self.limit, remote=remote)
            connection.refuse("busy", try_again_later(503, PAGES[503]))
            return
        task = self._tasks.spawn(self._ask(connection))
        self._opening.add(task)
        task.add_done_callback(partial(self._asked, connection))
        connection.on_lost = partial(cancel_soon, task)

    async def stop(self, timeout: float) -> int:
        """End all tunnels: what was sent before arrives. Cancelling this cuts nobody.

        Args:
            timeout: seconds that the peers get to take it.

        Returns:
            How many had to be cut.
        """
        await self._tasks.cancel()
        cut: tuple[Tunnel, ...] = ()
        for tunnel in tuple(self._open):
            tunnel.close()
        try:
            async with asyncio.timeout(timeout):
                await self._all_gone.wait()
        except TimeoutError:
            cut = tuple(self._open)
            for tunnel in cut:
                tunnel.abort()
            await self._all_gone.wait()
        self.half_closed.stop()
        self.closing.stop()
        self.stuck.stop()
        return len(cut)

    def gone(self, tunnel: Tunnel) -> None:
        """Both connections of a tunnel are gone."""
        self._open.discard(tunnel)
        self.half_closed.pop(tunnel, None)
        self.closing.pop(tunnel, None)
        self.stuck.pop(tunnel.client, None)
        self.stuck.pop(tunnel.upstream, None)
        if not self._open:
            self._all_gone.set()

    def _asked(self, connection: HTTPConnection, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        # A mistake in this program, which is logged: nobody else would answer, and the client has no limit.
        if not task.cancelled() and task.exception() is not None and not connection.closing:
            connection.refuse("unanswered", Verdict(502, (), PAGES[502]))

    async def _ask(self, connection: HTTPConnection) -> None:
        request = connection.request
        try:
            headers = [(name.lower(), value) for name, value in request.head.headers]
            self._upstream.check_new(headers)
            upstream = await self._upstream.connect()
            try:
                await self._decide(connection, headers, upstream)
            finally:
                upstream.close()  # unless it is the end of a tunnel now
        except UpstreamError as error:
            self._results["failed"] += 1
            path = request.head.path
            log.warning("upgrade not answered", status=error.status, reason=str(error), path=path)
            if not connection.closing:
                connection.refuse("unanswered", Verdict(error.status, (), PAGES[error.status]))

    async def _decide(
        self, connection: HTTPConnection, headers: Headers, upstream: UpstreamConnection
    ) -> None:
        protocols = requested_protocols(connection.request.head)
        upstream.ask(self._head(connection, headers, protocols), upgrade=True)
        answer = upstream.answer
        while not answer.status:
            await upstream.head()
        if answer.status != 101:
            verdict = await self._verdict(upstream)
            self._results["refused"] += 1
            if not connection.closing:
                connection.answer(verdict)
            return
        chosen = tokens(answer.headers, b"upgrade")
        if not chosen or {name.lower() for name in chosen} - {name.lower() for name in protocols}:
            raise UpstreamError("the server changed to a protocol that nobody has asked for")
        if upstream.transport.is_closing():
            raise UpstreamError("the connection ended with the answer")
        if not connection.closing:
            self._begin(connection, upstream, chosen)

    def _head(self, connection: HTTPConnection, headers: Headers, protocols: list[bytes]) -> bytes:
        request: Request = connection.request
        head = request.head
        scheme = "https" if request.secure else "http"
        sender = sender_of(self._proxies, connection.peer, scheme, head.lines(self._proxies.header))
        if head.authority:  # the host of an absolute target counts (RFC 9112 section 3.2.2)
            headers = [(name, value) for name, value in headers if name != b"host"]
        authority = head.authority.encode() or self._upstream.authority
        target = head.target.encode("utf-8", "surrogateescape")
        upgrade = b", ".join(protocols)
        return request_head(head.method, target, headers, sender, authority, self._upstream.mark, upgrade)

    async def _verdict(self, upstream: UpstreamConnection) -> Verdict:
        """Read an answer that is no 101; one that is too large is its status only."""
        answer = upstream.answer
        headers = tuple(
            (name.decode(), value.decode("utf-8", "surrogateescape"))
            for name, value in answer_headers(answer.headers, answer.status)
        )
        body = b""
        try:
            async with timeout(self._upstream.response_timeout):
                while not answer.complete and len(body) <= self.max_answer:
                    body += await upstream.read()
        except TimeoutError:
            raise UpstreamError("the answer did not end in time", 504) from None
        body += b"".join(answer.body)
        verdict = Verdict(answer.status, headers, body)
        if verdict.size <= self.max_answer:
            return verdict
        log.warning("answer to an upgrade too large, see websockets.limits.max_refusal_size")
        return Verdict(answer.status)

    def _begin(self, connection: HTTPConnection, upstream: UpstreamConnection, chosen: list[bytes]) -> None:
        """Join the two connections."""
        answer = upstream.answer
        tunnel = Tunnel(self, connection.transport, upstream.transport)
        sent_before = connection.hand_over(tunnel.client)
        upstream.hand_over(tunnel.upstream)
        self._results["opened"] += 1
        self._open.add(tunnel)
        self._all_gone.clear()
        # Before anything is written: a side that does not take it has the other one pause.
        tunnel.upstream.transport.resume_reading()
        tunnel.client.transport.write(switching_head(answer.headers, chosen) + answer.rest)
        if sent_before:
            tunnel.upstream.transport.write(sent_before)
