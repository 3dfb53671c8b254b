"""The HTTP side of a WebSocket: the request head, the checks of the handshake, the responses.

The order of checks and the texts of refusals are those of RoadRunner 2.7 to 2.11 (gobwas/ws server.go
@v1.1.0). A refusal closes the connection and says so, which RoadRunner's did not.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import httptools

from rr_py_ws.errors import HandshakeError
from rr_py_ws.wire.access import Verdict

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
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


class _Receiver:
    """Collects what the parser calls back with."""

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
        HandshakeError: it is no HTTP/1 request or more than one, it has several `Host` headers, or it
            announces a body, which a WebSocket handshake cannot have and which must not be taken for frames.
    """
    receiver = _Receiver()
    parser = httptools.HttpRequestParser(receiver)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise HandshakeError(f"no HTTP request: {error}") from None
    if (receiver.begun, receiver.complete) != (1, 1):
        raise HandshakeError("not one whole HTTP request")
    if receiver.hosts > 1:
        raise HandshakeError("several Host headers")
    if b"transfer-encoding" in receiver.first or receiver.first.get(b"content-length", b"0") != b"0":
        raise HandshakeError("a request with a body")
    return RequestHead(
        method=parser.get_method().decode("latin-1"),
        target=_origin_form(receiver.url).decode("utf-8", "surrogateescape"),
        version=parser.get_http_version(),
        headers=receiver.headers,
        first=receiver.first,
    )


def _origin_form(url: bytes) -> bytes:
    scheme, separator, rest = url.partition(b"://")
    if separator and scheme.lower() in (b"http", b"https"):
        slash = rest.find(b"/")
        query = rest.find(b"?")
        if slash < 0 or 0 <= query < slash:
            return b"/" + rest[query:] if query >= 0 else b"/"
        return rest[slash:]
    return url


def check_upgrade(head: RequestHead) -> Verdict | None:
    """Return the refusal of a request that cannot become a WebSocket, or None when it can."""
    if head.method != "GET":
        return _refusal(405, "bad HTTP request method")
    if head.version != "1.1":
        return _refusal(505, "bad HTTP protocol version")
    if not head.header(b"host"):
        return _refusal(400, 'bad "Host" header')
    if head.header(b"upgrade").lower() != "websocket":
        return _refusal(400, 'bad "Upgrade" header')
    if "upgrade" not in map(str.strip, head.header(b"connection").lower().split(",")):
        return _refusal(400, 'bad "Connection" header')
    if len(head.header(b"sec-websocket-key")) != 24:
        return _refusal(400, 'bad "Sec-WebSocket-Key" header')
    version = head.header(b"sec-websocket-version")
    if version != "13":
        refusal = _refusal(426 if version else 400, 'bad "Sec-WebSocket-Version" header')
        return refusal if not version else Verdict(426, (("Sec-WebSocket-Version", "13"),), refusal.body)
    return None


def _refusal(status: int, text: str) -> Verdict:
    return Verdict(status, (), f"handshake error: {text}".encode())


def accept_response(head: RequestHead, subprotocol: str = "", extensions: str = "") -> bytes:
    """Encode the 101 response: RoadRunner's three headers, and what was agreed on beyond them."""
    key = head.header(b"sec-websocket-key").encode("latin-1")
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    agreed = b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode() if subprotocol else b""
    if extensions:
        agreed += b"Sec-WebSocket-Extensions: %b\r\n" % extensions.encode()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accept, agreed)
    )


def requested_subprotocols(head: RequestHead) -> list[str]:
    """Return the subprotocols that the client offers, in its order."""
    offers = _joined(head, b"sec-websocket-protocol")
    return [token.strip() for token in offers.split(",")] if offers else []


def offered_extensions(head: RequestHead) -> str:
    """Return the extensions that the client offers, as one header; empty for none."""
    return _joined(head, b"sec-websocket-extensions")


def _joined(head: RequestHead, name: bytes) -> str:
    """All values of a header that is a list (RFC 9110 section 5.3)."""
    if name not in head.first:
        return ""
    values = [value for key, value in head.headers if key.lower() == name]
    return b",".join(values).decode("latin-1")


def refusal_response(verdict: Verdict, *, send_body: bool = True) -> bytes:
    """Encode a refusal as a whole HTTP response after which the connection is closed.

    Args:
        verdict: its status is sent as it is, except 1xx, which cannot end an exchange and becomes 400.
            Headers are sent in order; those that describe the connection are ours. `Content-Type` is guessed
            when missing.
        send_body: False for the answer to a HEAD request.
    """
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
