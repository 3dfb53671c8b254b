"""Publishers whose calls are small on the wire and large in memory, or many, or never read the answers."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from chaos.attackers.connection import Attack, Connection, Target
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.rpc import encode_request

_MANY = 4_000_000
_PIECE = 64 * 1024
_LONG_NAME = 8 * 1024 * 1024
_METHOD = "broadcast.Publish"


def message(topic: bytes, payload: bytes) -> bytes:
    """The body of a call with one message, in protobuf (`proto/broadcast.proto`)."""
    fields = b"\x12" + _varint(len(topic)) + topic + b"\x1a" + _varint(len(payload)) + payload
    return b"\x0a" + _varint(len(fields)) + fields


def _varint(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 0x7F | 0x80,)) + _varint(value >> 7)


def empty_messages(codec: Flag) -> bytes:
    """The body of a call with 4 million messages that have nothing in them (2 bytes of it, or 3, or 1)."""
    match codec:
        case Flag.PROTO:
            return b"\x0a\x00" * _MANY
        case Flag.JSON:
            return b'{"messages":[%b{}]}' % (b"{}," * (_MANY - 1))
        case _:
            return b"\x81\xa8messages\xdd" + struct.pack(">I", _MANY) + b"\x80" * _MANY


def calling(method: str, body: bytes, codec: Flag, *, unread: bool = False) -> Attack:
    """Attack by the same call again and again, as fast as the server takes it.

    Args:
        method: the name of the method.
        body: its encoded argument.
        codec: what the argument is encoded with.
        unread: whether the answers stay where they are.
    """

    def attack(target: Target) -> Iterator[None]:
        call = encode_request(1, method, body, codec)
        piece = call * max(1, _PIECE // len(call))
        connection = Connection(target.rpc, receive_buffer=4096 if unread else None)
        if unread:
            connection.socket.setblocking(True)
        try:
            while True:
                if unread:
                    connection.socket.sendall(piece)
                else:
                    connection.send(piece)
                yield
        finally:
            connection.close()

    return attack


def empty(codec: Flag) -> Attack:
    """Attack by calls with 4 million empty messages; the body is made in the attacker's process."""

    def attack(target: Target) -> Iterator[None]:
        return calling(_METHOD, empty_messages(codec), codec)(target)

    return attack


def long_names(target: Target) -> Iterator[None]:
    """Call methods with names of 8 MiB, and never read the answers, which repeat them."""
    return calling("x" * _LONG_NAME, b"", Flag.PROTO, unread=True)(target)


_SMALL = message(b"nobody", b"x")

PUBLISHERS: dict[str, Attack] = {
    "rpc-empty-protobuf": empty(Flag.PROTO),
    "rpc-empty-json": empty(Flag.JSON),
    "rpc-empty-msgpack": empty(Flag.MSGPACK),
    "rpc-long-names": long_names,
    "rpc-small-calls": calling(_METHOD, _SMALL, Flag.PROTO),
    "rpc-unread-answers": calling(_METHOD, _SMALL, Flag.PROTO, unread=True),
}
