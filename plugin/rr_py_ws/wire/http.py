"""HTTP/1.1 as far as every handler of the shared port needs it: the request head, and the refusal.

The first line is parsed by `wire.target`, the fields by httptools (llhttp). What two parsers may understand
differently (two `Host` headers, folded lines, a body where none is expected) is refused, so that a proxy
before this server never sees another request than this server does (request smuggling, RFC 9112 section
11.2).
"""

from __future__ import annotations

import random
import re
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import httptools

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.body import CHUNKED
from rr_py_ws.wire.content_type import detect_content_type
from rr_py_ws.wire.target import LONGEST_KNOWN, check_host, parse_known_line, parse_request_line
from rr_py_ws.wire.verdict import Verdict

_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")
"""Those before a request are skipped (RFC 9112 section 2.2)."""
_SHOWN = 200
"""Characters of a path that a page names."""
_BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})
_LENGTH = re.compile(rb"[0-9]{1,18}")
WITH_BODY = "a request with a body"
"""Why a request is refused that may not have one."""
_HOP_BY_HOP = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})
_NONE: frozenset[bytes] = frozenset()
_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class


class RequestHead(NamedTuple):
    """Request line and headers.

    Attributes:
        method: as received, `GET`.
        target: path and query as received, but for a path that had to be escaped; an absolute-form target has
            lost its scheme and host.
        version: `1.1`.
        headers: name and value pairs in order; names as received, values without spaces around them.
        first: lower-case name -> the first value of that name.
        repeated: lower-case names of which there are several lines.
        authority: host and port of an absolute-form target; empty for any other.
        body: bytes of the body that follows; `CHUNKED` when only the body itself says.
    """

    method: str
    target: str
    version: str
    headers: list[tuple[bytes, bytes]]
    first: dict[bytes, bytes]
    repeated: frozenset[bytes] = _NONE
    authority: str = ""
    body: int = 0

    @property
    def host(self) -> str:
        """Host and port that the request is for: those of the target count (RFC 9112 section 3.2.2)."""
        return self.authority or self.header(b"host")

    @property
    def keeps_alive(self) -> bool:
        """Whether the client expects to use its connection again."""
        if self.version == "1.0":  # its `keep-alive` was never specified, and breaks with proxies
            return False
        return b"connection" not in self.first or "close" not in [
            option.strip() for option in self.joined(b"connection").lower().split(",")
        ]

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

    def lines(self, name: bytes) -> list[str]:
        """Return the values of all lines of a header.

        Args:
            name: in lower case.
        """
        if name not in self.first:
            return []
        if name not in self.repeated:
            return [self.first[name].decode("latin-1")]
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == name]

    def joined(self, name: bytes) -> str:
        """Return all lines of a header as the one list that they are (RFC 9110 section 5.3).

        Args:
            name: in lower case.
        """
        return ",".join(self.lines(name))


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

    __slots__ = ("begun", "complete", "first", "headers", "repeated")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.first: dict[bytes, bytes] = {}
        self.repeated: set[bytes] = set()
        self.begun = 0
        self.complete = 0

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_headers_complete(self) -> None:
        self.complete += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        value = value.strip(b" \t")
        self.headers.append((name, value))
        key = name.lower()
        if key not in self.first:
            self.first[key] = value
        else:
            self.repeated.add(key)

    @property
    def lengths(self) -> int:
        """How many headers say where the body ends; 2 for any more than one."""
        return 2 if _BODY_HEADERS & self.repeated else len(_BODY_HEADERS & self.first.keys())


def parse_request_head(head: bytes, *, bodies: bool = False) -> RequestHead:
    """Parse a whole request head, with the empty line that ends it.

    Args:
        head: the bytes.
        bodies: whether a body may follow. A WebSocket handshake cannot have one, and it must not be taken for
            frames.

    Raises:
        ProtocolError: the bytes are not one whole HTTP/1 request, its host is none that PHP could be told,
            there are several `Host` headers, or a body is announced that may not be there or whose end two
            programs could see at different places.
    """
    if head.startswith(b"\r\n"):
        head = _EMPTY_LINES.sub(b"", head, 1)
    end = head.find(b"\r\n")
    if end < 0:
        raise ProtocolError("not one whole HTTP request")
    line = parse_known_line(head[:end]) if end <= LONGEST_KNOWN else parse_request_line(head[:end])
    collector = _HeadCollector()
    parser = httptools.HttpRequestParser(collector)
    try:
        # llhttp knows some methods only, and refuses bytes that Go lets pass.
        parser.feed_data(b"GET / HTTP/1.1" + head[end:])
    except httptools.HttpParserUpgrade:  # not an error: "the rest is not HTTP", and there is no rest
        pass
    except httptools.HttpParserError as error:
        raise ProtocolError(f"not an HTTP request: {error}") from None
    # A head that ends early is not an error for the parser, and two heads are two requests.
    if (collector.begun, collector.complete) != (1, 1):
        raise ProtocolError("not one whole HTTP request")
    # Proxies choose the first or the last one; which of them was checked is unknown.
    if b"host" in collector.repeated:
        raise ProtocolError("several Host headers")
    if host := collector.first.get(b"host"):
        check_host(host)
    body = 0
    if not _BODY_HEADERS.isdisjoint(collector.first) and (
        bodies or collector.first.get(b"content-length") != b"0"
    ):
        if not bodies:
            raise ProtocolError(WITH_BODY)
        body = _body_size(collector, line.version)
    repeated = frozenset(collector.repeated) if collector.repeated else _NONE
    return _new(
        RequestHead,
        (
            line.method,
            line.target,
            line.version,
            collector.headers,
            collector.first,
            repeated,
            line.authority,
            body,
        ),
    )


