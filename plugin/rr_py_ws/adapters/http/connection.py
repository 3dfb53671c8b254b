"""One TCP connection from accept until its request is refused, or it is handed over; see `states`.

Whatever is answered here, or by the handler of a path, ends the connection (`Connection: close`). Only behind
a page (see `pages`) there may be another request: its head is read as the first was. Meanwhile the page is
told here what the transport tells: to set another protocol has that of uvloop (with TLS) stop and start
reading, by two calls of the kernel.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from rr_py_ws import logs
from rr_py_ws.adapters.http.states import (
    ACCEPTED,
    CLOSED,
    CLOSING,
    HANDED_OVER,
    HANDLING,
    NEXT,
    READING_HEAD,
    SERVING,
    State,
)
from rr_py_ws.adapters.net.transports import end_writing, has_unread, peer_of
from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.access import Verdict
from rr_py_ws.wire.http import (
    WITH_BODY,
    Request,
    RequestHead,
    check_page_request,
    not_found,
    parse_request_head,
    refusal_response,
    try_again_later,
)
from rr_py_ws.wire.redirect import redirect_to_tls

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.exchange import Exchange
    from rr_py_ws.adapters.http.listener import HTTPListener

_HEAD_END = b"\r\n\r\n"
_SMALL_HEAD = 2 * 1024
"""Bytes of a head that does not wait behind larger ones."""
_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class
_REJECTIONS = {
    "connections": (503, b"too many connections"),
    "address": (429, b"too many connections from this address"),
}
"""Status and text by `HTTPConnection.reject_reason`."""

log = logs.get_limited("websockets")


class HTTPConnection(asyncio.Protocol):
    """Reads one request head and has it answered by a handler.

    While the handler decides, what the peer sends is kept, up to the size of a head; then reading pauses.
    Every method is called by the event loop's thread, and none of them waits.

    Args:
        listener: the listener that accepted it.
        connection: the socket.
        peer: IP address of the other side; empty when there is none (unix socket).
        secure: whether the connection is secured by TLS.

    Attributes:
        state: changed by `_enter` only.
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

    def hand_over(self, successor: asyncio.Protocol) -> bytes:
        """Give the transport to another protocol; not while `closing`.

        The place in the limiter goes with it: the successor calls `HTTPListener.release` with itself when its
        `connection_lost` is called. `connection_made` is not called.

        Returns:
            What the peer has sent behind the request head. It comes before anything that `data_received` of
            the successor is called with.
        """
        self.on_lost = None
        self._enter(HANDED_OVER)
        self.transport.set_protocol(successor)
        self._listener.limiter.transfer(self, successor)
        self._listener.forget(self)
        self.transport.resume_reading()
        rest, self._buffer = self._buffer, b""
        return rest

    # What a page calls in the end

    def take_back(self, rest: bytes) -> None:
        """Read the next request; the answer is with the kernel.

        Args:
            rest: what the peer has sent behind the request that was answered.
        """
        listener = self._listener
        self._exchange = None
        del self.request
        self._enter(READING_HEAD)
        self._buffer = rest
        self.idle = not rest
        listener.limiter.page_served(self)
        if listener.stopping:
            self.dismiss()
        elif rest:
            self._read_waiting_head()
        # A head that waits for its turn may have much behind it already, and each request would add to that.
        if self.state is READING_HEAD and len(self._buffer) < listener.max_head_size:
            self.transport.resume_reading()

    def end(self) -> None:
        """Close behind a page, after its answer; the peer has `close_timeout` to close its side."""
        self._exchange = None
        self._end()

    def refuse_body(self, error: ProtocolError, *, answered: bool) -> None:
        """Refuse a request whose body breaks the protocol, or cut the connection if the answer has begun."""
        self._exchange = None
        if answered:
            self.cut()
        else:
            self._refuse_head(error)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, unless the listener has decided otherwise meanwhile."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's does not inherit from asyncio's
        self._enter(READING_HEAD)
        if self.reject_reason:
            self._reject()
        elif self._listener.stopping:
            self.dismiss()

    def data_received(self, data: bytes) -> None:
        """Collect the head, and what follows it before the answer."""
        if self._exchange is not None:
            self._exchange.data_received(data)
            return
        # Thrown away, see `_refuse`.
        if self.state >= CLOSING:
            return
        was_idle, self.idle = self.idle, False
        self._buffer = self._buffer + data if self._buffer else data
        if self.spare:  # its request was on the way
            self.dismiss()
        elif self.state is READING_HEAD:
            self._read_head()
            if was_idle and self.state is READING_HEAD:  # hardly ever: most heads come in one piece
                self._listener.limiter.head_begun(self)
        if self.state <= HANDLING and len(self._buffer) >= self._listener.max_head_size:
            self.transport.pause_reading()  # the kernel's buffers fill up, and TCP makes the peer wait

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is closed, or the TLS handshake has failed."""
        if self.state is CLOSED:  # a failed TLS handshake may be told twice: by loop and acceptor
            return
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.connection_lost()
        # Whoever goes away instead (a port scan, a check by TCP) has broken nothing.
        if self.state is ACCEPTED and isinstance(error, ssl.SSLError):
            self._listener.refusals["tls"] += 1
            log.warning("TLS handshake failed", reason=error.reason or str(error), **self.ends)
        self._enter(CLOSED)
        self._listener.limiter.release(self)
        self._listener.unread.discard(self)
        self._listener.forget(self)

    def pause_writing(self) -> None:
        """The client takes nothing at the moment, which only a page has to know."""
        if self._exchange is not None:
            self._exchange.pause_writing()

    def resume_writing(self) -> None:
        """The client has taken what was written."""
        if self._exchange is not None:
            self._exchange.resume_writing()

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

    def _read_waiting_head(self) -> None:
        """Read a head that was not read as it came; the connection may be refused, or cut, meanwhile."""
        if self.state is READING_HEAD and not self.transport.is_closing():
            self._read_head()

    def _read_head(self) -> None:
        listener = self._listener
        limit = listener.max_head_size
        # Searched up to the limit only: a longer head is refused, even if it is complete.
        end = self._buffer.find(_HEAD_END, 0, limit)
        if end < 0:
            if len(self._buffer) >= limit:
                self._refuse("head", Verdict(431, (), b"request head over the limit of %d bytes" % limit))
            return
        end += len(_HEAD_END)
        if listener.turns.left <= 0:
            listener.turns.wait(self._read_waiting_head, light=end < _SMALL_HEAD)
            return
        listener.turns.charge(end)
        try:
            head = parse_request_head(self._buffer[:end], bodies=listener.pages is not None)
            if head.body and head.path in listener.handlers:
                raise ProtocolError(WITH_BODY)
        except ProtocolError as error:
            self._refuse_head(error)
            return
        if len(head.headers) > listener.max_headers:
            text = b"request head with more than %d headers" % listener.max_headers
            self._refuse("head", Verdict(431, (), text))
            return
        self._buffer = self._buffer[end:]
        proxies = listener.proxies
        address = proxies.client_address(self.peer, head) if proxies.any else self.peer
        self.request = _new(Request, (head, address, self._secure))
        self._enter(HANDLING)
        if not listener.limiter.request_received(self, address):
            self.cut()
        elif self.reject_reason:
            self._reject()
        elif listener.redirect_port and not self._secure and head.path not in listener.never_redirected:
            self._refuse("plain", redirect_to_tls(head, listener.redirect_port))
        else:
            self._answer(head)

    def _answer(self, head: RequestHead) -> None:
        """Have the request answered by whom its path belongs to."""
        listener = self._listener
        handler = listener.handlers.get(head.path)
        if handler is not None or (handler := listener.other_handler(head)) is not None:
            handler(self)
        elif listener.pages is not None:
            try:
                check_page_request(head)
            except ProtocolError as error:
                self._refuse_head(error)
                return
            listener.begin_page()
            self._enter(SERVING)
            rest, self._buffer = self._buffer, b""
            self._exchange = listener.pages.exchange(self)
            self._exchange.begin(rest)
        else:
            log.warning("request refused: nothing is served at its path", path=head.path, **self.ends)
            self._refuse("path", not_found(head.path, listener.not_found))

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
        """Change the state; the one place that does.

        A handler that has not answered learns that it need not, and is forgotten: the two refer to each
        other, and connections should not wait for the garbage collector.
        """
        assert state in NEXT[self.state], (self.state, state)
        self.state = state
        if state > HANDLING and self.on_lost is not None:
            on_lost, self.on_lost = self.on_lost, None
            on_lost()
