"""A client of ASGI applications: one request, and what was sent back, message by message."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Answer:
    """What an application sent.

    Attributes:
        status: of the answer; 0: there was none.
        fields: the headers, in order.
        pieces: the body, by messages.
        complete: whether the last message came.
    """

    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def header(self, name: str) -> str:
        """All values of a header, with a comma between them; empty when there are none."""
        return ", ".join(value for found, value in self.fields if found == name)

    def take(self, message: Message) -> None:
        """Check that a message may come now, and keep what it says."""
        assert not self.complete, "a message after the last"
        if message["type"] == "http.response.start":
            assert not self.status, "two answers"
            self.status = message["status"]
            self.fields = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
            assert all(name == name.lower() for name, _ in self.fields)
        else:
            assert self.status, "a body before the head"
            self.pieces.append(message.get("body", b""))
            self.complete = not message.get("more_body", False)


async def ask(
    app: ASGIApp,
    target: str = "/",
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    on_piece: Callable[[Answer], object] = lambda answer: None,
) -> Answer:
    """Make one request.

    Args:
        app: who answers.
        target: path and query, as they are in a request line.
        method: of the request.
        headers: of the request.
        on_piece: called for each piece of the body, before the application may go on.
    """
    path, _, query = target.partition("?")
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }
    answer = Answer()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        answer.take(message)
        if answer.pieces:
            on_piece(answer)

    await app(scope, receive, send)
    return answer


def page(
    *pieces: bytes,
    status: int = 200,
    headers: Iterable[tuple[str, str]] = (),
    seen: list[Scope] | None = None,
) -> ASGIApp:
    """An application that always answers the same.

    Args:
        pieces: the body, a message each.
        status: of the answer.
        headers: of the answer.
        seen: gets the scope of each request.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if seen is not None:
            seen.append(scope)
        fields = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        for index, piece in enumerate(pieces or (b"",)):
            more = index + 1 < len(pieces)
            await send({"type": "http.response.body", "body": piece, "more_body": more})

    return app
