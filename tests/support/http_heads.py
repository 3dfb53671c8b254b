"""Request heads as clients write them, and responses as an independent client reads them."""

from __future__ import annotations

from collections.abc import Sequence

import httptools

from rr_py_ws.wire.http import RequestHead, parse_request_head

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {
    "Host": "a.example:8080",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def head(line: str = "GET /ws HTTP/1.1", *, without: Sequence[str] = (), **changed: str) -> bytes:
    """Write the head of a good handshake, with some headers changed or left out."""
    names = {name.lower().replace("-", "_"): name for name in GOOD}
    fields = GOOD | {names.get(key, key.replace("_", "-")): value for key, value in changed.items()}
    lines = [line, *(f"{name}: {value}" for name, value in fields.items() if name not in without)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def raw(*lines: bytes) -> bytes:
    return b"\r\n".join(lines) + b"\r\n\r\n"


def parse(line: str = "GET /ws HTTP/1.1", *, without: Sequence[str] = (), **changed: str) -> RequestHead:
    return parse_request_head(head(line, without=without, **changed))


class Response:
    """A response as an independent HTTP client understands it."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[str, str]] = []
        self.reason = b""
        self.body = b""
        self.responses = 0
        self.complete = False
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(data)
        self.status = parser.get_status_code()

    def on_message_begin(self) -> None:
        self.responses += 1

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode(), value.decode()))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True

    def header(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found == name]
