"""HTTP/1.1 as far as every handler of the shared port needs it: the request head, and the refusal.

The head is parsed by httptools (llhttp). What two parsers may understand differently (two `Host` headers,
folded lines, a body where none is expected) is refused, so that a proxy before this server never sees another
request than this server does (request smuggling, RFC 9112 section 11.2).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import httptools

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.access import Verdict

_HTML = re.compile(
    rb"[\t\n\f\r ]*<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p|!--)"
    rb"[ >]",
    re.IGNORECASE,
)
_XML = re.compile(rb"[\t\n\f\r ]*<\?xml")
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_HOP_BY_HOP = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})


@dataclass(frozen=True, slots=True)
class RequestHead:
    """Request line and headers.

    Attributes:
        method: as received, `GET`.
        target: path and query as received; an absolute-form target has lost its scheme and host.
        version: `1.1`.
        headers: name and value pairs in order; names as received, values without spaces around them.
        first: lower-case name -> the first value of that name.
    """

    method: str
    target: str
    version: str
    headers: list[tuple[bytes, bytes]]
    first: dict[bytes, bytes]

    @property
    def path(self) -> str:
        """The target without its query, percent-decoded."""
        # Most paths have nothing to decode.
        raw = self.target.partition("?")[0]
        if "%" not in raw:
            return raw
        return unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    @property
    def query(self) -> str:
        """The query without its question mark, not decoded."""
        return self.target.partition("?")[2]

    def header(self, name: bytes) -> str:
        """Return the first value of a header; empty when it is missing.

        Args:
            name: in lower case.
        """
        return self.first.get(name, b"").decode("latin-1")


class Request(NamedTuple):
    """A request, and who sent it.

    Attributes:
        head: request line and headers.
        remote_addr: IP address of the client: of the peer, or of whom a trusted proxy speaks for.
        secure: whether it came over TLS.
    """

    head: RequestHead
    remote_addr: str
    secure: bool


class _HeadCollector:
    """Collects what the parser of httptools calls back with."""

    __slots__ = ("begun", "complete", "first", "headers", "hosts", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.first: dict[bytes, bytes] = {}
        self.hosts = 0
        self.begun = 0
        self.complete = 0

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_headers_complete(self) -> None:
        self.complete += 1

    def on_url(self, url: bytes) -> None:
        # llhttp may hand over the target in several pieces.
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        value = value.strip(b" \t")
        self.headers.append((name, value))
        key = name.lower()
        self.first.setdefault(key, value)
        if key == b"host":
            self.hosts += 1


def parse_request_head(head: bytes) -> RequestHead:
    """Parse a whole request head, with the empty line that ends it.

    Raises:
        ProtocolError: the bytes are not one whole HTTP/1 request, there are several `Host` headers, or a
            body is announced, which a WebSocket handshake cannot have and which must not be taken for frames.
    """
    collector = _HeadCollector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:  # not an error: "the rest is not HTTP", and there is no rest
        pass
    except httptools.HttpParserError as error:
        raise ProtocolError(f"not an HTTP request: {error}") from None
    # A head that ends early is not an error for the parser, and two heads are two requests.
    if (collector.begun, collector.complete) != (1, 1):
        raise ProtocolError("not one whole HTTP request")
    # Proxies choose the first or the last one; which of them was checked is unknown.
    if collector.hosts > 1:
        raise ProtocolError("several Host headers")
    if b"transfer-encoding" in collector.first or collector.first.get(b"content-length", b"0") != b"0":
        raise ProtocolError("a request with a body")
    return RequestHead(
        method=parser.get_method().decode("latin-1"),
        target=_origin_form(collector.url).decode("utf-8", "surrogateescape"),
        version=parser.get_http_version(),
        headers=collector.headers,
        first=collector.first,
    )


def _origin_form(url: bytes) -> bytes:
    """Strip scheme and host from an absolute-form target (RFC 9112 section 3.2.2), as Go does."""
    scheme, separator, rest = url.partition(b"://")
    if separator and scheme.lower() in (b"http", b"https"):
        slash = rest.find(b"/")
        query = rest.find(b"?")
        if slash < 0 or 0 <= query < slash:
            return b"/" + rest[query:] if query >= 0 else b"/"
        return rest[slash:]
    return url


def try_again_later(status: int, text: bytes) -> Verdict:
    """Make the refusal of a request that may succeed some seconds later.

    The seconds of `Retry-After` are random, so that clients refused together do not come back together.
    """
    return Verdict(status, (("Retry-After", str(random.randint(2, 6))),), text)


def refusal_response(verdict: Verdict, *, send_body: bool = True) -> bytes:
    """Encode a refusal as a whole HTTP response after which the connection is closed.

    Args:
        verdict: its status is sent as it is, except 1xx, which cannot end an exchange and becomes 400.
            Headers are sent in order; those that describe the connection are ours. `Content-Type` is guessed
            when missing.
        send_body: False for the answer to a HEAD request.
    """
    # After an interim status (1xx) the client would wait for another, or take the body for frames (101).
    status = verdict.status if verdict.status >= 200 else 400
    without_body = status in (204, 304)
    lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
    names = set()
    for name, value in verdict.headers:
        if name.lower() not in _HOP_BY_HOP:
            lines.append(f"{name}: {value}")
            names.add(name.lower())
    if verdict.body and not without_body and "content-type" not in names:
        lines.append(f"Content-Type: {_content_type(verdict.body)}")
    if "date" not in names:
        lines.append(f"Date: {formatdate(usegmt=True)}")
    if not without_body:
        lines.append(f"Content-Length: {len(verdict.body)}")
    lines.append("Connection: close\r\n\r\n")
    response = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    return response if without_body or not send_body else response + verdict.body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "status code " + str(status)


def _content_type(body: bytes) -> str:
    """Guess by the first bytes, by Go's rules for text (net/http sniff.go); all else is just binary."""
    start = body[:512]
    if _HTML.match(start):
        return "text/html; charset=utf-8"
    if _XML.match(start):
        return "text/xml; charset=utf-8"
    return "application/octet-stream" if _BINARY.search(start) else "text/plain; charset=utf-8"
