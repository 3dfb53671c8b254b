"""What a client sends behind the head of a request: the body for the application, and what follows it.

Most requests have no body, and nothing follows them before they are answered: they need no `Incoming`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rr_py_ws.adapters.net.turns import Turns
from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.body import CHUNKED, BodyDecoder

_HIGH_WATER = 64 * 1024
"""Bytes of a body that wait for the application; then the client has to wait."""
_PIECE = 16 * 1024
"""Bytes in chunks that are looked at in one go,"""
_DENSE_PIECE = 2 * 1024
"""or so many where there are more than `_SPARSE` ends of lines: chunks of a byte each take a microsecond."""
_SPARSE = 128
_UNITS = 16 * 1024
"""What a look at chunks counts for; see `pages.TURN`."""


class Incoming:
    """Reads the body of one request, as fast as the application takes it.

    Args:
        size: of the body; see `RequestHead.body`.
        transport: where it comes from.
        turns: those of all exchanges.
        on_change: called when it may be another's turn to be waited for.
        on_error: called when the body breaks the protocol.

    Attributes:
        unread: what came and was not looked at; in the end what follows the body.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_decoder",
        "_news",
        "_on_change",
        "_on_error",
        "_paused",
        "_transport",
        "_turns",
        "_waiting",
        "_waits",
        "unread",
    )

    def __init__(
        self,
        size: int,
        transport: asyncio.Transport,
        turns: Turns,
        on_change: Callable[[], None],
        on_error: Callable[[ProtocolError], None],
    ) -> None:
        self._decoder = BodyDecoder(size)
        # Only what is in chunks takes time for each of its bytes.
        self._chunked = size == CHUNKED
        self._transport = transport
        self._turns = turns
        self._on_change = on_change
        self._on_error = on_error
        self._body = b""
        self._news = self._decoder.complete
        self._waiting: asyncio.Future[None] | None = None
        self._waits = False
        self._paused = False
        self.unread = b""

    @property
    def complete(self) -> bool:
        """Whether all of the body has come."""
        return self._decoder.complete

    @property
    def owed(self) -> bool:
        """Whether the client is expected to send more."""
        return not (self._decoder.complete or self._paused)

    def receive_data(self, data: bytes) -> None:
        """Take what came."""
        self.unread += data
        self._go_on()

    async def next_part(self) -> dict[str, Any]:
        """Wait for a part of the body, as a message of ASGI, or for `wake`."""
        if self._paused:
            self._go_on()
        while not self._news:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        self._news = False
        body, self._body = self._body, b""
        return {"type": "http.request", "body": body, "more_body": not self._decoder.complete}

    def wake(self) -> None:
        """Let the application look: there is more, the client has gone, or its answer is done."""
        self._news = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def stop(self) -> None:
        """Wait for no turn any more."""
        self._turns.discard(self._next_turn)

    def _go_on(self) -> None:
        if not self._waits:
            if self._chunked and self._turns.left <= 0:
                self._wait_for_turn()
            else:
                self._read()
        self._on_change()

    def _next_turn(self) -> None:
        self._waits = False
        self._read()
        self._on_change()

    def _wait_for_turn(self) -> None:
        self._waits = True
        self._pause()
        self._turns.wait(self._next_turn, light=False)

    def _next_piece(self) -> bytes:
        """Take from what is unread as much as is looked at in one go."""
        piece = self.unread
        if self._chunked:
            piece = piece[:_PIECE]
            if (ends := piece.count(b"\n")) > _SPARSE:
                piece = piece[:_DENSE_PIECE]
            self._turns.charge(_UNITS * (1 + ends // _SPARSE))
        self.unread = self.unread[len(piece) :]
        return piece

    def _read(self) -> None:
        decoder = self._decoder
        if not decoder.complete and self.unread:
            try:
                content, rest = decoder.feed(self._next_piece())
            except ProtocolError as error:
                self._on_error(error)
                return
            self.unread = rest + self.unread
            self._body += content
            if content or decoder.complete:
                self.wake()
        if not self.unread and (decoder.complete or len(self._body) <= _HIGH_WATER):
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            return
        # The next request has to wait, or the rest of this one.
        self._pause()
        if not decoder.complete and len(self._body) <= _HIGH_WATER:
            self._wait_for_turn()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()
