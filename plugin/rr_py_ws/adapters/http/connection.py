"""One TCP connection from accept until its request is refused, or it is handed over; see `states`.

Whatever is answered here, or by the handler of a path, ends the connection (see `ending`). Only behind a page
(see `pages`) there may be another request: its head is read as the first was. Meanwhile the page is
told here what the transport tells: to set another protocol has that of uvloop (with TLS) stop and start
reading, by two calls of the kernel.
"""

from __future__ import annotations

import asyncio
import ssl

from rr_py_ws import logs
from rr_py_ws.adapters.http.ending import Ending
from rr_py_ws.adapters.http.states import (
    ACCEPTED,
    CLOSED,
    CLOSING,
    HANDED_OVER,
    HANDLING,
    READING_HEAD,
    SERVING,
)
from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.http import (
    WITH_BODY,
    Request,
    RequestHead,
    check_page_request,
    not_found,
    parse_request_head,
)
from rr_py_ws.wire.redirect import redirect_to_tls
from rr_py_ws.wire.verdict import Verdict

_HEAD_END = b"\r\n\r\n"
_SMALL_HEAD = 2 * 1024
"""Bytes of a head that does not wait behind larger ones."""
_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class

log = logs.get_limited("websockets")


class HTTPConnection(Ending):
    """Reads one request head and has it answered by a handler.

    While the handler decides, what the peer sends is kept, up to the size of a head; then reading pauses.
    Every method is called by the event loop's thread, and none of them waits. Arguments and attributes are
    those of `Ending`.
    """

    __slots__ = ()

    # What a handler calls

    def hand_over(self, successor: asyncio.Protocol) -> bytes:
        """Give the transport to another protocol; not while `closing`.

        The place in the limiter goes with it: the successor calls `HTTPListener.release` with itself when its
        `connection_lost` is called. `connection_made` is not called.

        Returns:
            What the peer has sent behind the request head. It comes before anything that `data_received` of
            the successor is called with.
        """
        assert self.state is HANDLING, self.state
        self.on_lost = None
        self.state = HANDED_OVER
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
        assert self.state is ACCEPTED, self.state
        self.transport = transport  # type: ignore[assignment]  # uvloop's does not inherit from asyncio's
        self.state = READING_HEAD
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
        if len(self._buffer) >= self._listener.max_head_size and self.state <= HANDLING:
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

    # The head of the request

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
        self.state = HANDLING
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
