"""One TCP connection until it is a WebSocket, or refused.

Order of checks (RoadRunner 2.5 to 2.11): path, origin, PHP, upgrade headers, 101.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import cast

from rr_py_ws import logs
from rr_py_ws.adapters.ws.clients import Clients
from rr_py_ws.adapters.ws.connection import Connection
from rr_py_ws.adapters.ws.permessage_deflate import negotiate
from rr_py_ws.adapters.ws.transports import cancel_soon, end_writing
from rr_py_ws.errors import HandshakeError
from rr_py_ws.wire.access import NO_REQUEST, AccessRequest, Verdict
from rr_py_ws.wire.push import BY_SUBPROTOCOL, STRING, Encoding
from rr_py_ws.wire.upgrade import (
    RequestHead,
    accept_response,
    check_upgrade,
    offered_extensions,
    parse_request_head,
    refusal_response,
    requested_subprotocols,
)

_END = b"\r\n\r\n"

log = logs.get_limited("websockets")


class Handshake(asyncio.Protocol):
    """Reads one request head and decides; implements `clients.Client`.

    After a 101 the transport belongs to a `Connection`. After a refusal what the peer still sends is thrown
    away, until it closes its side or `close_timeout` is over.
    """

    __slots__ = ("_buffer", "_clients", "_head", "_refused", "_task", "_timer", "_tls", "_transport")

    def __init__(self, clients: Clients, *, tls: bool) -> None:
        self._clients = clients
        self._tls = tls
        self._buffer = b""
        self._head: RequestHead | None = None
        self._refused = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, but not for ever."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        timeout = self._clients.settings.head_timeout
        self._timer = asyncio.get_running_loop().call_later(timeout, self._head_timeout)
        self._clients.handshake_began(self)
        if self._clients.stopping:
            self.dismiss()

    def data_received(self, data: bytes) -> None:
        """Collect the head; what follows it before the answer belongs to the WebSocket."""
        if self._refused:
            return
        self._buffer += data
        if self._head is None:
            self._read_head()
        if self._task is not None and len(self._buffer) >= self._clients.settings.max_head_size:
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """The peer went away before it was a WebSocket."""
        self._timer.cancel()
        self._cancel_question()
        self._clients.handshake_ended(self)

    def dismiss(self) -> bool:
        """See `Client.dismiss`."""
        if self._refused or self._transport.is_closing():
            return False
        self._refuse("stopping", Verdict(503, (("Retry-After", "1"),), b"server is stopping"))
        return True

    def give_up(self) -> None:
        """See `Client.give_up`."""
        self._transport.abort()

    def _head_timeout(self) -> None:
        if self._buffer:
            self._refuse("head", Verdict(408, (), b"request head incomplete"))
        else:
            self._transport.close()

    def _read_head(self) -> None:
        limit = self._clients.settings.max_head_size
        end = self._buffer.find(_END, 0, limit)
        if end < 0:
            if len(self._buffer) >= limit:
                self._refuse("head", Verdict(431, (), b"request head over the limit of %d bytes" % limit))
            return
        self._timer.cancel()
        try:
            self._head = parse_request_head(self._buffer[: end + len(_END)])
        except HandshakeError as error:
            log.warning("bad handshake", reason=str(error))
            self._refuse("head", Verdict(400, (), str(error).encode("utf-8", "replace")))
            return
        self._buffer = self._buffer[end + len(_END) :]
        self._decide(self._head)

    def _decide(self, head: RequestHead) -> None:
        clients = self._clients
        if head.path != clients.settings.path:
            self._refuse("path", Verdict(404, (), b"WebSockets are at %b" % clients.settings.path.encode()))
            return
        if not clients.origins.allows(head.header(b"origin")):
            self._refuse("origin", Verdict(405))
            return
        request = self._access_request(head) if clients.authorizer.reads_requests else NO_REQUEST
        verdict = clients.authorizer.connect(request)
        if isinstance(verdict, Verdict):
            self._answer(verdict, head, request)
        else:
            self._task = asyncio.get_running_loop().create_task(self._wait(verdict, head, request))

    def _access_request(self, head: RequestHead) -> AccessRequest:
        """Describe the request as PHP shall see it."""
        peer = self._transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        scheme = "https" if self._tls else "http"
        return AccessRequest.encode(
            remote_addr=self._clients.proxies.client_address(address, head),
            protocol=f"HTTP/{head.version}",
            method=head.method,
            uri=f"{scheme}://{head.header(b'host')}{head.target}",
            headers=head.headers,
            raw_query=head.query,
        )

    async def _wait(self, verdict: Awaitable[Verdict], head: RequestHead, request: AccessRequest) -> None:
        answer = await verdict
        self._task = None
        if not self._refused and not self._transport.is_closing():
            self._answer(answer, head, request)

    def _answer(self, verdict: Verdict, head: RequestHead, request: AccessRequest) -> None:
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
        connection = Connection(self._clients, transport, request, encoding)
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
        self._clients.stats.refused[reason] += 1
        self._refused = True
        self._buffer = b""
        self._timer.cancel()
        self._cancel_question()
        head_only = self._head is not None and self._head.method == "HEAD"
        transport = self._transport
        transport.write(refusal_response(verdict, send_body=not head_only))
        end_writing(transport)
        transport.resume_reading()
        timeout = self._clients.settings.close_timeout
        self._timer = asyncio.get_running_loop().call_later(timeout, transport.abort)

    def _cancel_question(self) -> None:
        if self._task is not None:
            cancel_soon(self._task)
            self._task = None  # it keeps the traceback of its end, which leads back here
