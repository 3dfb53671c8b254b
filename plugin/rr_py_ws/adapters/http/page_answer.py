"""What PHP answers, on its way to the client."""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.types import Send

from rr_py_ws.core.ports import AnswerParts
from rr_py_ws.wire.content_type import detect_content_type
from rr_py_ws.wire.page import PageHead

_PIECE = 64 * 1024
"""Bytes of an answer that are written at once."""
_WITHOUT_BODY = (204, 304)
_LENGTH = re.compile(rb"[0-9]{1,18}")


class Page(NamedTuple):
    """What is answered.

    Attributes:
        head: status and headers.
        body: all of it, or its first part.
        parts: those that follow.
    """

    head: PageHead
    body: bytes
    parts: AnswerParts | None = None


def error_page(status: int, text: bytes) -> Page:
    """Make an answer of our own."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return Page(PageHead(status, headers, [], close=False), text)


async def send_page(page: Page, method: str, send: Send) -> None:
    """Send an answer; waits while the client takes nothing."""
    head, body, parts = page
    has_body = head.status not in _WITHOUT_BODY
    if not has_body:
        body = b""
    trailers = bool(head.trailers) and has_body
    await send(
        {
            "type": "http.response.start",
            "status": head.status,
            "headers": _headers(page, method),
            "trailers": trailers,
        }
    )
    more = parts is not None or trailers
    if len(body) <= _PIECE and not more:
        await send({"type": "http.response.body", "body": body})
        return
    view = memoryview(body)
    for at in range(0, len(view), _PIECE):
        last = at + _PIECE >= len(view) and not more
        piece = bytes(view[at : at + _PIECE])
        await send({"type": "http.response.body", "body": piece, "more_body": not last})
    while parts is not None and (part := await parts.next_part()) is not None:
        # Clients have to see the parts as they come, so none waits for the next.
        for at in range(0, len(part.body), _PIECE):
            piece = part.body[at : at + _PIECE] if has_body else b""
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    if more:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    if trailers:
        await send({"type": "http.response.trailers", "headers": head.trailers})


def _headers(page: Page, method: str) -> list[tuple[bytes, bytes]]:
    """Add what Go's net/http adds: the length, and the type when PHP has not said it."""
    head, body, parts = page
    headers = head.headers
    names = [name for name, _ in headers]
    said = b""
    if b"content-length" in names:
        said = next(value for name, value in headers if name == b"content-length")
        headers = [pair for pair in headers if pair[0] != b"content-length"]
    if head.status not in _WITHOUT_BODY:
        # The length of an answer that is there is known, whatever PHP says; that of a streamed one is not.
        # Of an answer to HEAD only PHP knows it.
        if method == "HEAD":
            if _LENGTH.fullmatch(said):
                headers.append((b"content-length", said))
        elif parts is None and not head.trailers:
            headers.append((b"content-length", b"%d" % len(body)))
        if method != "HEAD" and body and b"content-type" not in names and b"content-encoding" not in names:
            headers.append((b"content-type", detect_content_type(bytes(body[:512])).encode()))
    if head.close:
        headers.append((b"connection", b"close"))
    return headers
