"""One request for a page, and its answer: what an ASGI application calls, and what the event loop tells."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rr_py_ws import logs
from rr_py_ws.adapters.http.asgi import make_scope
from rr_py_ws.adapters.http.incoming import Incoming
from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.answer import AnswerEncoder

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.connection import HTTPConnection
    from rr_py_ws.adapters.http.pages import Exchanges

_WRITE = 16 * 1024
"""What a part of an answer counts for besides its bytes; see `pages.TURN`."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FAILED = b"Internal Server Error"
_FAILED_HEADERS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_FAILED)),
    (b"connection", b"close"),
]

log = logs.get_limited("http")


class Exchange:
    """Has the application answer one request.

    Args:
        connection: in the state SERVING.
        exchanges: what is shared.

    Attributes:
        task: runs the application; None before and after.
    """

    __slots__ = (
        "_answer",
        "_begun",
        "_connection",
        "_draining",
        "_ended",
        "_exchanges",
        "_head",
        "_incoming",
        "_lost",
        "_owes_continue",
        "_resumed",
        "_transport",
        "task",
    )

    def __init__(self, connection: HTTPConnection, exchanges: Exchanges) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._exchanges = exchanges
        self._head = head = connection.request.head
        self._incoming: Incoming | None = None
        self._answer = AnswerEncoder(head.method, head.version, keep_alive=head.keeps_alive)
        self._owes_continue = (
            b"expect" in head.first and head.header(b"expect").lower() == "100-continue"
        ) and head.version == "1.1"
        self._resumed: asyncio.Future[None] | None = None
        self._draining = False
        self._lost = False
        self._begun = False
        self._ended = False
        self.task: asyncio.Task[None] | None = None

    def begin(self, rest: bytes) -> None:
        """Have the application answer.

        Args:
            rest: what the peer has sent behind the request head.
        """
        self._transport.resume_reading()
        self.task = self._exchanges.loop.create_task(self._run())
        if rest:
            self.data_received(rest)
        elif self._head.body:
            self._watch()

    def finish(self) -> None:
        """Close the connection after this answer: the server is stopping."""
        self._answer.keep_alive = False

    def cut(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    # What the connection passes on of the event loop

    def data_received(self, data: bytes) -> None:
        """Take a part of the body, and keep what follows it."""
        (self._incoming or self._make_incoming()).receive_data(data)

    def connection_lost(self) -> None:
        """The client has gone, or was cut: nobody waits for the answer."""
        if not (self._answer.complete or self._ended):  # else it was broken off here
            self._exchanges.abandoned += 1
        self._abandon()
        if self._ended:
            self._release()

    def pause_writing(self) -> None:
        """The client takes nothing at the moment."""
        if self._resumed is None:
            self._resumed = self._exchanges.loop.create_future()
        self._watch()

    def resume_writing(self) -> None:
        """The client has taken what was written."""
        self._let_write()
        self._watch()
        if self._draining:
            self._give_back()

    # What the application calls

    async def receive(self) -> dict[str, Any]:
        """Return the next part of the body, or say that nobody waits for an answer any more."""
        if self._owes_continue and not self._transport.is_closing():
            self._owes_continue = False
            self._transport.write(_CONTINUE)
        if not (self._lost or self._answer.complete):
            message = await (self._incoming or self._make_incoming()).next_part()
            if not (self._lost or self._answer.complete):
                return message
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Send a part of the answer; waits while the client takes nothing, and for a turn."""
        kind = message["type"]
        if kind == "http.response.body":
            body = message.get("body", b"")
            if not self._exchanges.turns.take(_WRITE + len(body)):
                await self._exchanges.turns.piece(_WRITE + len(body))
            while self._resumed is not None:
                await asyncio.shield(self._resumed)
            self.write(self._answer.body(body, more=message.get("more_body", False)))
        elif kind == "http.response.start":
            # Where the next request begins is not known, and the rest may be large.
            if not self._has_all():
                self._answer.keep_alive = False
            self._owes_continue = False
            self._answer.begin(
                message["status"], message.get("headers", ()), trailers=message.get("trailers", False)
            )
        elif kind == "http.response.trailers":
            self.write(self._answer.end(message["headers"]))

    # The rest

    def write(self, data: bytes) -> None:
        """Write a part of the answer, if there is anybody to get it."""
        if data and not self._lost:
            self._transport.write(data)
        if self._answer.complete and self._incoming is not None:
            self._incoming.wake()

    def _has_all(self) -> bool:
        """Whether the client has sent its whole request, so that another may follow."""
        return not self._head.body if self._incoming is None else self._incoming.complete

    async def _run(self) -> None:
        self._begun = True
        try:
            await self._have_answered()
        finally:
            # Not two turns of the loop later, when the task is done: the next request may be here by then,
            # and reading would have to be stopped and started for it.
            self._end()

    async def _have_answered(self) -> None:
        connection = self._connection
        try:
            scope = make_scope(connection.request, connection.peer, connection.server)
            await self._exchanges.app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            # It ends here: a task keeps its error, and the error keeps the frames with what was to be sent.
            return
        except Exception as error:
            log.error("a page failed", path=self._head.path, exc_info=error)
        if not self._answer.started:
            self._answer.begin(500, _FAILED_HEADERS)
            self.write(self._answer.body(_FAILED, more=False))

    def _end(self) -> None:
        """The application is done, or was cancelled before it began."""
        self._ended = True
        self._exchanges.under_way.discard(self)
        if self._lost:
            self._release()
            return
        if not self._answer.complete:  # the client must not take a part for the whole
            self.cut()
        elif self._transport.get_write_buffer_size():
            # Who has the transport next may write past it, and `resume_writing` tells of an empty buffer.
            self._draining = True
            self._transport.set_write_buffer_limits(0)
        else:
            self._give_back()

    def _give_back(self) -> None:
        transport = self._transport
        if transport.is_closing():  # `connection_lost` is on its way
            return
        self._forget()
        keep_alive = self._answer.keep_alive and self._has_all()
        rest = self._incoming.unread if self._incoming is not None else b""
        connection = self._connection
        self._release()
        if not keep_alive:
            connection.end()
            return
        if self._draining:
            transport.set_write_buffer_limits()
        connection.take_back(rest)

    def _make_incoming(self) -> Incoming:
        self._incoming = incoming = Incoming(
            self._head.body, self._transport, self._exchanges.turns, self._watch, self._refuse
        )
        return incoming

    def _refuse(self, error: ProtocolError) -> None:
        self._abandon()
        self._connection.refuse_body(error, answered=self._answer.started)

    def _abandon(self) -> None:
        """Nobody will get the answer, or the rest of it."""
        self._lost = True
        self._forget()
        self._let_write()
        if self._incoming is not None:
            self._incoming.wake()
        if not self._ended and self.task is not None:
            self.task.cancel()
            if not self._begun:  # then it never will
                self.task.add_done_callback(lambda _: self._end())

    def _let_write(self) -> None:
        if self._resumed is not None:
            if not self._resumed.done():
                self._resumed.set_result(None)
            self._resumed = None

    def _forget(self) -> None:
        """Let nothing call this any more."""
        self._exchanges.waiting.pop(self, None)
        if self._incoming is not None:
            self._incoming.stop()

    def _release(self) -> None:
        """Forget those who refer to this: an answer should not wait for the garbage collector."""
        self._incoming = self.task = None

    def _watch(self) -> None:
        """Limit the time of the client, when it is the one that is waited for."""
        waiting = self._exchanges.waiting
        waiting.pop(self, None)
        owes_body = bool(self._head.body) if self._incoming is None else self._incoming.owed
        if (owes_body or self._resumed is not None) and not self._lost:
            waiting.add(self, self._exchanges.loop.time())
