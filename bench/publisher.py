"""The sending half of the load generator: goridge RPC, with a number of calls in flight."""

from __future__ import annotations

import asyncio
import struct
import zlib
from typing import cast

from bench.load import HOST, NUMBER, Content, LoadError, padding, topic_name

_METHOD = b"broadcast.Publish"
_OK = b"\x08\x01"


class Publisher(asyncio.Protocol):
    """One PHP process: keeps a number of calls in flight and checks each answer.

    Args:
        topics: how many it publishes to, in turn.
        size: bytes in each payload.
        content: what is in them.
        method: what is called. The answer is that of `broadcast.Publish` in any case.
    """

    def __init__(
        self, *, topics: int = 1, size: int = 100, content: Content = padding, method: bytes = _METHOD
    ) -> None:
        self._method = method
        self._topics = topics
        self._tail = content(size)
        self._fields = [_message_fields(topic_name(number), size) for number in range(topics)]
        self._call_head = _rpc_head(len(self._method) + len(self._fields[0]) + size)
        self._reply_head = _rpc_head(len(self._method) + len(_OK))
        self._reply_size = len(self._reply_head) + 8 + len(self._method) + len(_OK)
        self._replies = b""
        self._sent = self._answered = 0
        self._most: int | None = None
        self._deadline = 0.0
        loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()

    @classmethod
    async def connect(
        cls,
        port: int,
        *,
        topics: int = 1,
        size: int = 100,
        content: Content = padding,
        method: bytes = _METHOD,
    ) -> Publisher:
        loop = asyncio.get_running_loop()
        _, publisher = await loop.create_connection(
            lambda: cls(topics=topics, size=size, content=content, method=method), HOST, port
        )
        return publisher

    async def run(self, window: int, *, seconds: float, most: int | None = None) -> int:
        """Publish for some seconds, or at most so many calls, round robin over the topics. Only once.

        Returns:
            the number of calls; all are answered.

        Raises:
            LoadError: an answer was not the expected one.
        """
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._most = most
        self._send(window)
        await self._done
        return self._answered

    async def close(self) -> None:
        self._transport.close()
        await self._closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        replies = self._replies + data
        size = self._reply_size
        count = len(replies) // size
        for index in range(count):
            self._answered += 1
            if replies[index * size : (index + 1) * size] != self._reply(self._answered):
                self._end(
                    LoadError(f"call {self._answered} was answered by {replies[index * size :][:200]!r}")
                )
                return
        self._replies = replies[count * size :]
        if asyncio.get_running_loop().time() < self._deadline:
            self._send(count)
        if self._answered == self._sent:
            self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(LoadError(f"the RPC connection was closed ({error})"))
        self._closed.set_result(None)

    def _end(self, error: LoadError | None) -> None:
        if not self._done.done():
            if error is None:
                self._done.set_result(None)
            else:
                self._done.set_exception(error)

    def _send(self, count: int) -> None:
        if self._most is not None:
            count = min(count, self._most - self._sent)
        if count:
            first = self._sent
            self._sent += count
            self._transport.write(b"".join([self.call(first + index) for index in range(count)]))

    def call(self, number: int) -> bytes:
        """Encode one call."""
        in_topic, topic = divmod(number, self._topics)
        return b"".join(
            (
                self._call_head,
                struct.pack("<II", number + 1, len(self._method)),
                self._method,
                self._fields[topic],
                NUMBER % in_topic,
                self._tail,
            )
        )

    def _reply(self, sequence: int) -> bytes:
        return b"".join(
            (self._reply_head, struct.pack("<II", sequence, len(self._method)), self._method, _OK)
        )


def _rpc_head(payload: int) -> bytes:
    """The first 12 bytes of a goridge frame: version and words, protobuf, length, checksum, no stream."""
    checked = struct.pack("<BBI", 0x15, 0x80, payload)
    return checked + struct.pack("<IH", zlib.crc32(checked), 0)


def _message_fields(topic: bytes, size: int) -> bytes:
    """A protobuf request with one message for one topic, up to its payload."""
    message = b"\x12" + _varint(len(topic)) + topic + b"\x1a" + _varint(size)
    return b"\x0a" + _varint(len(message) + size) + message


def _varint(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 0x7F | 0x80,)) + _varint(value >> 7)
