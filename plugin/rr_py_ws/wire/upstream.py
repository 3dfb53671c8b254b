"""HTTP/1.1 towards another server: the head of a request that is passed on, and what comes back.

The answer is read by httptools (llhttp), which refuses what two readers may understand differently: a length
beside chunks, two lengths, folded or half-ended lines. What it would take for a body that ends with the
connection (an unknown transfer coding), or hold without an end (trailers, interim answers), is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import httptools

from rr_py_ws.errors import ProtocolError

Headers = Sequence[tuple[bytes, bytes]]
"""Names, in lower case, and values."""

MAX_HEAD = 64 * 1024
"""Bytes of the head of an answer, and of what may follow its chunks."""
_MAX_HEADERS = 256
_MAX_INTERIM = 16
"""Interim answers (1xx) before the one that counts."""
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer"
    b" transfer-encoding upgrade http2-settings".split()
)
"""Headers that are about one connection (RFC 9110 section 7.6.1); `Connection` names others."""
_LENGTH = b"content-length"
_OURS = frozenset((_LENGTH, b"host"))
"""What tells where a request ends and whom it is for: `Connection` cannot take it away."""
_CLIENT_ADDRESS = frozenset(
    b"forwarded x-real-ip true-client-ip cf-connecting-ip x-client-ip x-cluster-client-ip".split()
)
"""Headers in which applications look for the address of a client, beside `X-Forwarded-For`."""
_CGI_PROXY = b"proxy"
"""PHP would see this header as the variable HTTP_PROXY, which HTTP clients obey (httpoxy)."""


class Sender(NamedTuple):
    """Who sent a request, as the application behind is told.

    Attributes:
        addresses: of the client, and of the trusted proxies on the way, the nearest last.
        scheme: `http` or `https`: how the request came to this server.
        trusted: the header in which the nearest sender, a trusted proxy, names the client; empty when the
            sender is not trusted.
    """

    addresses: Sequence[str]
    scheme: str
    trusted: bytes = b""


def request_head(
    method: str,
    target: bytes,
    headers: Headers,
    sender: Sender,
    authority: bytes,
    mark: bytes,
    upgrade: bytes = b"",
) -> bytes:
    """Encode the head of a request as it is passed on.

    Args:
        method: as received.
        target: path and query as received.
        headers: as received.
        sender: who sent it.
        authority: the `Host` of a request that has none (HTTP/1.0).
        mark: names this server in `CDN-Loop` (RFC 8586): a request that comes back with the mark goes round
            and round. `Via` would do, too, but nginx does not compress what is asked for with a `Via`.
        upgrade: the protocols that the connection may change to; empty for none.
    """
    lines = [b"%b %b HTTP/1.1\r\n" % (method.encode(), target)]
    named = connection_options(headers) - _OURS
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    host = authority
    said = {b"x-forwarded-proto": sender.scheme.encode(), b"x-forwarded-host": b""}
    for name, value in headers:
        if name in _HOP_BY_HOP or name in named or (chunked and name == _LENGTH):
            continue
        if name == b"host":
            host = value
            continue
        # PHP and CGI make the same variable of `X_Forwarded_For` and `X-Forwarded-For`.
        plain = name.replace(b"_", b"-")
        if plain == _CGI_PROXY or (plain in _CLIENT_ADDRESS and name != sender.trusted):
            continue
        if plain.startswith(b"x-forwarded-"):
            if not sender.trusted or plain == b"x-forwarded-for" or name != plain:
                continue
            if name in said:
                said[name] = value
                continue
        lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(
        b"host: %b\r\nx-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: %b\r\n"
        b"cdn-loop: %b\r\n"
        % (
            host,
            ", ".join(sender.addresses).encode(),
            said[b"x-forwarded-proto"],
            said[b"x-forwarded-host"] or host,
            mark,
        )
    )
    if chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(b"connection: Upgrade\r\nupgrade: %b\r\n\r\n" % upgrade if upgrade else b"\r\n")
    return b"".join(lines)


def came_back(headers: Headers, mark: bytes) -> bool:
    """Whether a request was passed on by the server of a mark before; see `request_head`."""
    return mark in tokens(headers, b"cdn-loop")


def answer_headers(headers: Headers, status: int) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer that are passed on to the client."""
    named = connection_options(headers)
    # A length without a body means something for HEAD only.
    without = _HOP_BY_HOP | {_LENGTH} if status in (101, 204, 304) else _HOP_BY_HOP
    return [
        (name, value)
        for name, value in headers
        if name not in without and (name not in named or name in _OURS)
    ]


def switching_head(headers: Headers, protocols: Sequence[bytes]) -> bytes:
    """Encode the 101 that is passed on to a client.

    Args:
        headers: of the 101 that came.
        protocols: what the connection changes to.
    """
    lines = [b"%b: %b\r\n" % header for header in answer_headers(headers, 101)]
    return b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n%b\r\n" % (
        b", ".join(protocols),
        b"".join(lines),
    )


def connection_options(headers: Headers) -> frozenset[bytes]:
    """Return what all `Connection` lines name, in lower case."""
    return frozenset(option.lower() for option in tokens(headers, b"connection"))


