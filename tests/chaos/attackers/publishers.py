"""Publishers whose calls are small on the wire and dear to carry out, or many, or never read the answers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, repeat

from chaos.attackers.connection import (
    TEXT,
    Attack,
    Connection,
    Stream,
    Target,
    close_all,
    discard_next,
    frame,
    pour,
)
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.rpc import encode_request

_MANY = 4_000_000
_PIECE = 64 * 1024
_LONG_NAME = 8 * 1024 * 1024
_CONNECTIONS = 48
_SLOW = 64


def message(topics: Sequence[bytes], payload: bytes) -> bytes:
    """The body of a call with one message, in protobuf (`proto/broadcast.proto`)."""
    fields = b"".join(map(_field, repeat(b"\x12"), topics)) + _field(b"\x1a", payload)
    return _field(b"\x0a", fields)


def _field(tag: bytes, value: bytes) -> bytes:
    return tag + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 0x7F | 0x80,)) + _varint(value >> 7)


def empty_messages(codec: Flag) -> bytes:
    """4 million messages that have nothing in them, in 2 bytes each, or 3, or 1."""
    match codec:
        case Flag.PROTO:
            body = b"\x0a\x00" * _MANY
        case Flag.JSON:
            body = b'{"messages":[%b{}]}' % (b"{}," * (_MANY - 1))
        case _:
            body = b"\x81\xa8messages\xdd" + struct.pack(">I", _MANY) + b"\x80" * _MANY
    return publishing(body, codec)


def publishing(body: bytes, codec: Flag = Flag.PROTO) -> bytes:
    """A call of `Publish`."""
    return encode_request(1, "broadcast.Publish", body, codec)


def calling(calls: Callable[[], bytes], *, unread: bool = False) -> Attack:
    """Attack by the same calls again and again, as fast as the server takes them.

    Args:
        calls: makes them, in the attacker's process.
        unread: whether the answers stay where they are.
    """

    def attack(target: Target) -> Iterator[None]:
        connection = Connection(target.rpc, receive_buffer=4096 if unread else None)
        send = connection.send_unread if unread else connection.send
        piece = _piece(calls())
        try:
            while True:
                send(piece)
                yield
        finally:
            connection.close()

    return attack


def _piece(calls: bytes) -> bytes:
    """As many of them as make about 64 KiB."""
    return calls * max(1, _PIECE // len(calls))


def small_calls() -> bytes:
    """One small message to nobody."""
    return publishing(message([b"nobody"], b"x"))


def long_names() -> bytes:
    """A method with a name of 8 MiB, which the answer repeats."""
    return encode_request(1, "x" * _LONG_NAME, b"", Flag.PROTO)


def hidden_json() -> bytes:
    """63,000 empty messages behind 64 KiB of blanks, in less than a large call."""
    return publishing(b" " * 65_536 + b'{"messages":[%b{}]}' % (b"{}," * 62_999), Flag.JSON)


def failing_calls() -> bytes:
    """1,340 messages in 4 KB, and something that is none at the end."""
    return publishing(b'{"messages":[%b1]}' % (b"{}," * 1340), Flag.JSON)


def dear_methods() -> bytes:
    """Small calls for which there is much to do."""
    return encode_request(1, "rpc.Config", b"", Flag.JSON) + encode_request(
        1, "informer.Workers", b'"websockets"', Flag.JSON
    )


def many_connections(target: Target) -> Iterator[None]:
    """Publish small messages through 48 connections, as fast as the server takes them."""
    piece = _piece(small_calls())
    connections: list[Connection] = []
    try:
        while len(connections) < _CONNECTIONS:
            connections.append(Connection(target.rpc))
        yield from pour([Stream(connection, piece) for connection in connections])
    finally:
        close_all(connections)


def slow_bodies(target: Target) -> Iterator[None]:
    """Publish, through 64 connections, what is slow to decode: groups, lists in lists, many small things.

    Bodies are of a size that is decoded at once, and a little larger.
    """
    bodies = []
    for size in (900, 3900, 200_000):
        bodies += [
            (b"\x7b\x7c" * (size // 2), Flag.PROTO),
            (b'{"x":' + b"[" * 400 + b"{}" + b",{}" * (size // 3 - 300) + b"]" * 400 + b"}", Flag.JSON),
            (b'{"messages":[{"topics":["%b"]}]}' % (rb"\ud800" * (size // 6)), Flag.JSON),
            (
                b"\x82\xa1x\xdd"
                + struct.pack(">I", size // 8)
                + b"\x81\xa1a\x90" * (size // 8)
                + b"\xa1y\xc0",
                Flag.MSGPACK,
            ),
        ]
    connections: list[Connection] = []
    try:
        while len(connections) < _SLOW:
            connections.append(Connection(target.rpc))
        pieces = [_piece(publishing(body, codec)) for body, codec in bodies]
        yield from pour([Stream(one, piece) for one, piece in zip(connections, cycle(pieces), strict=False)])
    finally:
        close_all(connections)


def wide_call(target: Target) -> Iterator[None]:
    """Publish 250 KB to each of 500 topics, in one call, while a client is in all of them.

    It reads, and is given up all the same: 125 MB are far more than its queue. The next one comes then.
    """
    topics = [b"wide-%d" % number for number in range(500)]
    join = b'{"command":"join","topics":[%b]}' % b",".join(b'"%b"' % topic for topic in topics)
    calls = cycle([publishing(message(topics, byte * 250_000)) for byte in (b"a", b'"', b"\xff")])
    receiver = Connection(target.web)
    connections = [receiver]
    try:
        connections.append(publisher := Connection(target.rpc))
        receiver.upgrade()
        receiver.send(frame(TEXT, join))
        receiver.answered()
        for call in calls:
            publisher.send(call)
            yield
            while publisher not in discard_next(connections):
                yield
    finally:
        close_all(connections)


PUBLISHERS: dict[str, Attack] = {
    "rpc-empty-protobuf": calling(partial(empty_messages, Flag.PROTO)),
    "rpc-empty-json": calling(partial(empty_messages, Flag.JSON)),
    "rpc-empty-msgpack": calling(partial(empty_messages, Flag.MSGPACK)),
    "rpc-hidden-json": calling(hidden_json),
    "rpc-failing-calls": calling(failing_calls),
    "rpc-long-names": calling(long_names, unread=True),
    "rpc-small-calls": calling(small_calls),
    "rpc-unread-answers": calling(small_calls, unread=True),
    "rpc-many-connections": many_connections,
    "rpc-slow-bodies": slow_bodies,
    "rpc-wide-call": wide_call,
}
