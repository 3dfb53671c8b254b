"""Clients that do everything wrong, to be beside the healthy ones."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import cycle, islice

from bench.generator import HOST, topic_name

_REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://bench\r\n\r\n"
)
_RESET = struct.pack("ii", 1, 0)
_TLS_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(64)


class Mob:
    """Clients that misbehave, each in one way, until `disperse`. Whoever is thrown out comes again.

    Args:
        port: of the server.
        topics: numbers of the topics that they join, those who get so far.
    """

    def __init__(self, port: int, topics: Sequence[int]) -> None:
        self._port = port
        self._joins = b"".join(map(_join_frame, topics))
        self._tasks: list[asyncio.Task[None]] = []

    async def gather(self, count: int) -> None:
        """Bring so many clients, and wait until each has begun to misbehave."""
        began = [asyncio.Event() for _ in range(count)]
        for way, event in zip(islice(cycle(WAYS), count), began, strict=True):
            self._tasks.append(asyncio.create_task(self._again_and_again(way, event)))
        await asyncio.gather(*(event.wait() for event in began))

    async def disperse(self) -> None:
        """Close what is still open."""
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in results:
            if isinstance(error, Exception):
                raise error

    async def _again_and_again(self, way: Way, began: asyncio.Event) -> None:
        while True:
            with suppress(OSError), socket.socket() as sock:
                sock.setblocking(False)
                if way is zero_window:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least there is
                await asyncio.get_running_loop().sock_connect(sock, (HOST, self._port))
                await way(sock, _REQUEST + self._joins, began)
            await asyncio.sleep(0.05)


Way = Callable[[socket.socket, bytes, asyncio.Event], Awaitable[None]]
"""How to misbehave on a connection: takes what to send to join, and says when it has begun."""


async def stalled(sock: socket.socket, joining: bytes, began: asyncio.Event) -> None:
    """Never read."""
    await _send(sock, joining)
    began.set()
    await asyncio.Event().wait()


async def zero_window(sock: socket.socket, joining: bytes, began: asyncio.Event) -> None:
    """Never read, and have no room in the kernel either."""
    await stalled(sock, joining, began)


async def byte_by_byte(sock: socket.socket, joining: bytes, began: asyncio.Event) -> None:
    """Read, but one byte at a time."""
    await _send(sock, joining)
    began.set()
    while await asyncio.get_running_loop().sock_recv(sock, 1):  # noqa: ASYNC110 - it waits for more
        await asyncio.sleep(0.005)


async def reset(sock: socket.socket, joining: bytes, began: asyncio.Event) -> None:
    """Read some, then go away in the middle of a frame with a TCP reset."""
    await _send(sock, joining)
    await asyncio.get_running_loop().sock_recv(sock, 1000)
    began.set()
    await _send(sock, b"\x81\xfe\x10")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def silent(sock: socket.socket, joining: bytes, began: asyncio.Event) -> None:
    """Read everything and answer nothing, also no ping: what a half-open connection looks like."""
    await _send(sock, joining)
    began.set()
    await _read_to_the_end(sock)


async def half_a_frame(sock: socket.socket, joining: bytes, began: asyncio.Event) -> None:
    """Begin a message, and never end it."""
    await stalled(sock, joining + b"\x81\xfe\x10", began)


async def half_a_request(sock: socket.socket, joining: bytes, began: asyncio.Event) -> None:
    """Begin a handshake, and never end it."""
    await _send(sock, _REQUEST[:40])
    began.set()
    await _read_to_the_end(sock)


async def nothing(sock: socket.socket, joining: bytes, began: asyncio.Event) -> None:
    """Connect and say nothing."""
    began.set()
    await _read_to_the_end(sock)


async def garbage(sock: socket.socket, joining: bytes, began: asyncio.Event) -> None:
    """Speak no HTTP."""
    await _send(sock, os.urandom(200) + b"\r\n\r\n")
    began.set()
    await _read_to_the_end(sock)


async def tls(sock: socket.socket, joining: bytes, began: asyncio.Event) -> None:
    """Speak TLS where there is none."""
    await _send(sock, _TLS_HELLO + b"\r\n\r\n")
    began.set()
    await _read_to_the_end(sock)


WAYS: tuple[Way, ...] = (
    stalled,
    zero_window,
    byte_by_byte,
    reset,
    silent,
    half_a_frame,
    half_a_request,
    nothing,
    garbage,
    tls,
)


async def _send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def _read_to_the_end(sock: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(sock, 1 << 18):
        pass


def _join_frame(topic: int) -> bytes:
    command = (
        b'{"command":"join","broker":"default","topics":["%b"],"payload":""}' % topic_name(topic).encode()
    )
    return bytes((0x81, 0x80 | len(command))) + bytes(4) + command
