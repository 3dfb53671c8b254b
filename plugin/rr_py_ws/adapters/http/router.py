"""Which handler answers which path."""

from __future__ import annotations

from collections.abc import Callable

from rr_py_ws.adapters.http.connection import HTTPConnection
from rr_py_ws.wire.access import Verdict

Handler = Callable[[HTTPConnection], None]
"""Answers the request of a connection, now or later, by `HTTPConnection.refuse` or `hand_over`.

A handler that answers later sets `HTTPConnection.on_lost`, to learn when nobody waits for the answer.
"""


class Router:
    """Maps paths to handlers; a path that nobody serves is answered with 404.

    Args:
        not_found: body of the 404.
    """

    def __init__(self, not_found: str) -> None:
        self._handlers: dict[str, Handler] = {}
        self._not_found = not_found.encode()

    def add(self, path: str, handler: Handler) -> None:
        """Let a handler answer the requests of a path.

        Args:
            path: percent-decoded, compared exactly: `/ws/` and `//ws` are not `/ws`.
            handler: see `Handler`.
        """
        self._handlers[path] = handler

    def dispatch(self, connection: HTTPConnection) -> None:
        """Have the request of a connection answered."""
        handler = self._handlers.get(connection.request.head.path)
        if handler is None:
            connection.refuse("path", Verdict(404, (), self._not_found))
        else:
            handler(connection)
