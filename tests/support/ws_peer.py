"""The WebSocket client of all tests, which sees every byte, and an authorizer that a test holds in its hands.

`support.blocking` has the client for tests that are no coroutines.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from rr_py_ws.wire.http import Request
from rr_py_ws.wire.verdict import ALLOWED, Verdict
from support.waiting import DEADLINE, eventually

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def request(target: str = "/ws", *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request head that asks for a WebSocket; `Name: value` replaces a header, `-name` removes one."""
    fields = {
        "host": "Host: app.test",
        "upgrade": "Upgrade: websocket",
        "connection": "Connection: Upgrade",
        "sec-websocket-key": f"Sec-WebSocket-Key: {KEY}",
        "sec-websocket-version": "Sec-WebSocket-Version: 13",
    }
    for header in headers:
        name = header.partition(":")[0].lower()
        if name.startswith("-"):
            del fields[name[1:]]
        else:
            fields[name] = header
    return "\r\n".join((f"{method} {target} HTTP/{version}", *fields.values(), "", "")).encode()


def frame(
    opcode: int, payload: bytes | str = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True
) -> bytes:
    """A client's frame, by default as it should be."""
    data = payload.encode() if isinstance(payload, str) else payload
    head = bytes([fin << 7 | rsv << 4 | opcode])
    masked = 0x80 if mask else 0
    if len(data) < 126:
        head += bytes([masked | len(data)])
    elif len(data) < 65536:
        head += struct.pack("!BH", masked | 126, len(data))
    else:
        head += struct.pack("!BQ", masked | 127, len(data))
    if not mask:
        return head + data
    key = b"\x01\x02\x03\x04"
    pattern = (key * (len(data) // 4 + 1))[: len(data)]
    return head + key + (int.from_bytes(data) ^ int.from_bytes(pattern)).to_bytes(len(data))


def command(name: str, topics: Sequence[str] | None = None, **more: Any) -> bytes:
    """The frame of one command."""
    return frame(TEXT, json.dumps({"command": name, "topics": topics, **more}))


def close(code: int | None = None, reason: str = "") -> bytes:
    """The payload of a close frame."""
    return b"" if code is None else struct.pack("!H", code) + reason.encode()


def text(payload: bytes | str) -> bytes:
    """The frame that a server sends for a text: the bytes on the wire."""
    data = payload.encode() if isinstance(payload, str) else payload
    return frame(TEXT, data, mask=False)


def push(topic: str, payload: str) -> str:
    """The text that a client in the topic receives, for texts that need few escapes."""
    return f'{{"topic":{json.dumps(topic)},"payload":{json.dumps(payload)}}}'


def reply(kind: str, topics: Sequence[str] | None) -> str:
    """The text that answers a command."""
    return f'{{"topic":"{kind}","payload":{json.dumps(topics, separators=(",", ":"))}}}'


class Received(NamedTuple):
    """A frame of the server."""

    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int:
        """The code of a close frame."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2])


class Response(NamedTuple):
    """An HTTP response after which the server has closed the connection."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name]


class Ended(AssertionError):
    """The server has ended the connection, though more was expected of it."""


class Client:
    """A TCP connection, with or without TLS; every wait has a deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray()

    @classmethod
    async def connect(
        cls,
        address: tuple[str, int],
        *,
        small_buffers: bool = False,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Client:
        """Connect.

        Args:
            address: of the server.
            small_buffers: the client's kernel holds little, so that a side that does not read is soon felt.
            receive_buffer: bytes that the kernel takes for the client while it does not read.
            tls: speak TLS.
        """
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if small_buffers:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            async with asyncio.timeout(DEADLINE):
                await asyncio.get_running_loop().sock_connect(sock, address)
            if tls is None:
                return cls(sock)
            client = SecureClient(sock, tls)
            await client.handshake()
        except BaseException:
            sock.close()
            raise
        return client

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(DEADLINE):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def send_slowly(self, data: bytes) -> None:
        """Send byte by byte; the server's loop gets a turn after each."""
        for byte in data:
            await self.send(bytes([byte]))
            await asyncio.sleep(0)

    async def send_until_stalled(self, data: bytes) -> bytes:
        """Send until the server, though its loop goes round, takes no more; return what is left."""
        turns, left = 0, memoryview(data)
        while left and turns < 200:
            try:
                left = left[self._socket.send(left) :]
                turns = 0
            except BlockingIOError:
                turns += 1
            await asyncio.sleep(0)
        return bytes(left)

    async def receive(self) -> bytes:
        """Whatever is there, empty at the end; a reset raises ConnectionResetError."""
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        return await self._receive_more()

    async def _receive_more(self) -> bytes:
        async with asyncio.timeout(DEADLINE):
            return await asyncio.get_running_loop().sock_recv(self._socket, 1 << 18)

    async def _fill(self) -> None:
        data = await self._receive_more()
        if not data:
            raise Ended(f"after {bytes(self._buffer[:200])!r}")
        self._buffer += data

    async def byte(self) -> bytes:
        """One byte, without reading more from the kernel; empty at the end."""
        async with asyncio.timeout(DEADLINE):
            return await asyncio.get_running_loop().sock_recv(self._socket, 1)

    async def exactly(self, count: int) -> bytes:
        """So many bytes, no fewer."""
        while len(self._buffer) < count:
            await self._fill()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]  # cheap: a bytearray only moves its beginning
        return data

    async def rest(self) -> bytes:
        """Everything until the server ends its side; a reset raises ConnectionResetError."""
        parts = []
        while data := await self.receive():
            parts.append(data)
        return b"".join(parts)

    async def head(self) -> bytes:
        """A response head, with the empty line that ends it."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._fill()
        return await self.exactly(end + 4)

    async def response(self) -> Response:
        """A whole response, and the end of the connection; a reset raises ConnectionResetError."""
        head, _, body = (await self.rest()).partition(b"\r\n\r\n")
        self.close()
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in lines]
        return Response(int(status.split(" ")[1]), [(name, value) for name, value in pairs], body)

    async def upgrade(self, target: str = "/ws", *headers: str, then: bytes = b"") -> None:
        """Become a WebSocket; `then` goes out in the packet of the request."""
        await self.send(request(target, *headers) + then)
        head = await self.head()
        assert head.startswith(b"HTTP/1.1 101 "), head

    async def refused(self, target: str = "/ws", *headers: str) -> Response:
        """Try to become a WebSocket, in vain."""
        await self.send(request(target, *headers))
        return await self.response()

    async def frame(self) -> Received:
        """The next frame."""
        first, length = await self.exactly(2)
        assert first & 0xF0 == 0x80, "the server neither fragments nor uses reserved bits"
        if length == 126:
            length = int.from_bytes(await self.exactly(2))
        elif length == 127:
            length = int.from_bytes(await self.exactly(8))
        return Received(first & 0x0F, await self.exactly(length))

    async def json(self) -> Any:
        """The content of the next frame, which must be a text."""
        opcode, payload = await self.frame()
        assert opcode == TEXT, (opcode, payload[:200])
        return json.loads(payload)

    async def expect(self, *texts: str) -> None:
        """Exactly these texts come next."""
        for expected in texts:
            received = await self.frame()
            assert received == (TEXT, expected.encode()), f"{received} instead of {expected[:500]}"

    async def command(self, name: str, topics: Sequence[str] | None = None, **more: Any) -> None:
        """Send one command."""
        await self.send(command(name, topics, **more))

    async def join(self, *topics: str) -> None:
        """Join topics, successfully."""
        await self.command("join", topics)
        await self.expect(reply("@join", topics))

    async def silent(self) -> bool:
        """Whether the server, having handled all that was sent, has sent nothing."""
        await self.send(frame(PING, b"silent?"))
        return await self.frame() == (PONG, b"silent?")

    async def ended(self) -> None:
        """Wait for the end of the connection, whichever way it ends."""
        with suppress(ConnectionResetError):
            await self.rest()

    def reset(self) -> None:
        """Go away with a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def forget(self) -> None:
        """Take the socket out of the event loop, for who reads it is about to be cancelled."""
        asyncio.get_running_loop().remove_reader(self._socket)

    def end_writing(self) -> None:
        """Send FIN, go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    def segments_received(self) -> int:
        """How many TCP segments with data have arrived (`tcpi_data_segs_in`, Linux 4.6)."""
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        return int(struct.unpack_from("=I", info, 152)[0])

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0


class SecureClient(Client):
    """The same with TLS; what is not asked for stays unread in the kernel, as without."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    async def handshake(self) -> None:
        await self._again_and_again(self._tls.do_handshake)
        await super().send(self._outgoing.read())

    async def send(self, data: bytes) -> None:
        self._tls.write(data)
        await super().send(self._outgoing.read())

    async def _receive_more(self) -> bytes:
        return bytes(await self._again_and_again(lambda: self._tls.read(1 << 18)))

    async def _again_and_again(self, step: Callable[[], Any]) -> Any:
        """Try, and try again with more of what the server sends."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                await super().send(self._outgoing.read())
                data = await super()._receive_more()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()


class Gate:
    """An authorizer whose answers a test chooses: a verdict, an error, or None for later.

    What is to be answered later is in `waiting`, in the order of the questions.
    """

    def __init__(
        self, connect: Verdict | Exception | None = ALLOWED, join: Verdict | Exception | None = ALLOWED
    ) -> None:
        self.on_connect = connect
        self.on_join = join
        self.requests: list[Request] = []
        self.topics: list[Sequence[str]] = []
        self.waiting: list[asyncio.Future[Verdict]] = []

    def connect(self, request: Request) -> Verdict | Awaitable[Verdict]:
        self.requests.append(request)
        answer = self._answer(self.on_connect)
        return replace(answer, grant=self) if isinstance(answer, Verdict) else answer

    def join(self, grant: object, topics: Sequence[str]) -> Verdict | Awaitable[Verdict]:
        self.topics.append(topics)
        return self._answer(self.on_join)

    def _answer(self, answer: Verdict | Exception | None) -> Verdict | Awaitable[Verdict]:
        if isinstance(answer, Exception):
            raise type(answer)(*answer.args)  # a fresh one: no cycle with this frame
        if answer is not None:
            return answer
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    async def asked(self, count: int) -> None:
        """Wait until so many questions wait for an answer."""
        await eventually(lambda: len(self.waiting) >= count)
