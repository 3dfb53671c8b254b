"""One connection to the server behind: a request out, its answer in, as fast as the client takes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from rr_py_ws.errors import ProtocolError, RRWSError
from rr_py_ws.wire.upstream import AnswerReader

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.upstream import Upstream

_BUFFER = 64 * 1024
"""Bytes of an answer that are kept for a client that is slower than the upstream server."""


class UpstreamError(RRWSError):
    """No answer of the upstream server can be passed on; the text says why.

    Attributes:
        status: of the answer to the client: 502, 503 or 504.
        stale: the connection had been used before, and ended before anything came for this request.
    """

    def __init__(self, reason: str, status: int = 502, *, stale: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.stale = stale


class UpstreamConnection(asyncio.Protocol):
    """One connection: a request is written, and its answer is read under the client's back-pressure.

    Args:
        upstream: whose it is.

    Attributes:
        transport: from `connection_made` on.
        answer: of the request that is under way.
        used: whether it has carried a request before.
    """

    __slots__ = (
        "_draining",
        "_error",
        "_handed_over",
        "_heard",
        "_paused",
        "_upstream",
        "_waiting",
        "answer",
        "transport",
        "used",
    )

    transport: asyncio.Transport
    answer: AnswerReader

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._error: UpstreamError | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._draining: asyncio.Future[None] | None = None
        self._paused = False
        self.used = False
        self._heard = False
        self._handed_over = False

    def ask(self, head: bytes, *, to_head: bool = False, upgrade: bool = False) -> None:
        """Send the head of a request; `answer` belongs to it from now on."""
        self.answer = AnswerReader(to_head=to_head, upgrade=upgrade)
        self._heard = False
        self.transport.write(head)
        self.expect_answer()

    def expect_answer(self) -> None:
        """Begin to wait for the head of the answer, anew when a part of the request was sent."""
        self._upstream.silent.pop(self, None)
        if not self.answer.status and self._error is None:
            self._upstream.silent.add(self, asyncio.get_running_loop().time())

    async def write(self, data: bytes) -> None:
        """Send a part of the request, and wait as long as the server does not take it.

        Raises:
            UpstreamError: the connection is closed.
        """
        self._expect_open()
        self.transport.write(data)
        self.expect_answer()
        if self._draining is not None:
            await asyncio.shield(self._draining)
            self._expect_open()
            self.expect_answer()

    async def head(self) -> None:
        """Wait until the head of the answer is there, or until the server asks for the body of the request.

        Raises:
            UpstreamError: it does not come.
        """
        asked = self.answer.may_continue
        while not self.answer.status and self.answer.may_continue == asked:
            await self._wait()

    async def read(self) -> bytes:
        """Return the next part of the body, whatever has come of it; empty at the end.

        Raises:
            UpstreamError: the connection ends before the answer.
        """
        answer = self.answer
        while not answer.body and not answer.complete:
            await self._wait()
        body = answer.body[0] if len(answer.body) == 1 else b"".join(answer.body)
        answer.body.clear()
        if self._paused and not answer.complete and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()
        return body

    def hand_over(self, successor: asyncio.Protocol) -> None:
        """Give the transport, of which nothing is read since the 101 came, to another protocol."""
        self._upstream.silent.pop(self, None)
        self._upstream.connections -= 1
        self.transport.set_protocol(successor)
        self._handed_over = True

    def fail(self, error: UpstreamError) -> None:
        """Close the connection at once, and tell whoever waits for it."""
        if self._handed_over:
            return
        if self._error is None:
            self._error = error
        self._upstream.silent.pop(self, None)
        self._upstream.idle.pop(self, None)
        self.transport.abort()
        if hasattr(self, "answer"):
            self.answer.close()
        self._wake()

    def close(self) -> None:
        """Close an idle connection, or one whose answer is not wanted."""
        self.fail(UpstreamError("the connection was closed"))

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; nothing comes before a request."""
        self.transport = cast(asyncio.Transport, transport)
        self._upstream.connections += 1

    def data_received(self, data: bytes) -> None:
        """Read a part of an answer; what nobody has asked for ends the connection."""
        if self in self._upstream.idle or self._error is not None:
            self.close()
            return
        self._heard = True
        answer = self.answer
        try:
            answer.feed(data)
        except ProtocolError as error:
            self.fail(UpstreamError(f"the answer cannot be read: {error}"))
            return
        if answer.status:
            self._upstream.silent.pop(self, None)
            if answer.status == 101:  # what follows is for the next protocol
                self.transport.pause_reading()
            elif not answer.complete and not self._paused and sum(map(len, answer.body)) > _BUFFER:
                self._paused = True
                self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The server has closed its side, which may be the end of an answer."""
        self._upstream.idle.pop(self, None)
        self._ended(None)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._upstream.connections -= 1
        self._upstream.idle.pop(self, None)
        self._ended(error)

    def pause_writing(self) -> None:
        """The server takes no more for now."""
        self._draining = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """The server takes more."""
        if self._draining is not None and not self._draining.done():
            self._draining.set_result(None)
        self._draining = None

    def _ended(self, error: Exception | None) -> None:
        """Complete an answer that ends with its connection; any other one is broken."""
        if self._error is None and hasattr(self, "answer"):
            try:
                if error is not None and not self.answer.complete:
                    raise ProtocolError(f"the connection was lost: {error}")
                self.answer.end()
            except ProtocolError as problem:
                self._error = UpstreamError(str(problem), stale=self.used and not self._heard)
        self._upstream.silent.pop(self, None)
        self._wake()

    def _expect_open(self) -> None:
        if self._error is not None:
            raise self._error
        if self.transport.is_closing():
            raise UpstreamError("the connection ended before the request did")

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        if self._error is not None:
            self.resume_writing()
