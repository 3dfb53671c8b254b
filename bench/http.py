"""A client that asks for pages over connections that are kept, and one figure of what that takes."""

from __future__ import annotations

import asyncio
from typing import cast

from bench.generator import HOST, LoadError


class Requests:
    """So many requests, one after the other on each of a few connections.

    Args:
        request: all of them.
        count: how many.
    """

    def __init__(self, request: bytes, count: int) -> None:
        self.request = request
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._to_ask = self._unanswered = count

    async def send(self, port: int, connections: int) -> None:
        """Return when all are answered with 200."""
        loop = asyncio.get_running_loop()
        clients = [
            (await loop.create_connection(lambda: _Client(self), HOST, port))[0] for _ in range(connections)
        ]
        await self.done
        for client in clients:
            client.close()

    def begin(self) -> bool:
        self._to_ask -= 1
        return self._to_ask >= 0

    def answered(self) -> None:
        self._unanswered -= 1
        if not self._unanswered and not self.done.done():
            self.done.set_result(None)

    def failed(self, answer: bytes) -> None:
        if not self.done.done():
            self.done.set_exception(LoadError(f"a request failed: {answer!r}"))


class _Client(asyncio.Protocol):
    """A connection that asks again when it has the answer, as long as there is anything to ask."""

    def __init__(self, load: Requests) -> None:
        self._load = load
        self._head = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
        else:
            self._head += data
            end = self._head.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            if not self._head.startswith(b"HTTP/1.1 200 "):
                self._load.failed(self._head[:end])
                return
            self._left = end + body_length(self._head) - len(self._head)
            self._head = b""
        if not self._left:
            self._load.answered()
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.failed(str(error).encode())

    def _ask(self) -> None:
        if self._load.begin():
            self._transport.write(self._load.request)


def body_length(head: bytes) -> int:
    """The length of the body that a head announces."""
    _, found, after = head.lower().partition(b"content-length:")
    return int(after.partition(b"\r")[0]) if found else 0
