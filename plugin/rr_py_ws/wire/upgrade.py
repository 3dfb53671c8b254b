"""The opening handshake of a WebSocket (RFC 6455 section 4.2) on an HTTP request head.

The order of checks and the texts of refusals are those of RoadRunner 2.7 to 2.11 (gobwas/ws server.go
@v1.1.0). A refusal closes the connection and says so, which RoadRunner's did not.
"""

from __future__ import annotations

import base64
import hashlib

from rr_py_ws.wire.access import Verdict
from rr_py_ws.wire.http import RequestHead

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


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
    # 16 bytes in base64; what they are is not looked at, as in gobwas/ws.
    if len(head.header(b"sec-websocket-key")) != 24:
        return _refusal(400, 'bad "Sec-WebSocket-Key" header')
    version = head.header(b"sec-websocket-version")
    if version != "13":
        # RFC 6455 section 4.4: the refusal of a version names the one that is spoken.
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
