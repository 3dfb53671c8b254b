"""A WebSocket client that is cheap to have by the thousand, and knows bad ways to end."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Self, cast

from support.ws_peer import CLOSE, PING, PONG, TEXT, command, frame, request

PATIENCE = 30.0
"""Seconds for an answer of a server that is being mistreated."""

OnPush = Callable[[str, str], None]
"""Takes topic and payload."""


class Refused(Exception):
    """The server did not let us connect or join, or went away meanwhile."""


class Browser(asyncio.Protocol):
    """One connection, made by `connect`.

    Attributes:
        closed: done when the connection is gone.
        code: of the server's close frame; None until there is one.
    """

    def __init__(self, on_push: OnPush) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.code: int | None = None
        self._on_push = on_push
        self._answer: asyncio.Future[Any] = loop.create_future()
        self._upgraded = False
        self._buffer = b""

    @classmethod
    async def connect(cls, address: tuple[str, int], on_push: OnPush) -> Self:
        """Become a WebSocket.

        Raises:
            Refused: with the status line.
        """
        loop = asyncio.get_running_loop()
        try:
            transport, browser = await loop.create_connection(lambda: cls(on_push), *address)
        except OSError as error:
            raise Refused(str(error)) from error
        transport.write(request())
        try:
            status = await browser._answered()
            if " 101 " not in status:
                raise Refused(status)
        except BaseException:  # we may be cancelled, too
            browser.reset()
            raise
        return browser

    async def command(self, name: str, *topics: str) -> None:
        """Join or leave.

        Raises:
            Refused: with the answer.
        """
        self._transport.write(command(name, topics))
        answer = await self._answered()
        if answer != {"topic": f"@{name}", "payload": list(topics)}:
            raise Refused(str(answer))

    async def _answered(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            answer = await self._answer
        self._answer = asyncio.get_running_loop().create_future()
        return answer

    # The ends

    async def close(self) -> None:
        """Close as one should."""
        self._transport.write(frame(CLOSE, struct.pack("!H", 1000)))
        async with asyncio.timeout(PATIENCE):
            await self.closed

    def reset(self) -> None:
        """Close with a TCP reset; nothing happens to a connection that is gone."""
        if self.closed.done():
            return
        below = self._transport.get_extra_info("socket")
        below.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def vanish(self) -> None:
        """Close the socket, without a word."""
        self._transport.close()

    def break_off(self) -> None:
        """Reset in the middle of a frame."""
        self._transport.write(command("join", ["never"])[:-5])
        self.reset()

    async def offend(self) -> None:
        """Break the protocol, and be closed for it."""
        self._transport.write(frame(TEXT, b"\xff"))
        async with asyncio.timeout(PATIENCE):
            await self.closed

    async def stall(self, seconds: float) -> None:
        """Read nothing and answer no ping, as a peer behind a dead link; the server has to notice."""
        self._transport.pause_reading()
        await asyncio.sleep(seconds)
        self.reset()

    # What arrives

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._upgraded, self._buffer = True, rest
            self._tell(head.partition(b"\r\n")[0].decode())
        at = 0
        while (end_of_frame := self._read_frame(at)) > at:
            at = end_of_frame
        self._buffer = self._buffer[at:]

    def _read_frame(self, at: int) -> int:
        """Handle the frame that begins there; return where it ends, or `at` when it is not whole."""
        buffer = self._buffer
        size = len(buffer) - at
        if size < 2:
            return at
        length, head = buffer[at + 1], 2
        if length >= 126:
            head = 4 if length == 126 else 10
            length = int.from_bytes(buffer[at + 2 : at + head])
        end = at + head + length
        if size < head or end > len(buffer):
            return at
        self._receive(buffer[at] & 0x0F, buffer[at + head : end])
        return end

    def _receive(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            message = json.loads(payload)
            if message["topic"][:1] in ("@", "#"):
                self._tell(message)
            else:
                self._on_push(message["topic"], message["payload"])
        elif opcode == PING:
            self._transport.write(frame(PONG, payload))
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2])
            self._transport.write(frame(CLOSE, payload[:2]))
            self._transport.close()

    def _tell(self, answer: Any) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(Refused("the connection was lost"))
            self._answer.exception()  # nobody may be waiting
        self.closed.set_result(None)


async def join(address: tuple[str, int], topics: Sequence[str], on_push: OnPush) -> Browser:
    """Connect and join.

    Raises:
        Refused: one of the two.
    """
    browser = await Browser.connect(address, on_push)
    try:
        await browser.command("join", *topics)
    except BaseException:
        browser.reset()
        raise
    return browser
