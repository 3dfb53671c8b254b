"""One TCP connection until it is a WebSocket, or refused.

Order of checks (RoadRunner 2.5 to 2.11): path, origin, PHP, upgrade headers, 101.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast

from rr_py_ws.adapters.ws.connection import Connection
from rr_py_ws.errors import HandshakeError
from rr_py_ws.wire.access import FAILED, AccessRequest, Verdict
from rr_py_ws.wire.push import BY_SUBPROTOCOL, STRING
from rr_py_ws.wire.upgrade import (
    RequestHead,
    accept_response,
    check_upgrade,
    parse_request_head,
    refusal_response,
    requested_subprotocols,
)

if TYPE_CHECKING:
    from rr_py_ws.adapters.ws.server import WebSocketServer

_END = b"\r\n\r\n"
_LINGER = 2.0
"""Seconds that a refused peer has to take the response before the connection is cut."""


class Handshake(asyncio.Protocol):
    """Reads one request head and decides. After a 101 the transport belongs to a `Connection`."""

    __slots__ = ("_buffer", "_head", "_server", "_task", "_timer", "_tls", "_transport")

    def __init__(self, server: WebSocketServer, *, tls: bool) -> None:
        self._server = server
        self._tls = tls
        self._buffer = b""
        self._head: RequestHead | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, but not for ever."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._server.handshakes.add(self)
        timeout = self._server.settings.head_timeout
        self._timer = asyncio.get_running_loop().call_later(timeout, self._head_timeout)

    def data_received(self, data: bytes) -> None:
        """Collect the head; what follows it in the same packet belongs to the WebSocket."""
        if self._head is not None or self._transport.is_closing():
            self._buffer += data  # only what was read before reading was paused
            return
        self._buffer += data
        limit = self._server.settings.max_head_size
        end = self._buffer.find(_END, 0, limit)
        if end < 0:
            if len(self._buffer) >= limit:
                self._refuse(Verdict(431, (), b"request head over the limit of %d bytes" % limit))
            return
        self._timer.cancel()
        try:
            self._head = parse_request_head(self._buffer[: end + len(_END)])
        except HandshakeError as error:
            self._server.log_bad_request(error)
            self._refuse(Verdict(400, (), str(error).encode("utf-8", "replace")))
            return
        self._buffer = self._buffer[end + len(_END) :]
        self._decide(self._head)

    def connection_lost(self, error: Exception | None) -> None:
        """The peer went away before it was a WebSocket."""
        self._timer.cancel()
        self._server.handshakes.discard(self)
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """The server is stopping: refuse what is not decided yet."""
        if not self._transport.is_closing():
            self._refuse(Verdict(503, (("Retry-After", "1"),), b"server is stopping"))

    def _head_timeout(self) -> None:
        if self._buffer:
            self._refuse(Verdict(408, (), b"request head incomplete"))
        else:
            self._transport.close()

    def _decide(self, head: RequestHead) -> None:
        server = self._server
        if head.path != server.settings.path:
            self._refuse(Verdict(404, (), b"WebSockets are at %b" % server.settings.path.encode()))
            return
        if not server.origins.allows(head.header(b"origin")):
            self._refuse(Verdict(405))
            return
        request = server.access_request(head, self._transport, tls=self._tls)
        verdict = server.authorizer.connect(request)
        if isinstance(verdict, Verdict):
            self._answer(verdict, request)
        else:
            self._transport.pause_reading()
            self._task = asyncio.get_running_loop().create_task(self._wait(verdict, request))

    async def _wait(self, waiting: Awaitable[Verdict], request: AccessRequest) -> None:
        try:
            verdict = await waiting
        except Exception as error:  # an authorizer never raises; a handshake is answered even so
            self._server.log_failed(error)
            verdict = FAILED
        self._task = None
        if not self._transport.is_closing():
            self._answer(verdict, request)

    def _answer(self, verdict: Verdict, request: AccessRequest) -> None:
        head = self._head
        assert head is not None
        refusal = check_upgrade(head) if verdict.allowed else verdict
        if refusal is not None:
            self._refuse(refusal)
            return
        encoding = STRING
        for name in requested_subprotocols(head):
            if name in BY_SUBPROTOCOL:
                encoding = BY_SUBPROTOCOL[name]
                break
        transport = self._transport
        connection = Connection(self._server, transport, request, encoding)
        transport.set_protocol(connection)
        connection.write(accept_response(head, encoding.subprotocol))
        self._server.handshakes.discard(self)
        self._server.connection_made(connection)
        if self._buffer:
            connection.data_received(self._buffer)
        if not transport.is_closing():
            transport.resume_reading()

    def _refuse(self, verdict: Verdict) -> None:
        """Answer and close; a peer that does not take the answer is cut."""
        self._timer.cancel()
        head_only = self._head is not None and self._head.method == "HEAD"
        self._transport.write(refusal_response(verdict, send_body=not head_only))
        self._transport.close()
        self._timer = asyncio.get_running_loop().call_later(_LINGER, self._transport.abort)
