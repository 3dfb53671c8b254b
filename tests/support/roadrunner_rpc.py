"""A double of RoadRunner's RPC: Go's goridge on a real socket; it also sends what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from rr_py_ws.wire.goridge import Frame, FrameDecoder
from rr_py_ws.wire.rpc import encode_error, encode_reply, parse_request

Answer = Callable[[Frame], bytes | None]


def echo(frame: Frame) -> bytes:
    """Answer a call with its own argument."""
    request = parse_request(frame)
    return encode_reply(request, request.body)


def no_service(frame: Frame) -> bytes:
    """Answer a call of what is not there."""
    return encode_error(parse_request(frame), "rpc: can't find service")


def plugins(*names: str) -> Answer:
    """Answer as `informer`, `resetter` and `status` of these plugins."""

    def answer(frame: Frame) -> bytes:
        request = parse_request(frame)
        listed = b"[" + b",".join(b'"%b"' % name.encode() for name in names) + b"]"
        match request.method:
            case b"informer.List" | b"resetter.List":
                return encode_reply(request, listed)
            case b"informer.Workers":
                return encode_reply(request, b'{"workers":[{"pid":99}]}')
            case b"resetter.Reset":
                return encode_reply(request, b"true")
        return encode_error(request, f"of roadrunner: {request.body.decode()}")

    return answer


class RoadRunner:
    """Listens on one address; may be stopped and started again on it.

    Attributes:
        address: as a DSN, with the real port.
        frames: calls in the order in which they came, with the numbers that they came with.
        answer: what a call is answered with; None: not now.
        answer_probe: what it answers when it is asked whether it is there.
        connects: connections that were accepted.
        probes: how often it was asked whether it is there.
    """

    def __init__(self, answer: Answer = echo) -> None:
        self.address = ""
        self.frames: list[Frame] = []
        self.answer = answer
        self.answer_probe: Callable[[Frame], bytes] = no_service
        self.connects = self.probes = 0
        self.links: list[Link] = []
        self.arrived = asyncio.Event()
        self._server: asyncio.Server

    async def start(self, address: str = "tcp://127.0.0.1:0") -> None:
        loop = asyncio.get_running_loop()
        scheme, _, rest = address.partition("://")
        if scheme == "unix":
            self._server = await loop.create_unix_server(lambda: Link(self), rest)
            self.address = address
            return
        host, _, port = rest.rpartition(":")
        self._server = await loop.create_server(lambda: Link(self), host, int(port))
        self.address = f"tcp://{host}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        self.drop()
        await self._server.wait_closed()

    def drop(self) -> None:
        """Cut all connections."""
        for link in self.links:
            link.transport.abort()

    def send(self, data: bytes) -> None:
        """Send something on the newest connection."""
        self.links[-1].transport.write(data)

    def read(self, reading: bool) -> None:
        """Read the newest connection, or do not."""
        transport = self.links[-1].transport
        transport.resume_reading() if reading else transport.pause_reading()

    async def calls(self, count: int) -> list[Frame]:
        """Wait for so many calls, since the start."""
        async with asyncio.timeout(40):
            while len(self.frames) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.frames


class Link(asyncio.Protocol):
    """One connection. A number that is in use already ends the real RoadRunner; here, the test."""

    def __init__(self, server: RoadRunner) -> None:
        self._server = server
        self._decoder = FrameDecoder()
        self._running: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._server.connects += 1
        self._server.links.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.links.remove(self)

    def data_received(self, data: bytes) -> None:
        self._decoder.receive_data(data)
        while (frame := self._decoder.next_frame()) is not None:
            if frame.payload.startswith(b"rr_py_ws."):  # what each connection begins with
                self._server.probes += 1
                self.transport.write(self._server.answer_probe(frame))
                continue
            assert frame.options[0] not in self._running
            self._running.add(frame.options[0])
            self._server.frames.append(frame)
            self._server.arrived.set()
            if (reply := self._server.answer(frame)) is not None:
                self._running.remove(frame.options[0])
                self.transport.write(reply)
