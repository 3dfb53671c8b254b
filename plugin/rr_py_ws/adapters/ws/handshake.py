"""One TCP connection until it is a WebSocket, or refused.

Order of checks (RoadRunner 2.5 to 2.11): path, origin, PHP, upgrade headers, 101.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable
from contextlib import suppress
from typing import cast

from rr_py_ws import logs
from rr_py_ws.adapters.net.transports import cancel_soon, end_writing
from rr_py_ws.adapters.ws.clients import Clients
from rr_py_ws.adapters.ws.connection import Connection
from rr_py_ws.adapters.ws.protocol.deflate import negotiate
from rr_py_ws.errors import HandshakeError
from rr_py_ws.wire.access import FAILED, NO_REQUEST, AccessRequest, Verdict
from rr_py_ws.wire.http import (
    RequestHead,
    accept_response,
    check_upgrade,
    offered_extensions,
    parse_request_head,
    refusal_response,
    requested_subprotocols,
)
from rr_py_ws.wire.push import BY_SUBPROTOCOL, STRING, Encoding

_END = b"\r\n\r\n"

log = logs.get_limited("websockets")


class Handshake(asyncio.Protocol):
    """Reads one request head and decides; implements `clients.Newcomer`.

    It exists from the moment in which the connection is accepted; with TLS `connection_made` comes later.
    After a 101 the transport belongs to a `Connection`. After a refusal what the peer still sends is thrown
    away, until it closes its side or `close_timeout` is over.

    Args:
        clients: see `Clients`.
        connection: the socket.
        peer: IP address of the other side; empty when it has none.
        tls: whether the connection is secured.

    Attributes:
        turned_away: why it has found or kept no place; empty when it has one.
    """

    __slots__ = (
        "_buffer",
        "_clients",
        "_connection",
        "_deciding",
        "_head",
        "_refused",
        "_task",
        "_tls",
        "_transport",
        "peer",
        "turned_away",
    )

    def __init__(self, clients: Clients, connection: socket.socket, peer: str, *, tls: bool) -> None:
        self._clients = clients
        self._connection = connection
        self._tls = tls
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._head: RequestHead | None = None
        self._deciding = False
        self._refused = False
        self._task: asyncio.Task[None] | None = None
        self.peer = peer
        self.turned_away = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request; `Places` sees to it that this is not for ever."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        if self.turned_away:
            self._refuse(self.turned_away, _come_back(self.turned_away))
        elif self._clients.stopping:
            self.dismiss()

    def data_received(self, data: bytes) -> None:
        """Collect the head; what follows it before the answer belongs to the WebSocket."""
        if self._refused:
            return
        self._buffer += data
        if self._head is None:
            self._read_head()
        if self._deciding and len(self._buffer) >= self._clients.settings.max_head_size:
            assert self._transport is not None
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """The peer went away before it was a WebSocket."""
        self._stop_deciding()
        self._clients.handshake_ended(self)

    def dismiss(self) -> bool:
        """See `Client.dismiss`."""
        transport = self._transport
        if transport is None and self._tls:
            self.give_up()  # it may keep its TLS handshake up as long as it likes
        if self._refused or transport is None or transport.is_closing():  # None: `connection_made` is to come
            return False
        self._refuse("stopping", Verdict(503, (("Retry-After", "1"),), b"server is stopping"))
        return True

    def give_up(self) -> None:
        """See `Client.give_up`."""
        if self._transport is not None:
            self._transport.abort()
        else:  # the event loop has the socket and, with TLS, nothing to cut it by
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def head_timeout(self) -> None:
        """See `Guest.head_timeout`."""
        if self._buffer and self._transport is not None:
            self._refuse("head", Verdict(408, (), b"request head incomplete"))
        else:
            self.give_up()

    def _read_head(self) -> None:
        limit = self._clients.settings.max_head_size
        end = self._buffer.find(_END, 0, limit)
        if end < 0:
            if len(self._buffer) >= limit:
                self._refuse("head", Verdict(431, (), b"request head over the limit of %d bytes" % limit))
            return
        try:
            self._head = parse_request_head(self._buffer[: end + len(_END)])
        except HandshakeError as error:
            log.warning("bad handshake", reason=str(error))
            self._refuse("head", Verdict(400, (), str(error).encode("utf-8", "replace")))
            return
        self._buffer = self._buffer[end + len(_END) :]
        if not self._clients.limiter.request_came(self, self._head):
            self.give_up()
        elif self.turned_away:
            self._refuse(self.turned_away, _come_back(self.turned_away))
        else:
            self._check(self._head)

    def _check(self, head: RequestHead) -> None:
        """Refuse what needs no decision, and ask for the turn of the rest."""
        clients = self._clients
        if head.path != clients.settings.path:
            self._refuse("path", Verdict(404, (), b"WebSockets are at %b" % clients.settings.path.encode()))
        elif not clients.origins.allows(head.header(b"origin")):
            self._refuse("origin", Verdict(405))
        else:
            self._deciding = True
            if clients.turns.ask(self):
                self.proceed()

    def proceed(self, waited: float | None = None) -> None:
        """See `Applicant.proceed`. What it has waited is taken off the time for the decision."""
        clients, head = self._clients, self._head
        assert head is not None and self._transport is not None
        if self._transport.is_closing():  # it has gone away in this moment; `connection_lost` is to come
            return
        request = self._access_request(head) if clients.authorizer.reads_requests else NO_REQUEST
        verdict = clients.authorizer.connect(request)
        if isinstance(verdict, Verdict):
            self._answer(verdict, head, request)
        else:
            limit = None if waited is None else clients.settings.authorize_timeout - waited
            waiting = self._wait(verdict, limit, head, request)
            self._task = asyncio.get_running_loop().create_task(waiting)

    def waited_too_long(self) -> None:
        """See `Applicant.waited_too_long`."""
        self._deciding = False
        self._refuse("busy", _come_back("busy"))

    def _access_request(self, head: RequestHead) -> AccessRequest:
        """Describe the request as PHP shall see it."""
        scheme = "https" if self._tls else "http"
        return AccessRequest.encode(
            remote_addr=self._clients.proxies.client_address(self.peer, head),
            protocol=f"HTTP/{head.version}",
            method=head.method,
            uri=f"{scheme}://{head.header(b'host')}{head.target}",
            headers=head.headers,
            raw_query=head.query,
        )

    async def _wait(
        self, verdict: Awaitable[Verdict], limit: float | None, head: RequestHead, request: AccessRequest
    ) -> None:
        try:
            async with asyncio.timeout(limit):
                answer = await verdict
        except TimeoutError:
            log.warning("handshake refused: it had to wait, and PHP gave no answer in the time that was left")
            answer = FAILED
        self._task = None
        if not self._refused and self._transport is not None and not self._transport.is_closing():
            self._answer(answer, head, request)

    def _answer(self, verdict: Verdict, head: RequestHead, request: AccessRequest) -> None:
        self._stop_deciding()
        if not verdict.allowed:
            self._refuse("authorization" if verdict.answered else "unanswered", verdict)
            return
        refusal = check_upgrade(head)
        if refusal is not None:
            self._refuse("upgrade", refusal)
            return
        if self._clients.origins.allows_all and b"cookie" in head.first and b"origin" in head.first:
            self._clients.warn_of_cookies()
        encoding = STRING
        for name in requested_subprotocols(head):
            if name in BY_SUBPROTOCOL:
                encoding = BY_SUBPROTOCOL[name]
                break
        encoding, extensions = self._agree_on_compression(encoding, head)
        transport = self._transport
        assert transport is not None
        connection = Connection(self._clients, transport, self._connection, request, encoding)
        transport.set_protocol(connection)
        connection.write(accept_response(head, encoding.subprotocol, extensions))
        self._clients.handshake_ended(self, connection)
        transport.resume_reading()
        if self._buffer:
            connection.data_received(self._buffer)

    def _agree_on_compression(self, encoding: Encoding, head: RequestHead) -> tuple[Encoding, str]:
        """Return the encoding to use, and the header that says so; empty for the one there was."""
        compressor = self._clients.compressor
        agreed = negotiate(offered_extensions(head)) if compressor is not None else None
        if compressor is None or agreed is None:
            return encoding, ""
        extensions, window_bits = agreed
        self._clients.stats.deflate.agreed += 1
        return compressor.encoding(encoding, window_bits), extensions

    def _refuse(self, reason: str, verdict: Verdict) -> None:
        """Answer, and wait until the peer closes; one that does not is cut.

        Args:
            reason: one of `stats.REFUSALS`.
            verdict: the answer.
        """
        transport = self._transport
        assert transport is not None
        if transport.is_closing():  # it has gone away in this moment
            return
        self._clients.stats.refused[reason] += 1
        self._refused = True
        self._buffer = b""
        self._stop_deciding()
        self._clients.limiter.refused(self)
        head_only = self._head is not None and self._head.method == "HEAD"
        transport.write(refusal_response(verdict, send_body=not head_only))
        end_writing(transport)
        transport.resume_reading()

    def _stop_deciding(self) -> None:
        """Somebody else may have the turn."""
        if self._deciding:
            self._deciding = False
            self._clients.turns.done(self)
        if self._task is not None:
            cancel_soon(self._task)
            self._task = None  # it keeps the traceback of its end, which leads back here


_COME_BACK = {
    "connections": (503, b"too many connections"),
    "address": (429, b"too many connections from this address"),
    "busy": (503, b"too many handshakes"),
}


def _come_back(reason: str) -> Verdict:
    """Tell a client to come back, and not when all others do."""
    status, text = _COME_BACK[reason]
    return Verdict(status, (("Retry-After", str(random.randint(2, 6))),), text)
