"""From an HTTP request to a WebSocket: the handler of `websockets.path`.

Order of checks (RoadRunner 2.5 to 2.11): path (the router), origin, PHP, upgrade headers, 101.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from rr_py_ws import logs
from rr_py_ws.adapters.net.deadline import Deadline
from rr_py_ws.adapters.net.transports import cancel_soon
from rr_py_ws.address import network_of
from rr_py_ws.core.fail_closed import fail_closed
from rr_py_ws.core.ports import Authorizer
from rr_py_ws.wire.http import Request, try_again_later
from rr_py_ws.wire.verdict import FAILED, Verdict

if TYPE_CHECKING:
    from rr_py_ws.adapters.ws.handler import WebSocketHandler

log = logs.get_limited("websockets")


class HTTPConnection(Protocol):
    """The connection of a request that is being decided, as the HTTP listener gives it to a handler.

    Attributes:
        request: the request.
        transport: of the connection.
        socket: below the transport.
        on_lost: called once when the connection ends before it was answered.
    """

    request: Request
    transport: asyncio.Transport
    socket: socket.SocketType
    on_lost: Callable[[], None] | None

    @property
    def closing(self) -> bool:
        """Whether the connection was answered, or is ending."""

    @property
    def ends(self) -> dict[str, str]:
        """Who it is, for the log."""

    def refuse(self, reason: str, verdict: Verdict) -> None:
        """Answer with a refusal, counted by its reason, and close."""

    def hand_over(self, protocol: asyncio.Protocol) -> bytes:
        """Give the transport to a protocol; return what has arrived behind the head of the request."""


def ask(authorizer: Authorizer, request: Request) -> Verdict | Awaitable[Verdict]:
    """Ask whether a client may connect; no answer is a no."""
    try:
        return authorizer.connect(request)
    except Exception as error:
        return fail_closed(error)


class Upgrade:
    """A decision that takes its time: it waits for its turn, in the handshake queue, or for the authorizer.

    Args:
        connection: of the request.
        handler: what all requests share.
    """

    __slots__ = ("_connection", "_deadline", "_deciding", "_handler", "_queued", "_remote_addr")

    def __init__(self, connection: HTTPConnection, handler: WebSocketHandler) -> None:
        self._connection = connection
        self._handler = handler
        self._remote_addr = connection.request.remote_addr
        self._queued = True
        self._deciding: asyncio.Future[Verdict] | None = None
        self._deadline: Deadline | None = None
        connection.on_lost = self._stop

    @property
    def network(self) -> bytes | None:
        """What counts as the address of the client. Only those who wait are asked for it."""
        return network_of(self._remote_addr)

    def wait(self) -> None:
        """Wait for a turn."""
        self._handler.queue.enter(self)

    def decide(self, waited: float) -> None:
        """Ask the authorizer. The seconds that the handshake has waited are taken off the time for that."""
        connection = self._connection
        if connection.closing:  # it has ended in this moment; `on_lost` is to come
            return
        verdict = ask(self._handler.authorizer, connection.request)
        if isinstance(verdict, Verdict):
            self._answer(verdict)
        else:
            self.await_verdict(verdict)
            ends = asyncio.get_running_loop().time() + self._handler.authorize_timeout - waited
            self._deadline = Deadline(ends, self._give_up)

    def await_verdict(self, verdict: Awaitable[Verdict]) -> None:
        """Wait for the authorizer. The handshake queue knows that this has begun."""
        self._deciding = verdict if isinstance(verdict, asyncio.Future) else asyncio.ensure_future(verdict)
        self._deciding.add_done_callback(self._decided)

    def expire(self) -> None:
        """The turn has not come in time: the client shall come back, and not when all others do."""
        self._queued = False
        text = "handshake refused, see websockets.limits.handshake_wait"
        log.warning(text, **self._connection.ends)
        self._connection.refuse("busy", try_again_later(503, b"too many handshakes"))

    def _decided(self, deciding: asyncio.Future[Verdict]) -> None:
        self._deciding = None  # a task keeps the traceback of its end, which leads back here
        if deciding.cancelled():
            return
        error = deciding.exception()
        if not isinstance(error, Exception | None):
            raise error
        verdict = deciding.result() if error is None else fail_closed(error)
        if not self._connection.closing:
            self._answer(verdict)

    def _give_up(self, _: float) -> None:
        """The time of a handshake that had to wait is over."""
        log.warning("handshake refused: it had to wait, and PHP gave no answer in the time that was left")
        if not self._connection.closing:
            self._answer(FAILED)

    def _answer(self, verdict: Verdict) -> None:
        self._connection.on_lost = None
        self._stop()
        self._handler.answer(self._connection, verdict)

    def _stop(self) -> None:
        """Let another handshake have the turn, and cancel what is being awaited."""
        if self._queued:
            self._queued = False
            self._handler.queue.leave(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._deciding is not None:
            cancel_soon(self._deciding)
            self._deciding = None
