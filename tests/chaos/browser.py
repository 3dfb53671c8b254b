"""A client that takes pushes as they come, by the thousand, and knows bad ways to end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Self

from support.waiting import DEADLINE
from support.ws_peer import CLOSE, PING, PONG, TEXT, Client, Ended, close, command, frame, request

OnPush = Callable[[str, str], None]
"""Takes topic and payload."""


class Refused(Exception):
    """The server did not let us connect or join, or went away meanwhile."""


class Browser:
    """One WebSocket, made by `connect`; a task reads it.

    Attributes:
        closed: done when the connection is gone.
        code: of the server's close frame; None until there is one.
    """

    def __init__(self, client: Client, on_push: OnPush) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.code: int | None = None
        self._client = client
        self._on_push = on_push
        self._answer: asyncio.Future[Any] = loop.create_future()
        self._reading = loop.create_task(self._read())

    @classmethod
    async def connect(cls, address: tuple[str, int], on_push: OnPush) -> Self:
        """Become a WebSocket.

        Raises:
            Refused: with the status line.
        """
        try:
            client = await Client.connect(address)
        except OSError as error:
            raise Refused(str(error)) from error
        try:
            await client.send(request())
            head = await client.head()
            if b" 101 " not in head.partition(b"\r\n")[0]:
                raise Refused(head.partition(b"\r\n")[0].decode())
        except BaseException as error:  # we may be cancelled, too
            client.reset()
            if isinstance(error, (OSError, Ended)):
                raise Refused(str(error)) from error
            raise
        return cls(client, on_push)

    async def command(self, name: str, *topics: str) -> None:
        """Join or leave.

        Raises:
            Refused: with the answer.
        """
        with suppress(OSError):  # whoever reads the answer finds out
            await self._client.send(command(name, topics))
        async with asyncio.timeout(DEADLINE):
            answer = await self._answer
        self._answer = asyncio.get_running_loop().create_future()
        if answer != {"topic": f"@{name}", "payload": list(topics)}:
            raise Refused(str(answer))

    # The ends

    async def close(self) -> None:
        """Close as one should."""
        await self._send_and_be_closed(frame(CLOSE, close(1000)))

    async def offend(self) -> None:
        """Break the protocol, and be closed for it."""
        await self._send_and_be_closed(frame(TEXT, b"\xff"))

    async def _send_and_be_closed(self, data: bytes) -> None:
        with suppress(OSError):
            await self._client.send(data)
        async with asyncio.timeout(DEADLINE):
            await self.closed

    def reset(self) -> None:
        """Close with a TCP reset; nothing happens to a connection that is gone."""
        self._end(self._client.reset)

    def vanish(self) -> None:
        """Close the socket, without a word."""
        self._end(self._client.close)

    async def break_off(self) -> None:
        """Reset in the middle of a frame."""
        with suppress(OSError):
            await self._client.send(command("join", ["never"])[:-5])
        self.reset()

    async def stall(self, seconds: float) -> None:
        """Read nothing and answer no ping, as a peer behind a dead link; the server has to notice."""
        self._stop_reading()
        await asyncio.sleep(seconds)
        self.reset()

    def _end(self, close: Callable[[], None]) -> None:
        if not self.closed.done():
            self._stop_reading()
            close()
            self._lost()

    def _stop_reading(self) -> None:
        """Take the socket out of the event loop now: its number may be another's when the task is told."""
        self._client.forget()
        self._reading.cancel()

    # What arrives

    async def _read(self) -> None:
        with suppress(OSError, Ended):  # a connection may end without a close frame, and in the middle of one
            while self.code is None:
                await self._receive(*await self._client.frame())
        self._client.close()
        self._lost()

    async def _receive(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            message = json.loads(payload)
            if message["topic"][:1] not in ("@", "#"):
                self._on_push(message["topic"], message["payload"])
            elif not self._answer.done():
                self._answer.set_result(message)
        elif opcode == PING:
            await self._client.send(frame(PONG, payload))
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2])
            await self._client.send(frame(CLOSE, payload[:2]))

    def _lost(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(Refused("the connection was lost"))
            self._answer.exception()  # nobody may be waiting
        if not self.closed.done():
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
