"""A peer that speaks RPC frame by frame, and stand-ins for what stands behind the RPC services."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from functools import partial

from rr_py_ws.adapters.rpc import Registry, build_registry
from rr_py_ws.config import Limits
from rr_py_ws.core.node import Node
from rr_py_ws.core.ports import Publish, WorkerState
from rr_py_ws.errors import BrokerError, WorkerStartError
from rr_py_ws.wire.goridge import Flag, Frame, FrameDecoder
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.rpc import encode_request
from support.waiting import DEADLINE


class Peer:
    """The client side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = FrameDecoder()

    @classmethod
    async def connect(cls, dsn: str) -> Peer:
        scheme, _, rest = dsn.partition("://")
        if scheme == "unix":
            return cls(*await asyncio.open_unix_connection(rest))
        host, _, port = rest.rpartition(":")
        return cls(*await asyncio.open_connection(host.strip("[]") or "127.0.0.1", int(port)))

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def request(self, sequence: int, method: str, body: bytes = b"", codec: int = Flag.JSON) -> None:
        self.send(encode_request(sequence, method, body, Flag(codec)))

    async def frame(self) -> Frame:
        """Wait for the next frame."""
        async with asyncio.timeout(DEADLINE):
            while (frame := self._decoder.next_frame()) is None:
                data = await self._reader.read(1 << 20)
                assert data, "the server closed the connection"
                self._decoder.receive_data(data)
        return frame

    async def call(self, method: str, body: bytes = b"", codec: int = Flag.JSON) -> tuple[int, bytes]:
        """Make a call; return the flags of the reply, and its body."""
        self.request(7, method, body, codec)
        frame = await self.frame()
        name = method.encode()
        assert frame.options == (7, len(name))
        assert frame.payload.startswith(name)
        return frame.flags, frame.payload[len(name) :]

    async def is_served(self) -> bool:
        """Whether a call is answered; when it is, everything sent before has been read."""
        return await self.call("rpc.Version", b"true") == (Flag.JSON, b'"2.11.4"')

    def half_close(self) -> None:
        self._writer.write_eof()

    def reset(self) -> None:
        """Close with a TCP reset."""
        self._writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._writer.transport.abort()

    async def rest(self) -> bytes:
        """Wait for the server to close; return what it sent before."""
        async with asyncio.timeout(DEADLINE):
            try:
                return self._decoder.pending + await self._reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


def node_registry(node: Node) -> Registry:
    """The methods, for publishing to a node and to nothing else; its topics may hold calls."""
    return build_registry(
        publisher=node, holds=node, pools={}, probes={}, version="", config=lambda: b"", limits=Limits()
    )


class RecordingPublisher:
    """Remembers what is published.

    Attributes:
        messages: (broker, topic, payload) in order.
        later: what to answer with, first come first served: awaitables, or None when accepted at once.
        refused: topics that are refused at once.
        heard: whether somebody is in the topics.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, bytes]] = []
        self.later: list[Awaitable[None] | None] = []
        self.refused: set[str] = set()
        self.heard = False

    def publish(self, broker: str, publication: Publication) -> Awaitable[None] | None:
        topic, payload = publication.topic, publication.payload
        if topic in self.refused:
            raise BrokerError("the broker is away")
        self.messages.append((broker, topic, payload))
        return self.later.pop(0) if self.later else None

    def publisher(self, broker: str) -> Publish:
        return partial(self.publish, broker)

    def is_heard(self, broker: str, topics: Iterable[str]) -> bool:
        return self.heard

    def wait(self, count: int) -> list[asyncio.Future[None]]:
        """Let the next publishes wait for futures."""
        futures: list[asyncio.Future[None]] = [
            asyncio.get_running_loop().create_future() for _ in range(count)
        ]
        self.later.extend(futures)
        return futures


class IdlePool:
    """A pool of one worker; resets it when told to.

    Attributes:
        resets: how many were begun.
        may_finish: a reset waits for it.
        broken: whether new workers fail to start.
    """

    def __init__(self) -> None:
        self.resets = 0
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self.broken = False

    def states(self) -> list[WorkerState]:
        return [
            WorkerState(4242, 1, "ready", 3, 1_700_000_000_000_000_000, 30_000_000, 1.5, "php worker.php")
        ]

    async def reset(self) -> None:
        self.resets += 1
        await self.may_finish.wait()
        if self.broken:
            raise WorkerStartError("worker exited with 255")
