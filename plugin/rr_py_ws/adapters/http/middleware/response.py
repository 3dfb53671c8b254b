"""What middleware does to answers: headers that are set before there is one, and small answers of its own.

RoadRunner's middleware works on the one header map of an answer: what an outer one sets is there when PHP's
headers are added to it. An ASGI message has its own headers, so the map of the outer ones is kept in the
scope, and `PresetHeaders`, around the application, puts it before them.
"""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rr_py_ws.wire.answer_headers import AnswerHeaders

_KEY = "rr_py_ws.preset_headers"

RawHeaders = list[tuple[bytes, bytes]]
"""Name and value pairs; names in lower case, as everywhere in ASGI."""


def preset_headers(scope: Scope) -> RawHeaders:
    """Return the headers that an answer to this request has whoever makes it; they can be changed."""
    headers: RawHeaders = scope.setdefault(_KEY, [])
    return headers


def set_headers(headers: RawHeaders, replacing: RawHeaders) -> None:
    """Set headers, each instead of those that have its name."""
    if headers and replacing:
        names = {name for name, _ in replacing}
        headers[:] = [field for field in headers if field[0] not in names]
    headers += replacing


class PresetHeaders:
    """Adds what middleware around it has set; the innermost, around what serves the pages.

    Args:
        app: who answers, with names in lower case.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Have the application answer."""
        preset: RawHeaders = scope.get(_KEY, [])
        if not preset:
            return self._app(scope, receive, send)

        async def send_with_them(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*preset, *message.get("headers", ())]}
            await send(message)

        return self._app(scope, receive, send_with_them)


async def send_text(send: Send, status: int, headers: RawHeaders, text: str = "") -> None:
    """Send an answer of middleware: no body, or one line of text as Go's `http.Error` makes it."""
    body = f"{text}\n".encode() if text else b""
    own = AnswerHeaders(headers)
    if text:
        own.put(b"content-type", "text/plain; charset=utf-8")
        own.put(b"x-content-type-options", "nosniff")
    own.put(b"content-length", str(len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
