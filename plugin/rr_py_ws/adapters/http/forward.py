"""`websockets.http.forward`: an ASGI application that has requests answered by another server.

Both ways are streamed: of a request and of an answer there is never more here than a buffer, and whoever
does not take what was sent makes the other side wait. Nothing is held back until there is more of it, so
Server-Sent Events arrive when they were sent. Trailers are left out: a proxy may do so, and applications that
merge them into the headers could be told anything by them (RFC 9110 section 6.5.1).

Whoever runs the application cancels it when the client goes away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.adapters.http.upstream import Upstream
from rr_py_ws.adapters.http.upstream_connection import UpstreamConnection, UpstreamError
from rr_py_ws.adapters.net.deadline import timeout
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.metrics import Sample, counter
from rr_py_ws.wire.upstream import LAST_CHUNK, Sender, answer_headers, chunk, request_head

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
"""Methods of requests that may be sent twice (RFC 9110 section 9.2.2)."""
_CONTINUE_TIMEOUT = 1.0
"""Seconds to wait for a server that does not know `Expect: 100-continue` (RFC 9110 section 10.1.1)."""
PAGES = {
    502: b"502 Bad Gateway\nThe server behind this one gave no usable answer.\n",
    503: b"503 Service Unavailable\nToo many requests are under way.\n",
    504: b"504 Gateway Timeout\nThe server behind this one gave no answer in time.\n",
    508: b"508 Loop Detected\nThe server behind this one passes requests back to it.\n",
}
"""The answer by status, when there is none to pass on."""

log = logs.get_limited("http")


def sender_of(proxies: TrustedProxies, peer: str, scheme: str, lines: list[str]) -> Sender:
    """Say who sent a request.

    Args:
        proxies: whom to believe.
        peer: address of the nearest sender; empty when it has none (unix socket).
        scheme: `http` or `https`.
        lines: the values of `proxies.header`.
    """
    if not proxies.trusts(peer):
        return Sender((peer or "unknown",), scheme)
    return Sender(proxies.senders(peer, lines), scheme, proxies.header)


class Forward:
    """The application.

    Args:
        upstream: who answers.
        proxies: which peers may say for whom they speak.
    """

    def __init__(self, upstream: Upstream, proxies: TrustedProxies) -> None:
        self._upstream = upstream
        self._proxies = proxies
        self._bodies = TaskSet("forward")
        self._results = dict.fromkeys(("answered", "failed", "broken", "aborted"), 0)

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        yield counter("forwarded_requests", "Requests that were passed on.", self._results, "result")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request; when the answer breaks off, this ends without the end of the answer."""
        request = _Request(self._upstream, scope, receive, send)
        try:
            self._upstream.check_new(scope["headers"])
            async with self._upstream.place():
                await request.pass_on(self._sender(scope), self._bodies)
            self._results["answered"] += 1
        except asyncio.CancelledError:
            self._results["aborted"] += 1
            raise
        except UpstreamError as error:
            self._results["broken" if request.started else "failed"] += 1
            text = "an answer broke off" if request.started else "request not answered"
            log.warning(text, status=error.status, reason=str(error), path=scope["path"])
            if not request.started:
                await _answer(send, error.status)

    async def stop(self) -> None:
        """Wait until nothing of a request is passed on any more; the server has ended all of them."""
        await self._bodies.cancel()

    def _sender(self, scope: Message) -> Sender:
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == self._proxies.header]
        return sender_of(self._proxies, scope["state"]["peer"], scope["scheme"], lines)


