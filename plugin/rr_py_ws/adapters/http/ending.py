"""How the connection of a client ends: what it is answered, and who closes it.

Whatever is answered here ends the connection (`Connection: close`): the answer, FIN, and time for the other
side to read it and to close its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from rr_py_ws import logs
from rr_py_ws.adapters.http.states import (
    ACCEPTED,
    CLOSING,
    HANDLING,
    NEXT,
    READING_HEAD,
    SERVING,
    State,
)
from rr_py_ws.adapters.net.transports import end_writing, has_unread, peer_of
from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.http import Request, refusal_response, try_again_later
from rr_py_ws.wire.verdict import Verdict

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.exchange import Exchange
    from rr_py_ws.adapters.http.listener import HTTPListener

_REJECTIONS = {
    "connections": (503, b"too many connections"),
    "address": (429, b"too many connections from this address"),
}
"""Status and text by `Ending.reject_reason`."""

log = logs.get_limited("websockets")


class Ending(asyncio.Protocol):
    """The state of a connection, and its end; `HTTPConnection` is the rest of it.

    Args:
        listener: the listener that accepted it.
        connection: the socket.
        peer: IP address of the other side; empty when there is none (unix socket).
        secure: whether the connection is secured by TLS.

    Attributes:
        state: changed by `_enter`, and by the three steps of every request, which know where they come from.
        transport: from the state READING_HEAD on.
        socket: the socket below the transport.
        request: in the states HANDLING and SERVING.
        on_lost: set by a handler that decides later: called once when the peer goes away, or when the server
            stops, before the handler has answered. From then on an answer changes nothing.
        reject_reason: why the limiter gives this connection no place; empty when it has one.
        idle: whether a page was served, and nothing of another request has come.
        spare: whether nothing had come when it was dismissed: its request is on its way, or it is kept by a
            browser for one to come.
    """

    __slots__ = (
        "_buffer",
        "_exchange",
        "_listener",
        "_remote",
        "_secure",
        "_server",
        "idle",
        "on_lost",
        "peer",
        "reject_reason",
        "request",
        "socket",
        "spare",
        "state",
        "transport",
    )

    transport: asyncio.Transport
    request: Request

    def __init__(
        self, listener: HTTPListener, connection: socket.SocketType, peer: str, *, secure: bool
    ) -> None:
        self._listener = listener
        self._secure = secure
        # When a TLS handshake has failed, the socket cannot tell any more.
        self._remote = peer_of(connection) if secure else ""
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._server: tuple[str, int] | tuple[()] | None = ()
        self.state = ACCEPTED
        self.idle = False
        self.spare = False
        self.socket = connection
        self.peer = peer
        self.on_lost: Callable[[], None] | None = None
        self.reject_reason = ""

    @property
    def closing(self) -> bool:
        """Whether an answer of the handler would be too late: nobody would get it."""
        return self.state is not HANDLING or self.transport.is_closing()

    @property
    def ends(self) -> dict[str, str]:
        """Who it is, for the log: `remote`, the other side; `address`, the client that a proxy speaks for."""
        fields = {"remote": self._remote or peer_of(self.socket)}
        if self.state is HANDLING and self.request.remote_addr != self.peer:
            fields["address"] = self.request.remote_addr
        return fields

    @property
    def server(self) -> tuple[str, int] | None:
        """The address of this side; None when there is none (unix socket)."""
        if self._server == ():  # asked of the kernel once for all requests
            here = self.transport.get_extra_info("sockname")
            self._server = here[:2] if isinstance(here, tuple) else None
        return self._server or None

    # What handlers answer with

    def refuse(self, reason: str, verdict: Verdict) -> None:
        """Answer the request with a status, then close; the peer has `close_timeout` to close its side.

        Args:
            reason: one of `refusals.REFUSALS`.
            verdict: the answer.
        """
        self.on_lost = None
        self._refuse(reason, verdict)

    def answer(self, verdict: Verdict) -> None:
        """Answer the request as `refuse` does; it counts as no refusal."""
        self.on_lost = None
        self._respond(verdict)

    # What limiter and listener decide

    def dismiss(self) -> None:
        """Refuse the request, whatever has come of it: the server is stopping."""
        if self.state is ACCEPTED:
            if self._secure:  # the peer may draw out its TLS handshake as long as it likes
                self.cut()
            return  # without TLS `connection_made` is about to be called, and sees that the server stops
        if self._exchange is not None:
            self._exchange.finish()
            return
        if self.idle:  # nobody waits for an answer
            self._end()
            if not has_unread(self.socket):
                self.transport.close()
            return
        if self.state is READING_HEAD and not self._buffer:
            # An answer that nobody has asked for would be taken for that to the next request.
            self.spare = True
            return
        self._refuse("stopping", Verdict(503, (("Retry-After", "1"),), b"server is stopping"))

    def cut(self) -> None:
        """Close the connection at once, without an answer."""
        if self.state is not ACCEPTED:
            self.transport.abort()
        else:  # the event loop has the socket and, with TLS, nothing to abort it by
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def head_timeout(self) -> None:
        """The request head has not come in time."""
        if self.state is READING_HEAD and self._buffer:
            self._refuse("head", Verdict(408, (), b"request head incomplete"))
        else:  # a peer that has said nothing at all (a port scan, a spare connection) expects no answer
            self.cut()

    def idle_timeout(self) -> None:
        """No further request has come in time."""
        self._end()

    def _reject(self) -> None:
        self._refuse(self.reject_reason, try_again_later(*_REJECTIONS[self.reject_reason]))

    def _refuse_head(self, error: ProtocolError) -> None:
        log.warning("bad handshake", reason=str(error), **self.ends)
        self._refuse("head", Verdict(error.status, (), str(error).encode("utf-8", "replace")))

    def _refuse(self, reason: str, verdict: Verdict) -> None:
        if self._respond(verdict):
            self._listener.refusals[reason] += 1

    def _respond(self, verdict: Verdict) -> bool:
        """Write an answer and wait for the end; False when there is nobody any more."""
        transport = self.transport
        if self.state >= CLOSING or transport.is_closing():
            return False
        listener = self._listener
        head_only = self.state in (HANDLING, SERVING) and self.request.head.method == "HEAD"
        if verdict.size > listener.max_refusal_size:
            log.warning("refusal too large, see websockets.limits.max_refusal_size", size=verdict.size)
            verdict = Verdict(verdict.status)
        # RFC 9110 section 9.3.2: HEAD is answered without a body.
        response = listener.unread.share(refusal_response(verdict, send_body=not head_only))
        transport.write(response)
        self._end()
        listener.unread.add(self, len(response))
        return True

    def _end(self) -> None:
        """Send FIN, and wait for that of the peer."""
        if self.state >= CLOSING or self.transport.is_closing():  # the peer may have gone in this moment
            return
        self.idle = False
        self._enter(CLOSING)
        self._forget_request()
        self._listener.limiter.request_refused(self)
        # A close with unread bytes in the socket sends RST, which can destroy the answer on its way.
        end_writing(self.transport)
        self.transport.resume_reading()  # of what still comes, only the FIN matters

    def _forget_request(self) -> None:
        """Free what has been read: a refused connection may stay for `close_timeout`."""
        self._buffer = b""
        with suppress(AttributeError):  # there was none
            del self.request

    def _enter(self, state: State) -> None:
        """Change the state, as `states.NEXT` allows.

        A handler that has not answered learns that it need not, and is forgotten: the two refer to each
        other, and connections should not wait for the garbage collector.
        """
        assert state in NEXT[self.state], (self.state, state)
        self.state = state
        if state > HANDLING and self.on_lost is not None:
            on_lost, self.on_lost = self.on_lost, None
            on_lost()