def tokens(headers: Headers, name: bytes) -> list[bytes]:
    """Return the elements of all lines of a header that is a list."""
    values = [value for key, value in headers if key == name]
    if not values:  # nearly always
        return []
    return [token for part in b",".join(values).split(b",") if (token := part.strip(b" \t"))]


class AnswerReader:
    """Reads what comes back for one request, in pieces of any size.

    Args:
        to_head: the request was HEAD: its answer has no body, whatever its headers announce.
        upgrade: the request allowed another protocol, so 101 is an answer.

    Attributes:
        status: of the answer that counts; 0 as long as its head is not complete.
        headers: of that answer, names in lower case.
        body: pieces of the body, in order; whoever takes them clears the list.
        complete: the whole answer was read.
        may_continue: an interim answer asks for the body of the request (100).
        reusable: the connection may be used for another request when the answer is complete.
        rest: what followed a 101.
    """

    __slots__ = (
        "_by_end",
        "_codings",
        "_head",
        "_interim",
        "_parser",
        "_size",
        "_to_head",
        "_upgrade",
        "body",
        "complete",
        "headers",
        "may_continue",
        "rest",
        "reusable",
        "status",
    )

    def __init__(self, *, to_head: bool = False, upgrade: bool = False) -> None:
        self._to_head = to_head
        self._upgrade = upgrade
        self._parser: Any = httptools.HttpResponseParser(self)
        self._interim = 0
        self._size = 0
        self._head = 0
        self._codings = 0
        self._by_end = True
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.complete = False
        self.may_continue = False
        self.reusable = False
        self.rest = b""

    def feed(self, data: bytes) -> None:
        """Read bytes.

        Raises:
            ProtocolError: they are no answer that can be passed on.
        """
        pieces = len(self.body)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            self.rest = data[error.args[0] :]
        except httptools.HttpParserError as error:
            if error.__context__ is not None:  # what was raised below
                raise error.__context__ from None
            if not self.complete:
                raise ProtocolError(str(error), 502) from None
            self.reusable = False  # what follows a whole answer is nobody's
            return
        if self.complete or len(self.body) > pieces:
            self._size = 0
            return
        # The parser keeps a header until its end, and reads over extensions of chunks: neither may go on.
        self._size += len(data)
        if self._size > MAX_HEAD:
            raise ProtocolError(f"more than {MAX_HEAD} bytes without a piece of the body", 502)

    def end(self) -> None:
        """Take note that the connection has ended.

        Raises:
            ProtocolError: the answer is not complete.
        """
        if not self.complete and not (self.status and self._by_end):
            raise ProtocolError("the connection ended before the answer did", 502)
        self.complete = True
        self.reusable = False

    def close(self) -> None:
        """Read no more. The parser and this refer to each other: without that, memory is free at once."""
        self._parser = None

    # What the parser calls

    def on_message_begin(self) -> None:
        """A head begins; after a whole answer that is one that nobody has asked for."""
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header of a head; those behind the body, trailers, are left out."""
        if self.complete or self.status:
            return
        name, value = name.lower(), value.strip(b" \t")
        self._head += len(name) + len(value)
        if len(self.headers) >= _MAX_HEADERS or self._head > MAX_HEAD:
            raise ProtocolError(f"a head with more than {_MAX_HEADERS} headers or {MAX_HEAD} bytes", 502)
        if name == _LENGTH:
            self._by_end = False
        elif name == b"transfer-encoding":
            self._by_end = False
            self._codings += 1
            if value.lower() != b"chunked" or self._codings > 1:
                raise ProtocolError("a transfer coding that nobody has asked for", 502)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Look at a head: is it the one that counts, and does a body follow it?"""
        if self.complete:
            return
        parser = self._parser
        status = parser.get_status_code()
        version = parser.get_http_version()
        if version not in ("1.1", "1.0") or (self._codings and version == "1.0"):
            raise ProtocolError(f"an answer of HTTP/{version} that cannot be read", 502)
        if status == 101 and self._upgrade and parser.should_upgrade():
            self.status, self.complete = status, True
        elif not 100 <= status <= 599 or status == 101:
            raise ProtocolError(f"an answer with the status {status}", 502)
        elif status < 200:
            self._pass_over(status)
        else:
            self.status = status
            self.reusable = parser.should_keep_alive()
            if self._to_head or status in (204, 304):
                self.complete = True  # whatever the parser takes for a body now is none

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if self.complete:  # a body where none can be
            self.reusable = False
        else:
            self.body.append(data)

    def on_message_complete(self) -> None:
        """The body is complete, unless that was the head of an interim answer."""
        if self.status:
            self.complete = True

    def _pass_over(self, status: int) -> None:
        self._interim += 1
        if self._interim > _MAX_INTERIM:
            raise ProtocolError(f"more than {_MAX_INTERIM} interim answers", 502)
        if not self._by_end:  # the parser would read a body, which there cannot be
            raise ProtocolError("an interim answer with a body", 502)
        self.may_continue = self.may_continue or status == 100
        self.headers.clear()


def chunk(data: bytes) -> bytes:
    """Encode a piece of a body whose length is not known before."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
