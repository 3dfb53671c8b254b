"""Pushes go past the transport while it holds nothing: what a receiver gets is the same in any case."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop

from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.core.node import Node
from rr_py_ws.wire.http import parse_request_head
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import STRING
from rr_py_ws.wire.upgrade import accept_response
from support.waiting import DEADLINE
from support.ws_site import Server

_REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_JOIN = b'{"command":"join","topics":["a"]}'
_JOINED = STRING.reply("@join", ["a"])
_RESPONSE = accept_response(parse_request_head(_REQUEST)) + _JOINED


class Client:
    """A raw client, which reads only when told to."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.socket.setblocking(False)

    async def open(self, address: tuple[str, int]) -> None:
        """Handshake and join, in one packet."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, address)
        await self.send(_REQUEST + _masked(_JOIN))
        assert await self.read(len(_RESPONSE)) == _RESPONSE

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    def read_now(self, size: int) -> bytes:
        """Read some of what is there, without a turn of the loop."""
        with suppress(BlockingIOError):
            return self.socket.recv(size)
        return b""

    async def read(self, size: int) -> bytes:
        """Read so many bytes."""
        data = b""
        async with asyncio.timeout(DEADLINE):
            while len(data) < size:
                more = await asyncio.get_running_loop().sock_recv(self.socket, size - len(data))
                assert more, "the server closed the connection"
                data += more
        return data


def _masked(text: bytes) -> bytes:
    return bytes((0x81, 0x80 | len(text))) + bytes(4) + text


@asynccontextmanager
async def _serving(node: Node) -> AsyncIterator[tuple[str, int]]:
    await node.start()
    server = Server(AllowAll(), node, send_queue=1 << 30)
    await server.listen("127.0.0.1:0")
    try:
        yield server.addresses[0]
    finally:
        await server.stop(0)
        await node.close()


async def _a_receiver_that_reads_slowly() -> None:
    node = Node({"default": MemoryBroker()}, "default", asyncio.get_running_loop().call_soon)
    slow, other = Client(), Client()
    async with _serving(node) as address:
        for client in (slow, other):
            await client.open(address)
        expected = received = b""
        for number in range(1000):
            publication = Publication("a", b"%03d" % number * 3_333)
            expected += (frame := STRING.push(publication))
            node.publish("", publication)
            received += slow.read_now(5_000)  # room comes between two sends, before the transport sees it
            node.flush()
            assert await other.read(len(frame)) == frame
        await slow.send(_masked(_JOIN))  # its reply comes behind all that
        expected += _JOINED
        received += await slow.read(len(expected) - len(received))
        assert received == expected
    slow.socket.close()
    other.socket.close()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_receiver_that_reads_slowly_misses_nothing_and_stops_nobody(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """What the socket does not take goes to the transport, and everything after it queues behind that."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_a_receiver_that_reads_slowly())