class _Request:
    """One request on its way, and its answer.

    Args:
        upstream: who answers.
        scope: of ASGI.
        receive: of ASGI.
        send: of ASGI.

    Attributes:
        started: the head of the answer was sent to the client.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_expects",
        "_receive",
        "_scope",
        "_send",
        "_sent",
        "_upstream",
        "started",
    )

    def __init__(self, upstream: Upstream, scope: Message, receive: Receive, send: Send) -> None:
        self._upstream = upstream
        self._scope = scope
        self._receive = receive
        self._send = send
        self._connection: UpstreamConnection | None = None
        self._chunked = self._expects = False
        self._sent = True
        self.started = False

    async def pass_on(self, sender: Sender, bodies: TaskSet) -> None:
        """Send the request on, and its answer back.

        Args:
            sender: who sent the request.
            bodies: runs what sends the body of the request meanwhile.

        Raises:
            UpstreamError: there is no answer, or it has broken off.
        """
        head = self._head(sender)
        # Over a connection that was used before, it may have to be sent again.
        may_repeat = self._sent and self._scope["method"] in _IDEMPOTENT
        sending: asyncio.Task[None] | None = None
        try:
            connection = await self._ask(head, self._upstream.take_idle(fresh=not may_repeat))
            wanted = not self._expects or await self._may_continue(connection)
            if wanted and not self._sent:
                sending = bodies.spawn(self._pass_body(connection))
            try:
                await self._head_of(connection)
            except UpstreamError as error:
                if not (error.stale and may_repeat):
                    raise
                connection = await self._ask(head)
                await self._head_of(connection)
            await self._pass_answer(connection)
        finally:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if sending is not None:
                sending.cancel()

    def _head(self, sender: Sender) -> bytes:
        """Encode the head, and look at how the body comes."""
        scope = self._scope
        for name, value in scope["headers"]:
            if name == b"transfer-encoding":
                self._chunked, self._sent = True, False
            elif name == b"content-length":
                self._sent = self._sent and value == b"0"
            elif name == b"expect":
                self._expects = value.lower() == b"100-continue"
        self._expects = self._expects and not self._sent
        upstream = self._upstream
        return request_head(
            scope["method"], scope["target"], scope["headers"], sender, upstream.authority, upstream.mark
        )

    async def _ask(self, head: bytes, connection: UpstreamConnection | None = None) -> UpstreamConnection:
        """Send the head of the request over a connection; None for a new one."""
        if connection is None:
            connection = await self._upstream.connect()
        self._connection = connection
        connection.ask(head, to_head=self._scope["method"] == "HEAD")
        return connection

    @staticmethod
    async def _may_continue(connection: UpstreamConnection) -> bool:
        """Wait for the word about a body that the client has not sent yet; False: the answer is there."""
        with suppress(TimeoutError):
            async with timeout(_CONTINUE_TIMEOUT):
                await connection.head()
        return not connection.answer.status

    @staticmethod
    async def _head_of(connection: UpstreamConnection) -> None:
        while not connection.answer.status:
            await connection.head()

    async def _pass_body(self, connection: UpstreamConnection) -> None:
        """Send the body of the request on."""
        # If the server does not take it, its answer, or the lack of one, says what has become of it.
        with suppress(UpstreamError):
            while not self._sent:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    return
                body, more = message.get("body", b""), message.get("more_body", False)
                if self._chunked:
                    body = (chunk(body) if body else b"") + (b"" if more else LAST_CHUNK)
                if body:
                    await connection.write(body)
                self._sent = not more

    async def _pass_answer(self, connection: UpstreamConnection) -> None:
        """Send the answer on. The connection is free as soon as all of it is here."""
        answer = connection.answer
        headers = answer_headers(answer.headers, answer.status)
        self.started = True
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if not (answer.body or answer.complete):  # pages hold a head back for what follows at once
            await self._send({"type": "http.response.body", "body": b"", "more_body": True})
        more = True
        while more:
            body = await connection.read()
            more = not answer.complete
            if not more:
                self._connection = None
                if self._sent:
                    self._upstream.give_back(connection)
                else:
                    connection.close()
            if body or not more:
                await self._send({"type": "http.response.body", "body": body, "more_body": more})


async def _answer(send: Send, status: int) -> None:
    page = PAGES[status]
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(page))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": page, "more_body": False})
