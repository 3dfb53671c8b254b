"""The opening handshake of a WebSocket (RFC 6455 section 4.2) on an HTTP request head.

The order of checks and the texts of refusals are those of RoadRunner 2.7 to 2.11 (gobwas/ws server.go
@v1.1.0). A refusal closes the connection and says so, which RoadRunner's did not.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64

from rr_py_ws.wire.http import RequestHead
from rr_py_ws.wire.verdict import Verdict

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)
_MAX_PARAMETERS = 1000
_MAX_LEVELS = 64
"""PHP's `max_input_vars` and `max_input_nesting_level`."""


def check_upgrade(head: RequestHead) -> Verdict | None:
    """Return the refusal of a request that cannot become a WebSocket, or None when it can."""
    if head.method != "GET":
        return _refusal(405, "bad HTTP request method")
    if head.version != "1.1":
        return _refusal(505, "bad HTTP protocol version")
    first = head.first
    if not first.get(b"host"):
        return _refusal(400, 'bad "Host" header')
    if first.get(b"upgrade") != b"websocket" and not _names(head, b"upgrade", b"websocket"):
        return _refusal(400, 'bad "Upgrade" header')
    if first.get(b"connection") != b"Upgrade" and not _names(head, b"connection", b"upgrade"):
        return _refusal(400, 'bad "Connection" header')
    # 16 bytes in base64; what they are is not looked at, as in gobwas/ws.
    if len(first.get(b"sec-websocket-key", b"")) != 24:
        return _refusal(400, 'bad "Sec-WebSocket-Key" header')
    version = first.get(b"sec-websocket-version")
    if version != b"13":
        # RFC 6455 section 4.4: the refusal of a version names the one that is spoken.
        refusal = _refusal(426 if version else 400, 'bad "Sec-WebSocket-Version" header')
        return refusal if not version else Verdict(426, (("Sec-WebSocket-Version", "13"),), refusal.body)
    return None


def check_before_asking(head: RequestHead) -> Verdict | None:
    """Return the refusal of a request that PHP cannot be asked about, or None.

    Without a host there is no URI: most PSR-7 libraries throw. Only HTTP/1.0 may leave it out, which cannot
    become a WebSocket anyway. Some throw at versions that they do not know. PHP warns of a query beyond its
    limits while the worker reads the request, and frameworks make an exception of a warning.
    """
    host = head.first.get(b"host")
    if host == b"":
        return Verdict(400, (), b"malformed Host header")
    if host is None or head.version not in ("1.0", "1.1"):
        return check_upgrade(head)
    if "?" in head.target and not _is_php_query(head.query):
        return Verdict(400, (), b"a query with too many parameters, or too many levels of them")
    return None


def _is_php_query(query: str) -> bool:
    """Whether `parse_str` reads a query without a warning, by the defaults of php.ini."""
    parameters = [parameter for parameter in query.split("&") if parameter]
    names = [parameter.partition("=")[0].lower() for parameter in parameters]
    return len(names) <= _MAX_PARAMETERS and all(
        name.count("[") + name.count("%5b") <= _MAX_LEVELS for name in names
    )


def _names(head: RequestHead, field: bytes, option: bytes) -> bool:
    """Whether an option is among those that a field lists.

    Lines of one field are one list (RFC 9110, 5.3): a proxy may add its own to that of the client.
    """
    return option.decode() in [item.strip(" \t") for item in head.joined(field).lower().split(",")]


def _refusal(status: int, text: str) -> Verdict:
    return Verdict(status, (), f"handshake error: {text}".encode())


def accept_response(head: RequestHead, subprotocol: str = "", extensions: str = "") -> bytes:
    """Encode the 101 response: RoadRunner's three headers, and what was agreed on beyond them."""
    digest = hashlib.sha1(head.first[b"sec-websocket-key"] + _GUID, usedforsecurity=False).digest()
    accept = b2a_base64(digest, newline=False)
    if not subprotocol and not extensions:
        return _ACCEPTED % accept
    agreed = b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode() if subprotocol else b""
    if extensions:
        agreed += b"Sec-WebSocket-Extensions: %b\r\n" % extensions.encode()
    return b"%b%b\r\n" % ((_ACCEPTED % accept)[:-2], agreed)


def requested_subprotocols(head: RequestHead) -> list[str]:
    """Return the subprotocols that the client offers, in its order."""
    offers = head.joined(b"sec-websocket-protocol")
    return [token.strip() for token in offers.split(",")] if offers else []


def offered_extensions(head: RequestHead) -> str:
    """Return the extensions that the client offers, as one header; empty for none."""
    return head.joined(b"sec-websocket-extensions")


def requested_protocols(head: RequestHead) -> list[bytes]:
    """Return the protocols other than HTTP that the connection may change to; none without a sound upgrade.

    A request with a body is answered as any other: nobody could tell the body from what follows an upgrade.
    HTTP/2 in the middle of a connection (`h2c`) is ignored, which every server may do: behind a server that
    changes to it, requests would follow that nobody here has looked at.
    """
    if head.version != "1.1" or head.body or not _names(head, b"connection", b"upgrade"):
        return []
    asked = [name.strip(" \t").encode("latin-1") for name in head.joined(b"upgrade").split(",")]
    return [name for name in asked if name and not name.lower().startswith((b"h2", b"http"))]
