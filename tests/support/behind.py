"""The server behind, for tests of what is passed on: sees every byte, and misbehaves as a test wants it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

from support.waiting import DEADLINE

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: y\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Peer:
    """One connection that was accepted; every wait has a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def head(self) -> bytes:
        """The head of a request; empty at the end."""
        try:
            async with asyncio.timeout(DEADLINE):
                return await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            assert not error.partial
            return b""

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(DEADLINE):
            return await self._reader.readexactly(count)

    async def line(self) -> bytes:
        async with asyncio.timeout(DEADLINE):
            return await self._reader.readuntil(b"\r\n")

    async def rest(self) -> bytes:
        """Everything until the end; a reset raises ConnectionResetError."""
        async with asyncio.timeout(DEADLINE):
            return await self._reader.read()

    async def body(self) -> bytes:
        """A chunked body."""
        parts = []
        while size := int(await self.line(), 16):
            parts.append(await self.exactly(size))
            assert await self.exactly(2) == b"\r\n"
        assert await self.exactly(2) == b"\r\n"
        return b"".join(parts)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(DEADLINE):
            await self._writer.drain()

    async def send_until_stalled(self, data: bytes, most: int) -> int:
        """Send the same again and again, until nobody takes it or `most` was sent; return how much."""
        transport = self._writer.transport
        sent = idle = 0
        while idle < 200 and sent < most:
            if transport.get_write_buffer_size() == 0:
                transport.write(data)
                sent += len(data)
                idle = 0
            idle += 1
            await asyncio.sleep(0)
        return sent

    def end(self) -> None:
        """Send FIN, and go on reading."""
        self._writer.write_eof()

    def reset(self) -> None:
        """End with RST."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()


Serve = Callable[[Peer], Awaitable[None]]


async def answer_ok(peer: Peer) -> None:
    """Answer every request without a body."""
    while await peer.head():
        await peer.send(OK)


def saying(answer: bytes, *, end: bool = True) -> Serve:
    """Answer each first request with these bytes; then end, or wait for the other side to do."""

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)
        if not end:
            await peer.rest()

    return serve


def waiting_for_the_end(asked: asyncio.Event, ended: asyncio.Event) -> Serve:
    """Answer nothing; tell of the request, and of the end of its connection, before which nothing comes."""

    async def serve(peer: Peer) -> None:
        await peer.head()
        asked.set()
        with suppress(ConnectionError):
            assert await peer.rest() == b""
        ended.set()

    return serve


class Behind:
    """A listening server; each connection is served by what the test gives.

    Attributes:
        serve: what to do with a connection; it is closed at the end.
        accepted: connections so far.
        failures: what `serve` has raised: a test that looks at the bytes there says so by an assertion.
    """

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.accepted = 0
        self.open = 0
        self.failures: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, path: str | None = None) -> None:
        if path is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        else:
            self._server = await asyncio.start_unix_server(self._accept, path)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.serve(Peer(reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        assert self.failures == []
