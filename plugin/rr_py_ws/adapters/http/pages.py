"""Requests that an ASGI application answers: one after the other on each connection.

A page borrows its connection: `HTTPConnection` reads the head, an `Exchange` brings the body and sends the
answer, and then the connection reads the next head, by the same rules and within the same limits as the first
one. So a later request may be for the handler of a path, such as a WebSocket, and whatever follows a request
waits in the socket until that request is answered and the answer is with the kernel. uvicorn's protocol would
read ahead, and knows neither these rules nor a time limit; its half that speaks with the application is used
(`asgi`).

A client that goes away cancels the application. So an application that waits for nothing but its work need
not listen for `http.disconnect`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from starlette.types import ASGIApp

from rr_py_ws import logs
from rr_py_ws.adapters.http.asgi import Cycle, ExchangeFlow
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.adapters.net.timeout_queue import TimeoutQueue
from rr_py_ws.adapters.net.turns import Turns
from rr_py_ws.errors import ProtocolError
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.body import CHUNKED, BodyDecoder

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.connection import HTTPConnection

_HIGH_WATER = 64 * 1024
"""Bytes of a body that wait for the application; then the client has to wait."""
_PIECE = 16 * 1024
"""Bytes in chunks that are looked at in one go,"""
_DENSE_PIECE = 2 * 1024
"""or so many where there are more than `_SPARSE` ends of lines: chunks of a byte each take a microsecond."""
_SPARSE = 128
_TURN = 256 * 1024
"""What all exchanges together may do in a turn of the event loop: bytes that they write,"""
_WRITE = 16 * 1024
"""and so much for each time that they write, or look at chunks; about a millisecond."""

log = logs.get_limited("http")


class Exchanges:
    """Has an application answer requests; what all exchanges of a listener have in common.

    Args:
        app: the application.
        timeout: seconds that a client may send nothing, or take nothing, of what is due.
    """

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self._app = app
        self.tasks = TaskSet("http")
        self.waiting = TimeoutQueue[Exchange](timeout, Exchange.cut)
        self.turns = Turns(_TURN)
        self.begun = 0
        self.running = 0
        self.abandoned = 0

    def exchange(self, connection: HTTPConnection) -> Exchange:
        """Make the exchange for the request of a connection in the state SERVING."""
        return Exchange(connection, self._app, self)

    def reload(self, timeout: float) -> None:
        """Give clients another time."""
        self.waiting.change(timeout)

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        yield counter("page_requests", "Requests for pages.", self.begun)
        yield gauge("page_requests_running", "Requests for pages that are being answered.", self.running)
        yield counter("page_requests_abandoned", "Clients that went away before the end.", self.abandoned)

    async def stop(self) -> None:
        """End what is left; the connections are closed."""
        self.waiting.stop()
        await self.tasks.cancel()


class Exchange:
    """One request for a page, and its answer.

    Args:
        connection: in the state SERVING.
        app: the application.
        exchanges: what is shared.

    Attributes:
        peer: IP address of the other side, which may be a proxy; empty when there is none (unix socket).
        server: address of this side; None when there is none.
    """

    def __init__(self, connection: HTTPConnection, app: ASGIApp, exchanges: Exchanges) -> None:
        self._connection = connection
        self.peer = connection.peer
        self._transport = connection.transport
        here = connection.transport.get_extra_info("sockname")
        self.server: tuple[str, int] | None = here[:2] if isinstance(here, tuple) else None
        self._exchanges = exchanges
        self._app = app
        self._body = BodyDecoder(connection.request.head.body)
        self._unread = b""
        self._waits = False
        self._flow = ExchangeFlow(self._transport, self)
        self._cycle = Cycle(connection.request, self, self._flow)
        # Only what is in chunks takes time for each of its bytes.
        self._chunked = connection.request.head.body == CHUNKED
        self._holds = False
        self._held = b""
        self._draining = False
        self._lost = False
        self._ended = False

    def begin(self, rest: bytes) -> None:
        """Have the application answer.

        Args:
            rest: what the peer has sent behind the request head.
        """
        self._exchanges.begun += 1
        self._exchanges.running += 1
        self._transport.resume_reading()
        self._task = self._exchanges.tasks.spawn(self._run())
        self._task.add_done_callback(lambda _: self._end())
        if self._body.complete:
            self._cycle.more_body = False
            self._cycle.message_event.set()
        if rest or not self._body.complete:
            self.data_received(rest)

    def finish(self) -> None:
        """Close the connection after this answer: the server is stopping."""
        self._cycle.keep_alive = False

    def cut(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    # What the connection passes on of the event loop

    def data_received(self, data: bytes) -> None:
        """Take a part of the body, and keep what follows it."""
        self._unread += data
        self.body_wanted()

    def connection_lost(self) -> None:
        """The client has gone, or was cut: nobody waits for the answer."""
        self._lost = True
        cycle = self._cycle
        if not cycle.response_complete:
            self._exchanges.abandoned += 1
            cycle.disconnected = True
        self._forget()
        if self._ended:
            self._release()
        else:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client takes nothing at the moment."""
        self._flow.pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The client has taken what was written."""
        self._flow.resume_writing()
        self._watch()
        if self._draining:
            self._give_back()

    # What the application's side calls

    def body_wanted(self) -> None:
        """The application has room for more of the body."""
        if not self._waits:
            if self._chunked and self._exchanges.turns.left <= 0:
                self._wait_for_turn()
            else:
                self._read_body()
        self._watch()

    async def turn_for(self, size: int) -> None:
        """Wait until so many bytes may be written: others have their turns in between."""
        await self._exchanges.turns.piece(_WRITE + size)

    def write(self, data: bytes) -> None:
        """Write a part of the answer; the head goes with what follows it, in one packet."""
        if self._holds:
            self._holds, self._held = False, data
        else:
            self._transport.write(self._held + data if self._held else data)
            self._held = b""

    def hold(self) -> None:
        """What is written next is the head."""
        self._holds = True

    def flush(self) -> None:
        """Write a head that nothing follows."""
        if self._held:
            self.write(b"")

    def is_closing(self) -> bool:
        """Whether writing is of no use."""
        return self._lost or self._transport.is_closing()

    def close(self) -> None:
        """The answer is the last one; `_end` closes."""

    def body_complete(self) -> bool:
        """Whether the client has sent its whole request, so that another may follow."""
        return self._body.complete

    # The rest

    async def _run(self) -> None:
        try:
            await self._answer()
        finally:
            # Not two turns of the loop later, when the task is done: the next request may be here by then,
            # and reading would have to be stopped and started for it.
            self._end()

    async def _answer(self) -> None:
        cycle = self._cycle
        try:
            await self._app(cast(Any, cycle.scope), cast(Any, cycle.receive), cast(Any, cycle.send))
        except asyncio.CancelledError:
            # It ends here: a task keeps its error, and the error keeps the frames with what was to be sent.
            return
        except Exception as error:
            log.error("a page failed", path=cycle.scope["path"], exc_info=error)
        if not cycle.response_started:
            await cycle.send_500_response()

    def _end(self) -> None:
        """The application is done; called once more when the task is, which may never have begun."""
        if self._ended:
            return
        self._exchanges.running -= 1
        self._ended = True
        if self._lost:
            self._release()
            return
        if not self._cycle.response_complete:  # the client must not take a part for the whole
            self.cut()
        elif self._transport.get_write_buffer_size():
            # Who has the transport next may write past it, and `resume_writing` tells of an empty buffer.
            self._draining = True
            self._transport.set_write_buffer_limits(0)
        else:
            self._give_back()

    def _give_back(self) -> None:
        if self._transport.is_closing():  # `connection_lost` is on its way
            return
        self._forget()
        keep_alive = self._cycle.keep_alive and self._body.complete
        self._release()
        if not keep_alive:
            self._connection.end()
        else:
            self._transport.set_write_buffer_limits()
            rest, self._unread = self._unread, b""
            self._connection.take_back(rest)

    def _forget(self) -> None:
        """Let nothing call this any more."""
        self._exchanges.waiting.discard(self)
        self._exchanges.turns.discard(self._next_turn)

    def _release(self) -> None:
        """Forget those who refer to this: an answer should not wait for the garbage collector."""
        del self._cycle, self._flow, self._task

    def _next_turn(self) -> None:
        self._waits = False
        self._read_body()
        self._watch()

    def _wait_for_turn(self) -> None:
        self._waits = True
        self._flow.pause_reading()
        self._exchanges.turns.wait(self._next_turn, light=False)

    def _next_piece(self) -> bytes:
        """Take from what is unread as much as is looked at in one go."""
        piece = self._unread
        if self._chunked:
            piece = piece[:_PIECE]
            if (ends := piece.count(b"\n")) > _SPARSE:
                piece = piece[:_DENSE_PIECE]
            self._exchanges.turns.charge(_WRITE * (1 + ends // _SPARSE))
        self._unread = self._unread[len(piece) :]
        return piece

    def _read_body(self) -> None:
        cycle, flow = self._cycle, self._flow
        if not self._body.complete and self._unread:
            try:
                content, rest = self._body.feed(self._next_piece())
            except ProtocolError as error:
                self._refuse(error)
                return
            self._unread = rest + self._unread
            if not cycle.response_complete:  # else nobody wants it
                cycle.body += content
            cycle.more_body = not self._body.complete
            if content or self._body.complete:
                cycle.message_event.set()
        if not self._unread and (self._body.complete or len(cycle.body) <= _HIGH_WATER):
            flow.go_on_reading()
            return
        # The next request has to wait, or the rest of this one.
        flow.pause_reading()
        if not self._body.complete and len(cycle.body) <= _HIGH_WATER:
            self._wait_for_turn()

    def _refuse(self, error: ProtocolError) -> None:
        cycle = self._cycle
        self._lost = cycle.disconnected = True
        self._forget()
        self._task.cancel()
        self._connection.refuse_body(error, answered=cycle.response_started)

    def _watch(self) -> None:
        """Limit the time of the client, when it is the one that is waited for."""
        waiting = self._exchanges.waiting
        waiting.discard(self)
        owes_body = not self._body.complete and not self._flow.read_paused
        if (owes_body or self._flow.write_paused) and not self._lost:
            waiting.add(self, asyncio.get_running_loop().time())
