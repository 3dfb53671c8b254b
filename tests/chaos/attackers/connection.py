"""What attackers send through: sockets that take large pieces, and throw away what arrives."""

from __future__ import annotations

import select
import socket
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

BEGUN = "begun"
"""What an attacker's process prints after the first piece of harm."""

Address = tuple[str, int]
_ATTACKER = "127.0.0.2"
"""Where attackers come from: not from where honest clients do."""

CONTINUATION, TEXT, BINARY, PING, PONG = 0, 1, 2, 9, 10
_COMPRESSED = 0x40
_MASK = bytes(4)  # what is sent is what is meant, so that masking costs an attacker nothing
_PATIENCE = 10.0
_RESET = struct.pack("ii", 1, 0)
_OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"
_scrap = bytearray(1 << 20)


class Target(NamedTuple):
    """Where the server is.

    Attributes:
        web: for browsers.
        tls: the same with TLS.
        rpc: for publishers.
        metrics: for those who measure, if it has that.
        status: for those who ask how it is, if it has that.
    """

    web: Address
    tls: Address
    rpc: Address
    metrics: Address
    status: Address


Attack = Callable[[Target], Iterator[None]]
"""Harms a server, a piece at each step, until the generator is closed. It ends, or raises an OSError, when
the server throws the attacker out; then it begins again."""


def head(query: str = "", more: str = "") -> bytes:
    """A request for a WebSocket."""
    return (
        f"GET /ws{query} HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    ).encode()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, compressed: bool = False) -> bytes:
    """A client's frame with a mask of zeros."""
    first = 0x80 * fin | _COMPRESSED * compressed | opcode
    length = len(payload)
    if length < 126:
        start = bytes((first, 0x80 | length))
    elif length < 1 << 16:
        start = struct.pack("!BBH", first, 0xFE, length)
    else:
        start = struct.pack("!BBQ", first, 0xFF, length)
    return start + _MASK + payload


@lru_cache(maxsize=4)
def message(opcode: int, payload: bytes, deflated: bool) -> bytes:
    """The frame of a whole message; what is sent again and again is made once."""
    return frame(opcode, deflate(payload) if deflated else payload, compressed=deflated)


def deflate(payload: bytes) -> bytes:
    """Compress a message (RFC 7692, 7.2.1)."""
    compressor = zlib.compressobj(9, wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Connection:
    """A TCP connection whose owner wants no answer, only that the server goes on.

    Args:
        address: of the server.
        receive_buffer: bytes that the kernel takes while nothing is read; None leaves that to the kernel.

    Raises:
        OSError: the server cannot be reached.
    """

    def __init__(self, address: Address, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        try:
            if receive_buffer is not None:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)  # leaves no port waiting
            self.socket.settimeout(_PATIENCE)
            self.socket.bind((_ATTACKER, 0))
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.socket.setblocking(False)

    def send(self, data: bytes) -> None:
        """Send all of it, and meanwhile throw away what arrives.

        Raises:
            OSError: the server has ended the connection.
        """
        rest = memoryview(data)
        while rest:
            readable, writable, _ = select.select([self.socket], [self.socket], [])
            if readable:
                self.discard()
            if writable:
                rest = rest[self.socket.send(rest) :]

    def send_unread(self, data: bytes) -> None:
        """Send all of it, and let lie what arrives.

        Raises:
            OSError: the server has ended the connection, or has taken nothing for 10 seconds.
        """
        self.socket.settimeout(_PATIENCE)
        self.socket.sendall(data)
        self.socket.setblocking(False)

    def send_some(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes now, of which nothing may be; return how much."""
        with suppress(BlockingIOError):
            return self.socket.send(data)
        return 0

    def discard(self) -> int:
        """Throw away what has arrived, up to 1 MiB; return how much.

        Raises:
            OSError: the server has ended the connection.
        """
        try:
            # MSG_TRUNC: the kernel drops the bytes instead of copying them (tcp(7)).
            count = self.socket.recv_into(_scrap, 0, socket.MSG_TRUNC)
        except BlockingIOError:
            return 0
        if not count:
            raise ConnectionResetError("the server has ended the connection")
        return count

    def answered(self, seconds: float | None = None) -> None:
        """Wait until something arrives, or the end, and throw away what did; not for longer than that."""
        select.select([self.socket], [], [], seconds)
        self.discard()

    def upgrade(self, *, deflated: bool = False) -> None:
        """Become a WebSocket."""
        self.send(head(more=_OFFER if deflated else ""))
        self.answered()

    def close(self) -> None:
        """Close with a TCP reset."""
        self.socket.close()


class Stream:
    """The same bytes again and again, through a connection, without ever waiting.

    Args:
        connection: where they go.
        data: one or more whole frames.
    """

    def __init__(self, connection: Connection, data: bytes) -> None:
        self.connection = connection
        self._data = memoryview(data)
        self._sent = 0

    def send(self) -> int:
        """Send what the kernel takes now, of which nothing may be; return how much."""
        count = self.connection.send_some(self._data[self._sent :])
        self._sent = (self._sent + count) % len(self._data)
        return count


def discard_next(connections: Sequence[Connection]) -> list[Connection]:
    """Wait until something arrives at one of them, throw away what did, and return where that was."""
    readable, _, _ = select.select([connection.socket for connection in connections], [], [])
    arrived = [connection for connection in connections if connection.socket in readable]
    for connection in arrived:
        connection.discard()
    return arrived


def pour(streams: Sequence[Stream], *, unread: bool = False) -> Iterator[None]:
    """Send through all of them as fast as the server takes it.

    Args:
        streams: what is sent.
        unread: whether what arrives stays where it is, and is not thrown away.
    """
    owners = {stream.connection.socket: stream for stream in streams}
    while True:
        readable, writable, _ = select.select(() if unread else owners, owners, [])
        for sock in readable:
            owners[sock].connection.discard()
        for sock in writable:
            owners[sock].send()
        yield


def hit(address: Address, data: bytes, *, count: int = 32, answer: bool = True) -> Iterator[None]:
    """Open some connections, and send the same through each; then wait for an answer on each, and reset them.

    Args:
        address: of the server.
        data: what is sent; may be empty.
        count: how many connections are open at the same time.
        answer: whether to wait for an answer.
    """
    connections: list[Connection] = []
    try:
        for _ in range(count):
            connections.append(Connection(address))
            connections[-1].send(data)
        yield
        if answer:
            for connection in connections:
                with suppress(OSError):  # an end without a word is an answer, too
                    connection.answered()
    finally:
        close_all(connections)


def close_all(connections: Sequence[Connection]) -> None:
    """Reset connections."""
    for connection in connections:
        connection.close()
