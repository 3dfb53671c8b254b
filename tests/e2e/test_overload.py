"""Publishers that bring too much: at once, or for longer than the machine can deliver it."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from pathlib import Path

from e2e.client import Connect, push
from e2e.server import Server, Servers
from rr_py_ws.wire.goridge import DEFAULT_MAX_PAYLOAD, Flag
from rr_py_ws.wire.publish import Message, encode_broadcast
from support.patience import DEADLINE
from support.rpc_peer import Peer
from support.ws_peer import command, request

MIB = 1 << 20
PUBLISHERS, CALLS, SIZE = 4, 40, 8192
RECEIVERS = 1000
PREFIX = b'{"topic":"flood","payload":"'
FRAME = 4 + len(PREFIX) + SIZE + len('"}')
FLOOD = Path(__file__).parent / "workers" / "flood.py"


def test_php_is_told_that_a_message_is_too_large_and_goes_on(servers: Servers, connect: Connect) -> None:
    server = servers.start(websockets={"limits": {"rpc_payload": "1MiB"}})
    browser = connect(server)
    browser.join("news")
    answer = server.php(
        "try { $broadcast->publish('news', str_repeat('x', 1 << 20)); }"
        "catch (RRPyWs\\Exception\\ServiceException $e) { echo $e->getMessage(); }"
        "$broadcast->publish('news', 'small');"
    )
    assert re.fullmatch(
        r".*payload of 10486\d\d bytes, the limit is 1048576 \(websockets\.limits\.rpc_payload\).*", answer
    )
    browser.expect(push("news", "small"))


async def test_a_call_of_the_limit_reaches_a_browser(servers: Servers, connect: Connect) -> None:
    """64 MiB pass, and are in memory a handful of times for a moment, not once for each receiver."""
    server = servers.start()
    browsers = [connect(server) for _ in range(3)]
    for browser in browsers:
        browser.join("news")
    before = peak_memory(server)
    name = b"broadcast.Publish"
    body = encode_broadcast([Message("", ["news"], b"")])
    room = DEFAULT_MAX_PAYLOAD - len(name) - len(body) - 8  # lengths take more bytes in a long message
    body = encode_broadcast([Message("", ["news"], b"x" * room)])
    payload = b"x" * (room + DEFAULT_MAX_PAYLOAD - len(name) - len(body))
    body = encode_broadcast([Message("", ["news"], payload)])
    assert len(name) + len(body) == DEFAULT_MAX_PAYLOAD
    peer = await Peer.connect(server.rpc)
    assert await peer.call(name.decode(), body, Flag.PROTO) == (Flag.PROTO, b"\x08\x01")
    await peer.close()
    for browser in browsers:
        assert await asyncio.to_thread(browser.receive) == push("news", payload.decode())
    assert peak_memory(server) - before < 6 * DEFAULT_MAX_PAYLOAD


def peak_memory(server: Server) -> int:
    """The most resident bytes that the server ever had."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


async def test_a_flood_slows_publishers_and_loses_no_healthy_receiver(servers: Servers) -> None:
    """Four publishers send as fast as they can to 1,000 receivers, far more than these can have waiting.

    The server could read all of it at once, and would have to close all receivers as too slow. Instead
    publishers wait for their answers; everybody gets everything in order; then things are as before.
    """
    server = servers.start(websockets={"limits": {"send_queue": "256KiB"}}, logs={"level": "info"})
    loop = asyncio.get_running_loop()
    receivers = [Receiver() for _ in range(RECEIVERS)]
    for receiver in receivers:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)  # the kernel holds little for any of them
        sock.setblocking(False)
        await loop.sock_connect(sock, server.address)
        await loop.create_connection(lambda receiver=receiver: receiver, sock=sock)  # type: ignore[misc]
    async with asyncio.timeout(DEADLINE):
        for receiver in receivers:
            await receiver.joined
    before = peak_memory(server)
    address = server.rpc.removeprefix("tcp://")
    publishers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, str(FLOOD), address, str(number), str(CALLS), str(SIZE)),
            stdout=asyncio.subprocess.PIPE,
        )
        for number in range(PUBLISHERS)
    ]
    async with asyncio.timeout(2 * DEADLINE):
        for receiver in receivers:
            await receiver.done
    for publisher in publishers:
        answered, _ = await publisher.communicate()
        assert int(answered) == CALLS
    assert peak_memory(server) - before < 64 * MIB
    assert server.log.having("slow client") == []
    assert server.log.having("publishers wait, many receivers are behind") != []
    for receiver in receivers:
        receiver.expect_last()
    server.php("$broadcast->publish('flood', 'after');")
    async with asyncio.timeout(DEADLINE):
        for receiver in receivers:
            assert await receiver.last == push("flood", "after").encode()
            receiver.close()


class Receiver(asyncio.Protocol):
    """A client that checks what it gets: each publisher's messages in their order, and nothing else."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.joined: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self.last: asyncio.Future[bytes] = loop.create_future()
        self._receive = self._greet
        self._data = b""
        self._next = [0] * PUBLISHERS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(request("/ws") + command("join", ["flood"]))

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._receive()

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.joined, self.done, self.last):
            if not future.done():
                future.set_exception(ConnectionError(f"closed by the server: {self._data[-200:]!r} {error}"))

    def expect_last(self) -> None:
        self._receive = self._take_last

    def close(self) -> None:
        self._transport.abort()

    def _greet(self) -> None:
        if b"@join" in self._data and self._data.endswith(b"}"):
            self._data = b""
            self._receive = self._check
            self.joined.set_result(None)

    def _check(self) -> None:
        data, at = self._data, 0
        while len(data) - at >= FRAME:
            number = data[at + 4 + len(PREFIX) : at + 11 + len(PREFIX)]
            publisher, sequence = int(number[:1]), int(number[1:7])
            assert data.startswith(PREFIX, at + 4)
            assert sequence == self._next[publisher]
            self._next[publisher] += 1
            at += FRAME
        self._data = data[at:]
        if self._next == [CALLS] * PUBLISHERS:
            self.done.set_result(None)

    def _take_last(self) -> None:
        size = len(push("flood", "after"))
        if len(self._data) == 2 + size:
            self.last.set_result(self._data[2:])
