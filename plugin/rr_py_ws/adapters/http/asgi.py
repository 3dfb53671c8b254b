"""What an ASGI application sees of a request, and how its answer becomes HTTP: uvicorn's, with additions."""

from __future__ import annotations

import asyncio
import logging
import time
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from rr_py_ws.wire.http import Request

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.pages import Exchange

_SILENT = logging.getLogger("rr_py_ws.pages")
"""What uvicorn would log is logged by the exchange."""


class ExchangeFlow(FlowControl):
    """uvicorn's, but whether the socket is read further is decided by the exchange."""

    def __init__(self, transport: asyncio.Transport, exchange: Exchange) -> None:
        super().__init__(transport)
        self._exchange = exchange

    def resume_reading(self) -> None:
        """The application waits for more."""
        if self.read_paused:
            self._exchange.body_wanted()

    def go_on_reading(self) -> None:
        """Read the socket again."""
        super().resume_reading()


class Cycle(RequestResponseCycle):
    """uvicorn's, with a date, trailers, and an end of the connection behind a request that is not read."""

    def __init__(self, request: Request, exchange: Exchange, flow: FlowControl) -> None:
        head = request.head
        super().__init__(
            scope=cast(Any, make_scope(request, exchange.peer, exchange.server)),
            transport=cast(asyncio.Transport, exchange),
            flow=flow,
            logger=_SILENT,
            access_logger=_SILENT,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=head.header(b"expect").lower() == "100-continue" and head.version == "1.1",
            keep_alive=head.keeps_alive,
            on_response=lambda: None,
        )
        self._exchange = exchange
        self._trailers = False
        self._until_end = False

    async def send(self, message: Any) -> None:
        """Send a part of the answer; waits while the client takes nothing."""
        kind = message["type"]
        if kind == "http.response.start":
            message = self._begin(message)
            self._exchange.hold()
            await super().send(message)
        elif kind == "http.response.trailers":
            if self._trailers and self.chunked_encoding:
                self._send_trailers(message)
        else:
            if self._trailers:
                message = {**message, "more_body": True}
            elif self._until_end:
                self.expected_content_length = len(message.get("body", b""))
            await self._exchange.turn_for(len(message.get("body", b"")))
            await super().send(message)
            self._exchange.flush()

    def _begin(self, message: Any) -> Any:
        """Decide how the answer ends, and add what is missing in its head."""
        # Where the next request begins is not known, and the rest may be large.
        if not self._exchange.body_complete():
            self.keep_alive = False
        headers = [*message.get("headers", ())]
        names = {name.lower() for name, _ in headers}
        if b"date" not in names:
            headers.append((b"date", _date(int(time.time()))))
        if self.scope["http_version"] == "1.1":
            self._trailers = message.get("trailers", False) and self.scope["method"] != "HEAD"
        elif b"content-length" not in names:  # such a client knows no chunks
            self._until_end, self.chunked_encoding = True, False
        return {**message, "headers": headers}

    def _send_trailers(self, message: Any) -> None:
        self._trailers = False
        lines = [b"%s: %s\r\n" % pair for pair in message["headers"]]
        if not self.disconnected:
            self.transport.write(b"0\r\n%s\r\n" % b"".join(lines))
            self.response_complete = True


def make_scope(request: Request, peer: str, server: tuple[str, int] | None) -> dict[str, Any]:
    """Make the ASGI scope of a request.

    `target` is the whole of path and query, which `raw_path` and `query_string` cannot tell of `/a?`.
    `client` is whom a trusted proxy speaks for, `state["peer"]` the address of the proxy itself, `server` the
    address that was connected to, None for a unix socket. Bytes of the
    target that are no UTF-8 are surrogates in `path`, as everywhere in this program.
    """
    head = request.head
    raw_path, _, query = head.target.partition("?")
    headers = [(name.lower(), value) for name, value in head.headers]
    # The host of an absolute target counts (RFC 9112 section 3.2.2).
    if head.authority:
        headers = [pair for pair in headers if pair[0] != b"host"]
        headers.insert(0, (b"host", head.authority.encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "method": head.method,
        "scheme": "https" if request.secure else "http",
        "path": head.path,
        "raw_path": raw_path.encode("utf-8", "surrogateescape"),
        "query_string": query.encode("utf-8", "surrogateescape"),
        "target": head.target.encode("utf-8", "surrogateescape"),
        "root_path": "",
        "headers": headers,
        "client": (request.remote_addr, 0) if request.remote_addr else None,
        "server": server,
        "state": {"peer": peer},
        "extensions": {"http.response.trailers": {}},
    }


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
