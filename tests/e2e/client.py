"""WebSocket clients: one as an application has it, and one that sends exactly the bytes it is told to."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from support.patience import DEADLINE

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def push(topic: str, payload: str) -> str:
    """What a client in the topic receives, for texts that need few escapes."""
    return f'{{"topic":{json.dumps(topic)},"payload":{json.dumps(payload)}}}'


def reply(kind: str, topics: Sequence[str] | None) -> str:
    """The answer to a command."""
    return f'{{"topic":"{kind}","payload":{json.dumps(topics, separators=(",", ":"))}}}'


class Client:
    """The `websockets` library, and the commands of the plugin."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    def send(self, message: str | bytes) -> None:
        """Send one message as it is."""
        self.websocket.send(message)

    def command(self, command: str, topics: Any, **more: Any) -> None:
        """Send one command."""
        self.send(json.dumps({"command": command, "topics": topics, **more}))

    def receive(self) -> str:
        """Wait for the next message, which is text."""
        message = self.websocket.recv(timeout=DEADLINE)
        assert isinstance(message, str), message
        return message

    def expect(self, *messages: str) -> None:
        """Wait for exactly these messages, as the next ones."""
        for message in messages:
            received = self.receive()
            assert received == message, f"{received[:500]} instead of {message[:500]}"

    def join(self, *topics: str) -> None:
        """Join topics, successfully."""
        self.command("join", topics)
        self.expect(reply("@join", topics))

    def leave(self, *topics: str) -> None:
        """Leave topics."""
        self.command("leave", topics)
        self.expect(reply("@leave", topics))

    def is_refused(self, *topics: str) -> None:
        """Try to join topics, in vain."""
        self.command("join", topics)
        self.expect(reply("#join", topics))

    def close_code(self) -> int | None:
        """Wait for the end; return the code of the server's close frame."""
        try:
            while True:
                self.websocket.recv(timeout=DEADLINE)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


class Frame(NamedTuple):
    """A frame of the server."""

    first: int
    payload: bytes

    @property
    def close_code(self) -> int:
        assert self.first == 0x80 | CLOSE, self
        return int.from_bytes(self.payload[:2], "big")


class Refusal(NamedTuple):
    """A response after which the server has closed the connection."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


def frame(
    payload: bytes | str = b"", opcode: int = TEXT, *, first: int | None = None, mask: bool = True
) -> bytes:
    """One frame of a client.

    Args:
        payload: what is in it.
        opcode: its kind, when it is a whole and ordinary one.
        first: the first byte, when it is not.
        mask: as a client must.
    """
    data = payload.encode() if isinstance(payload, str) else payload
    head = struct.pack("B", 0x80 | opcode if first is None else first)
    bit = 0x80 if mask else 0
    if len(data) < 126:
        head += struct.pack("!B", bit | len(data))
    elif len(data) < 65536:
        head += struct.pack("!BH", bit | 126, len(data))
    else:
        head += struct.pack("!BQ", bit | 127, len(data))
    if not mask:
        return head + data
    key = b"mask"
    stretched = (key * (len(data) // 4 + 1))[: len(data)]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(stretched, "big")
    return head + key + masked.to_bytes(len(data), "big")


def handshake(path: str = "/ws", *headers: str, host: str = "127.0.0.1") -> bytes:
    """The request of a client."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class Raw:
    """A TCP connection to the server."""

    def __init__(self, address: tuple[str, int], *, receive_buffer: int | None = None) -> None:
        """Connect.

        Args:
            address: of the server.
            receive_buffer: bytes that the kernel takes for us while we do not read.
        """
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self._buffer = bytearray()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def upgrade(self, path: str = "/ws", *headers: str, then: bytes = b"") -> None:
        """Become a WebSocket; `then` goes out in the same packet."""
        self.send(handshake(path, *headers) + then)
        assert self.read_head().startswith("HTTP/1.1 101 ")

    def refused(self, path: str = "/ws", *headers: str) -> Refusal:
        """Try to become a WebSocket, in vain."""
        self.send(handshake(path, *headers))
        return self.read_refusal()

    def read_refusal(self) -> Refusal:
        """Read a response and the end of the connection."""
        head, _, body = self.read_rest().partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in lines]
        return Refusal(int(status.split(" ")[1]), [(name, value) for name, value in pairs], body)

    def read_head(self) -> str:
        """Read the head of a response, with the empty line."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._read_more()
        return self._take(end + 4).decode("latin-1")

    def read_frame(self) -> Frame:
        """Read the server's next frame, which is not masked."""
        first, length = self._take(2)
        if length == 126:
            length = int.from_bytes(self._take(2), "big")
        elif length == 127:
            length = int.from_bytes(self._take(8), "big")
        return Frame(first, self._take(length))

    def expect(self, *messages: str) -> None:
        """Read exactly these texts."""
        for message in messages:
            received = self.read_frame()
            assert received == (0x80 | TEXT, message.encode()), f"{received} instead of {message[:500]}"

    def join(self, *topics: str) -> None:
        """Join topics, successfully."""
        self.send(frame(json.dumps({"command": "join", "topics": topics})))
        self.expect(reply("@join", topics))

    def read(self, length: int) -> bytes:
        """Read so many bytes."""
        return self._take(length)

    def read_rest(self) -> bytes:
        """Read until the server closes, properly: a reset is an error. Then close too."""
        while data := self.socket.recv(1 << 20):
            self._buffer += data
        self.socket.close()
        return self._take(len(self._buffer))

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def segments_received(self) -> int:
        """How many TCP segments with data have arrived (`tcpi_data_segs_in`, Linux 4.6)."""
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        return int(struct.unpack_from("=I", info, 152)[0])

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._read_more()
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    def _read_more(self) -> None:
        data = self.socket.recv(1 << 20)
        assert data, f"the server closed the connection after {bytes(self._buffer)!r}"
        self._buffer += data


Connect = Callable[..., Client]
OpenRaw = Callable[..., Raw]
