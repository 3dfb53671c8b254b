"""The receiving half of the load generator: many WebSocket clients that join topics.

It shares no code with the server. All payloads have the same size and begin with their number in the topic,
so that a client knows from the count of bytes which frame comes next. One frame of each read is compared byte
for byte, and the count at the end: a frame that is lost, doubled, changed or out of order is found.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from typing import cast

HOST = "127.0.0.1"
_PARALLEL = 64
NUMBER = b"%010d:"
NUMBER_SIZE = 11
_MASK = bytes(4)
_RESET = struct.pack("ii", 1, 0)
REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://bench\r\n\r\n"
)
_OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
_JOIN = b'{"command":"join","broker":"default","topics":["%b"],"payload":""}'


class LoadError(Exception):
    """The server did not do what was asked of it."""


def topic_name(number: int) -> bytes:
    return b"topic-%04d" % number


def join_frame(topic: int) -> bytes:
    """The WebSocket frame that joins a topic."""
    command = _JOIN % topic_name(topic)
    return bytes((0x81, 0x80 | len(command))) + _MASK + command


def padding(size: int) -> bytes:
    """What follows the number in a payload of so many bytes."""
    return b"x" * (size - NUMBER_SIZE)


def document(size: int) -> bytes:
    """The same as the JSON that an application may publish."""
    orders = [
        {
            "id": 100_003 + 7919 * n,
            "customer": f"customer-{n * n * 31 % 997}",
            "status": ("open", "paid", "shipped")[n % 3],
            "total": round(19.99 * (n * 37 % 41 + 1), 2),
            "updated_at": f"2026-11-22T17:{n * 13 % 60:02}:{n * 29 % 60:02}Z",
        }
        for n in range(size // 80 + 1)
    ]
    return json.dumps({"event": "orders.updated", "data": orders}).encode()[: size - NUMBER_SIZE]


Content = Callable[[int], bytes]


class Fleet:
    """The clients of one server; client i is in topic i modulo `topics`.

    Args:
        port: of the server.
        topics: how many.
        size: bytes in each payload.
        content: what is in them.
        deflated: whether the clients ask for compression, and want to see it.

    Attributes:
        received: bytes of pushes, all clients together; of compressed ones as if they were not.
        wire: bytes of pushes as they were sent.
        wrong: frames that were not the expected ones.
        pings: how many were answered.
        sent: when each message was published; for those who want to know `latencies`.
        latencies: seconds that messages took, one for each message and client.
    """

    def __init__(
        self,
        port: int,
        *,
        topics: int = 1,
        size: int = 100,
        content: Content = padding,
        deflated: bool = False,
    ) -> None:
        self.frames = [_push_frame(topic, content(size)) for topic in range(topics)]
        self.request = REQUEST.removesuffix(b"\r\n") + _OFFER if deflated else REQUEST
        self.received = 0
        self.wire = 0
        self.wrong = 0
        self.pings = 0
        self.sent: list[float] = []
        self.latencies: list[float] = []
        self.buffer = memoryview(bytearray(1 << 20))  # clients are read one after another, so one serves all
        self._port = port
        self._topics = topics
        self._kind = DeflatedClient if deflated else Client
        self._clients: list[Client] = []

    def __len__(self) -> int:
        return len(self._clients)

    async def connect(self, count: int) -> None:
        """Open connections, some at a time, and join.

        Raises:
            LoadError: one was refused.
        """
        numbers = iter(range(count))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_PARALLEL, count)):
                group.create_task(self._connect_each(numbers))

    async def _connect_each(self, numbers: Iterator[int]) -> None:
        loop = asyncio.get_running_loop()
        for number in numbers:
            client = self._kind(self, number % self._topics)
            await loop.create_connection(lambda client=client: client, HOST, self._port)  # type: ignore[misc]
            await client.joined
            self._clients.append(client)

    async def expect(self, calls: int, *, patience: float = 5.0) -> int:
        """Wait until everything of so many calls has arrived; return the number of frames.

        Raises:
            LoadError: something is lost, doubled, changed or out of order; lost is what does not come before
                nothing has come for `patience` seconds.
        """
        expected = {client: self._frames(client.topic, calls) * client.frame_size for client in self._clients}
        total = sum(expected.values())
        seen, quiet = -1, 0.0
        while self.received < total and quiet < patience:
            quiet = 0.0 if self.received != seen else quiet + 0.02
            seen = self.received
            await asyncio.sleep(0.02)
        bad = sum(client.received != count for client, count in expected.items())
        if bad or self.wrong:
            raise LoadError(
                f"{self.received} of {total} bytes arrived, {bad} clients have too many or too few,"
                f" {self.wrong} frames were not the expected ones"
            )
        return sum(self._frames(client.topic, calls) for client in self._clients)

    def _frames(self, topic: int, calls: int) -> int:
        return (calls + self._topics - 1 - topic) // self._topics

    async def close(self) -> None:
        """Cut all connections; no port is left waiting."""
        for client in self._clients:
            client.cut()
        await asyncio.gather(*(client.closed for client in self._clients))
        self._clients.clear()


class Client(asyncio.BufferedProtocol):
    """One browser: handshake, join, then pushes and pings."""

    __slots__ = (
        "_fleet",
        "_frame",
        "_head",
        "_transport",
        "closed",
        "frame_size",
        "joined",
        "received",
        "topic",
    )

    def __init__(self, fleet: Fleet, topic: int) -> None:
        loop = asyncio.get_running_loop()
        self.topic = topic
        self.received = 0
        self.joined: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._fleet = fleet
        self._head: bytes | None = b""
        self._frame = fleet.frames[topic]
        self.frame_size = len(self._frame[0]) + NUMBER_SIZE + len(self._frame[1])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._fleet.request)

    def get_buffer(self, hint: int) -> memoryview:
        return self._fleet.buffer

    def buffer_updated(self, size: int) -> None:
        buffer = self._fleet.buffer
        if self._head is not None:
            self._read_answers(bytes(buffer[:size]))
        elif buffer[0] == 0x89 and self._between_frames():
            self._pong(bytes(buffer[:size]))
        else:
            self._read_pushes(buffer, size)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set_result(None)
        if not self.joined.done():
            self.joined.set_exception(LoadError(f"connection lost after {self._head!r}"))

    def cut(self) -> None:
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _read_answers(self, data: bytes) -> None:
        """Read the response to the handshake, ask to join, read the answer."""
        assert self._head is not None
        had_response = b"\r\n\r\n" in self._head
        self._head += data
        response, end, answer = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        if not had_response:
            if not response.startswith(b"HTTP/1.1 101 "):
                self.joined.set_exception(LoadError(f"handshake refused: {response[:60]!r}"))
                self._transport.abort()
                return
            self._transport.write(join_frame(self.topic))
        if len(answer) >= 2 and len(answer) == 2 + answer[1]:
            self._head = None
            if b'"@join"' in answer:
                self.joined.set_result(None)
            else:
                self.joined.set_exception(LoadError(f"join refused: {answer!r}"))

    def _pong(self, data: bytes) -> None:
        if len(data) != 2 + data[1]:
            self._fleet.wrong += 1  # nothing else is being sent, so a ping comes alone and whole
            return
        self._fleet.pings += 1
        self._transport.write(bytes((0x8A, 0x80 | data[1])) + _MASK + data[2:])

    def _between_frames(self) -> bool:
        return self.received % self.frame_size == 0

    def _read_pushes(self, buffer: memoryview, size: int) -> None:
        """Count, and compare the first frame that begins in these bytes, if it is whole."""
        frame_size = self.frame_size
        number, begun = divmod(self.received, frame_size)
        start = 0
        if begun:
            number += 1
            start = frame_size - begun
        fleet = self._fleet
        if fleet.sent:
            now = time.perf_counter()
            whole = slice(self.received // frame_size, (self.received + size) // frame_size)
            fleet.latencies += [now - sent for sent in fleet.sent[whole]]
        self.received += size
        fleet.received += size
        fleet.wire += size
        if start + frame_size <= size:
            head, tail = self._frame
            if buffer[start : start + frame_size] != head + NUMBER % number + tail:
                fleet.wrong += 1


class DeflatedClient(Client):
    """The same with compression: counts frames, and decompresses the first of each read."""

    __slots__ = ("_rest",)

    def __init__(self, fleet: Fleet, topic: int) -> None:
        super().__init__(fleet, topic)
        self._rest = b""

    def _between_frames(self) -> bool:
        return not self._rest

    def _read_pushes(self, buffer: memoryview, size: int) -> None:
        data = self._rest + buffer[:size]
        fleet, head, tail = self._fleet, *self._frame
        at = count = 0
        while len(data) >= at + 4:
            first, short, long = struct.unpack_from("!BBH", data, at)
            start, length = (at + 4, long) if short == 126 else (at + 2, short)
            if len(data) < start + length:
                break
            if not count:
                inflate = zlib.decompressobj(-15)
                message = inflate.decompress(data[start : start + length] + b"\x00\x00\xff\xff")
                number = NUMBER % (self.received // self.frame_size)
                if first != 0xC1 or message != (head + number + tail)[-len(message) :]:
                    fleet.wrong += 1
            at = start + length
            count += 1
        self._rest = data[at:]
        self.received += count * self.frame_size
        fleet.received += count * self.frame_size
        fleet.wire += size


def _push_frame(topic: int, content: bytes) -> tuple[bytes, bytes]:
    """The frame of a push, before and after the number in its payload."""
    head = b'{"topic":"%b","payload":"' % topic_name(topic)
    tail = content.replace(b'"', b'\\"') + b'"}'
    length = len(head) + NUMBER_SIZE + len(tail)
    prefix = struct.pack("!BB", 0x81, length) if length < 126 else struct.pack("!BBH", 0x81, 126, length)
    return prefix + head, tail