def _body_size(collector: _HeadCollector, version: str) -> int:
    """Return `RequestHead.body` for a head with `Content-Length` or `Transfer-Encoding`, one of them."""
    if collector.lengths > 1:
        raise ProtocolError("several lengths of one body")
    if (coding := collector.first.get(b"transfer-encoding")) is not None:
        if version != "1.1":
            raise ProtocolError("a transfer encoding before HTTP/1.1")
        if coding.lower() != b"chunked":
            raise ProtocolError("unsupported transfer encoding", 501)
        return CHUNKED
    length = collector.first[b"content-length"]
    if not _LENGTH.fullmatch(length):
        raise ProtocolError("bad Content-Length")
    return int(length)


def check_page_request(head: RequestHead) -> None:
    """Look whether a page can be asked for so.

    Raises:
        ProtocolError: with the status of the answer.
    """
    if head.version not in ("1.1", "1.0"):
        raise ProtocolError("unsupported HTTP protocol version", 505)
    if head.method == "CONNECT":  # what follows would not be HTTP
        raise ProtocolError("this is no proxy", 405)
    if not head.target.startswith("/") and (head.method, head.target) != ("OPTIONS", "*"):
        raise ProtocolError("not an HTTP request: bad request target")
    if head.version == "1.1" and b"host" not in head.first:
        raise ProtocolError("missing required Host header")
    # `http:///path` is no URI. What HTTP/1.0 leaves out is filled in by whoever makes one.
    if head.version == "1.1" and not head.host:
        raise ProtocolError("malformed Host header")
    if b"expect" in head.first and head.first[b"expect"].lower() not in (b"", b"100-continue"):
        raise ProtocolError("unknown expectation", 417)


def try_again_later(status: int, text: bytes) -> Verdict:
    """Make the refusal of a request that may succeed some seconds later.

    The seconds of `Retry-After` are random, so that clients refused together do not come back together.
    """
    return Verdict(status, (("Retry-After", str(random.randint(2, 6))),), text)


def not_found(path: str, served: str) -> Verdict:
    """Make the 404 of a path, which is named as far as it is not too long.

    Args:
        path: percent-decoded.
        served: what is served instead.
    """
    # A path is whatever somebody writes; the page is plain text.
    shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
    text = f"nothing is served at {shown[:_SHOWN]}{'...' if len(shown) > _SHOWN else ''}; {served}\n"
    return Verdict(404, (("Content-Type", "text/plain; charset=utf-8"),), text.encode())


def refusal_response(verdict: Verdict, *, send_body: bool = True) -> bytes:
    """Encode a refusal as a whole HTTP response after which the connection is closed.

    Args:
        verdict: its status is sent as it is, except 1xx, which cannot end an exchange and becomes 400.
            Headers are sent in order; those that describe the connection are ours, but for the `Upgrade` of a
            426, which says what to upgrade to. `Content-Type` is guessed when missing.
        send_body: False for the answer to a HEAD request.
    """
    # After an interim status (1xx) the client would wait for another, or take the body for frames (101).
    status = verdict.status if verdict.status >= 200 else 400
    without_body = status in (204, 304)
    lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
    names = set()
    for name, value in verdict.headers:
        if name.lower() not in _HOP_BY_HOP or (status == 426 and name.lower() == "upgrade"):
            lines.append(f"{name}: {value}")
            names.add(name.lower())
    if verdict.body and not without_body and "content-type" not in names:
        lines.append(f"Content-Type: {detect_content_type(verdict.body)}")
    if "date" not in names:
        lines.append(f"Date: {formatdate(usegmt=True)}")
    if not without_body:
        lines.append(f"Content-Length: {len(verdict.body)}")
    # RFC 9110 section 7.8: `Upgrade` is named there.
    lines.append(f"Connection: {'upgrade, ' if 'upgrade' in names else ''}close\r\n\r\n")
    response = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    return response if without_body or not send_body else response + verdict.body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "status code " + str(status)
