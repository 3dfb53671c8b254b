"""Peers in the benchmark: `websockets` and `picows`, on uvloop. Joins and RPC frames are trusted.

Usage: `python -m bench.peers.python websockets|picows WS_PORT RPC_PORT`
"""

from __future__ import annotations

import asyncio
import importlib
import json
import struct
import sys
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import uvloop

from bench.generator import HOST

_HEADER = 20
_OK = b"\x08\x01"
_MEMBERS: defaultdict[str, set[Any]] = defaultdict(set)

Publish = Callable[[str, str], None]


def _length(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _messages(body: bytes) -> Iterator[tuple[str, str]]:
    """Topic and payload of each message of a protobuf request, whose messages have one topic."""
    at = 0
    while at < len(body):
        size, at = _length(body, at + 1)
        end, fields = at + size, {}
        while at < end:
            field = body[at] >> 3
            length, at = _length(body, at + 1)
            fields[field] = body[at : at + length].decode()
            at += length
        yield fields[2], fields[3]


class Publisher(asyncio.Protocol):
    """One PHP process."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        data, at, replies = self._rest + data, 0, []
        while len(data) - at >= _HEADER:
            size, sequence, method = struct.unpack_from("<2xI6xII", data, at)
            start, end = at + _HEADER + method, at + _HEADER + size
            if len(data) < end:
                break
            for topic, payload in _messages(data[start:end]):
                self._publish(topic, payload)
            head = struct.pack("<BBI", 0x15, 0x80, method + len(_OK))
            call = struct.pack("<IHII", zlib.crc32(head), 0, sequence, method)
            replies += [head, call, data[at + _HEADER : start], _OK]
            at = end
        self._rest = data[at:]
        self._transport.write(b"".join(replies))


def _encode(topic: str, payload: object) -> str:
    return json.dumps({"topic": topic, "payload": payload}, separators=(",", ":"))


async def _websockets(port: int) -> Publish:
    server, exceptions = (
        importlib.import_module(f"websockets.{name}") for name in ("asyncio.server", "exceptions")
    )

    async def serve(connection: Any) -> None:
        try:
            async for text in connection:
                topics = json.loads(text)["topics"]
                for topic in topics:
                    _MEMBERS[topic].add(connection)
                await connection.send(_encode("@join", topics))
        except exceptions.ConnectionClosed:
            pass
        finally:
            for members in _MEMBERS.values():
                members.discard(connection)

    await server.serve(serve, HOST, port, compression=None, ping_interval=None)

    def publish(topic: str, payload: str) -> None:
        server.broadcast(_MEMBERS[topic], _encode(topic, payload))

    return publish


async def _picows(port: int) -> Publish:
    picows = importlib.import_module("picows")
    text = picows.WSMsgType.TEXT

    class Listener(picows.WSListener):  # type: ignore[name-defined, misc]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type != text:
                return
            topics = json.loads(frame.get_payload_as_bytes())["topics"]
            for topic in topics:
                _MEMBERS[topic].add(transport)
            transport.send(text, _encode("@join", topics).encode())

        def on_ws_disconnected(self, transport: Any) -> None:
            for members in _MEMBERS.values():
                members.discard(transport)

    server = await picows.ws_create_server(lambda _: Listener(), HOST, port)
    await server.start_serving()

    def publish(topic: str, payload: str) -> None:
        message = _encode(topic, payload).encode()
        for transport in _MEMBERS[topic]:
            transport.send(text, message)

    return publish


_LIBRARIES: dict[str, Callable[[int], Awaitable[Publish]]] = {"websockets": _websockets, "picows": _picows}


async def _serve(library: str, ws_port: int, rpc_port: int) -> None:
    publish = await _LIBRARIES[library](ws_port)
    server = await asyncio.get_running_loop().create_server(lambda: Publisher(publish), HOST, rpc_port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
