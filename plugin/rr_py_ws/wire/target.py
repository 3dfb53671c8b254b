"""The first line of a request, and the host that the request is for: what becomes the URI that PHP parses.

PSR-7 libraries throw at a URI that they cannot read, mostly where no application catches it, and take text
behind a wrong host for path, query or user. So nothing gets into a URI that is not plainly what it seems.
Go's net/http looks at the characters of a host only; here its form is looked at, too.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from rr_py_ws.errors import ProtocolError

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_METHOD = re.compile(rb"[A-Z][A-Z_-]*")
_REST = re.compile(rb"([\x21-\x7e\x80-\xff]+) HTTP/([0-9]\.[0-9])")
_USUAL = re.compile(
    rb"([A-Z][A-Z_-]*) (/[A-Za-z0-9._~!$&'()*+,;=:@/\[\]-]*+(?:\?[\x21\x22\x24-\x7e\x80-\xff]*+)?)"
    rb" HTTP/(1\.[01])"
)
"""A line of which nothing has to be escaped, or looked at again."""
_VERSIONS = (b"0.9", b"1.0", b"1.1", b"2.0")
_ABSOLUTE = re.compile(rb"(?:https?|wss?)://([^/?]*)(.*)", re.IGNORECASE)
_HOST = re.compile(
    rb"(?:\[([0-9A-Fa-f:]+)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[89A-Fa-f][0-9A-Fa-f])+)(?::([0-9]{0,5}))?"
)
_PATH = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@/%\[\]-]*")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_KNOWN = 256
LONGEST_KNOWN = 256
_SAFE_IN_PATH = "$&+,/:;=@"


class RequestLine(NamedTuple):
    """The first line of a request.

    Attributes:
        method: as received.
        authority: host and port of an absolute-form target; empty for any other.
        target: path and query. The path is ASCII, the query may have anything but spaces; bytes that are not
            UTF-8 are surrogates in it.
        version: `1.1`.
    """

    method: str
    authority: str
    target: str
    version: str


def parse_request_line(line: bytes) -> RequestLine:
    """Parse a request line, without the end of the line.

    Raises:
        ProtocolError: it is none, or the answer does not depend on anything else: 505 for a version that
            there is not, 405 for a method that there is not (methods are in capitals).
    """
    if (usual := _USUAL.fullmatch(line)) is not None:
        method, target, version = usual.groups()
        return RequestLine(method.decode(), "", _text(target), version.decode())
    method, _, rest = line.partition(b" ")
    if not _TOKEN.fullmatch(method):
        raise ProtocolError("not an HTTP request: Invalid method encountered")
    found = _REST.fullmatch(rest)
    if found is None:
        raise ProtocolError("not an HTTP request: bad request line")
    target, version = found.groups()
    if version not in _VERSIONS:
        raise ProtocolError("handshake error: bad HTTP protocol version", 505)
    if not _METHOD.fullmatch(method):
        raise ProtocolError("handshake error: bad HTTP request method", 405)
    # PHP would take what follows for a fragment, other parsers take it for a part of path or query.
    if b"#" in target:
        raise ProtocolError("not an HTTP request: a fragment in the request target")
    authority = b""
    if absolute := _ABSOLUTE.fullmatch(target):
        authority, rest = absolute.groups()
        check_host(authority)
        target = rest if rest.startswith(b"/") else b"/" + rest
    elif not target.startswith(b"/") and b":" not in target and target != b"*":
        raise ProtocolError("not an HTTP request: bad request target")
    path, mark, query = target.partition(b"?")
    if _BAD_ESCAPE.search(path):  # as in Go; of a query it looks at nothing
        raise ProtocolError("not an HTTP request: invalid URL escape")
    target = _escaped(path) + mark + query
    return RequestLine(method.decode(), authority.decode(), _text(target), version.decode())


parse_known_line = lru_cache(_KNOWN)(parse_request_line)
"""The same for lines of up to `LONGEST_KNOWN` bytes, which come again with other requests."""


@lru_cache(maxsize=128)
def check_host(host: bytes) -> None:
    """Look at a host with or without a port, of a `Host` header or a target.

    Allowed are names and IPv4 addresses (RFC 3986 reg-name, so also `_`), IPv6 addresses in brackets, and
    ports from 1 to 65535. An escape stands for a byte of a character that is not ASCII: whoever unescapes
    `a%2Fb` has another URI. The rest makes at least one of the usual PSR-7 libraries throw: also port 0,
    zones of IPv6 addresses and IPv4 in IPv6, which no client sends.

    Raises:
        ProtocolError: it is something else, with RoadRunner's text.
    """
    found = _HOST.fullmatch(host)
    if found is None or (found[1] and not _is_ipv6(found[1])) or (found[2] and not _is_port(found[2])):
        raise ProtocolError("malformed Host header")


def _is_ipv6(text: bytes) -> bool:
    try:
        IPv6Address(text.decode())
    except ValueError:
        return False
    return True


def _is_port(text: bytes) -> bool:
    return 0 < int(text) <= 65535


def _text(target: bytes) -> str:
    return target.decode("utf-8", "surrogateescape")


def _escaped(path: bytes) -> bytes:
    """Write a path as Go does (net/url `EscapedPath`): as received, or escaped anew where it was not."""
    if _PATH.fullmatch(path):
        return path
    return quote_from_bytes(unquote_to_bytes(path), safe=_SAFE_IN_PATH).encode()
