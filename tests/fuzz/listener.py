"""The listener's side of one TCP connection, on bytes: from the request to the end, with a room to join."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.core.node import Node
from rr_py_ws.wire.publication import Publication
from support.ws_site import Server

_SETTINGS: dict[str, int] = {
    "max_message_size": 1024,
    "max_head_size": 1024,
    "compression_level": 1,
    "commands_per_second": 0,
}
_TEXT, _CLOSE, _PONG = 0x81, 0x88, 0x8A
_BAD_TEXT = (1007).to_bytes(2)
_loop = asyncio.new_event_loop()
_socket = socket.socket()  # nothing is sent by it


class _Wire(asyncio.Transport):
    """A transport without a socket."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sslcontext": self})  # as with TLS: nothing below
        self.written = bytearray()
        self.closed = False
        self.paused = False
        self._ended = False

    def write(self, data: Any) -> None:
        assert not self._ended, "a write after the end of writing"
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """It holds nothing."""

    def write_eof(self) -> None:
        self._ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        assert not self.closed
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Answer(NamedTuple):
    """What the server sent.

    Attributes:
        head: of the response, but for the date.
        rest: texts and the close frame, in order; or the body of a refusal.
        pongs: payloads. A pong may come before or after the answer to a command that came with its ping.
        closed: whether the server has closed the connection, not just its side.
    """

    head: bytes
    rest: list[bytes]
    pongs: list[bytes]
    closed: bool

    @property
    def refuses_text(self) -> bool:
        """Whether the connection was closed because a text is not UTF-8."""
        return bool(self.rest) and self.rest[-1].startswith(_BAD_TEXT)


def exchange(chunks: list[bytes]) -> Answer:
    """Let a client send this; what the server sends must be sound."""
    written, closed = _loop.run_until_complete(_exchange(chunks))
    head, _, rest = written.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 "):
        return Answer(head, [rest], [], closed)
    frames = list(_frames(rest))
    return Answer(
        head,
        [payload for first, payload in frames if first != _PONG],
        [payload for first, payload in frames if first == _PONG],
        closed,
    )


async def _exchange(chunks: list[bytes]) -> tuple[bytes, bool]:
    failed: list[dict[str, Any]] = []
    _loop.set_exception_handler(lambda _, context: failed.append(context))
    node = Node({"memory": MemoryBroker()}, "memory", _loop.call_soon)
    await node.start()
    server = Server(AllowAll(), node, ping_interval=0.0, **_SETTINGS)
    wire = _Wire()
    connection = server.http._accept(False, _socket, "127.0.0.1")
    assert connection is not None
    wire.protocol = connection
    connection.connection_made(wire)
    for chunk in chunks:
        if not wire.closed:
            wire.protocol.data_received(chunk)
        # The rest of it is looked at in the next turns of the loop.
        while wire.paused and not wire.closed:  # noqa: ASYNC110
            await asyncio.sleep(0)
    node.publish("", Publication("a", b"hello"))
    node.flush()
    wire.protocol.connection_lost(None)
    await asyncio.sleep(0)
    assert not failed, failed
    server.http.limiter.stop()
    assert server.connections == 0 == len(server.http)
    metrics = {sample.name: sum(sample.values.values()) for sample in node.metrics()}
    assert metrics["subscriptions"] == 0 and metrics["topics"] == 0
    return re.sub(rb"Date: .*\r\n", b"", wire.written), wire.closed


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Take whole frames apart; none may follow a close frame."""
    at, closed = 0, False
    while at < len(data):
        assert not closed
        first, length = data[at], data[at + 1]
        head = {126: 4, 127: 10}.get(length, 2)
        if head > 2:
            length = int.from_bytes(data[at + 2 : at + head])
        assert at + head + length <= len(data)
        payload = data[at + head : at + head + length]
        assert first in (_TEXT, _CLOSE, _PONG)
        if first == _TEXT:
            assert json.loads(payload).keys() >= {"topic", "payload"}
        yield first, payload
        closed = first == _CLOSE
        at += head + length
