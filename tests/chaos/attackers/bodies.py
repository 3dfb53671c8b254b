"""Publishers whose calls have bodies that are odd: large in one piece, deep, full of what nobody looks at."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, product

from chaos.attackers.connection import (
    TEXT,
    Attack,
    Connection,
    Stream,
    Target,
    close_all,
    frame,
    head,
    pour,
)
from chaos.attackers.publishers import message, publishing
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.rpc import encode_request

_REFUSED = 60 << 20
"""Bytes: more than `rpc_own_payload`."""
_LARGE = (12 << 20) - 1000
"""As much as it allows."""
_MIDDLE = 4 << 20
_LEAVING = 24
_NOISE = 780_000
"""Bytes, of which compression makes most of what a message costs."""
_BINARY = "Sec-WebSocket-Protocol: rr.binary\r\n"

_Call = tuple[bytes, Flag]
_Calls = Callable[[], Iterator[_Call]]


def _map(*fields: bytes) -> bytes:
    """One message in msgpack, of names and values."""
    return b"\x81\xa8messages\x91" + bytes((0x80 | len(fields) // 2,)) + b"".join(fields)


def _text(value: bytes) -> bytes:
    return b"\xdb" + struct.pack(">I", len(value)) + value


def _binary(value: bytes) -> bytes:
    return b"\xc6" + struct.pack(">I", len(value)) + value


def large_topics(size: int) -> Iterator[_Call]:
    """A topic that fills the call: UTF-8 and none, plain and escaped."""
    yield _map(b"\xa6topics", b"\x91" + _text(b"\xff" * size), b"\xa7payload", b"\xa1x"), Flag.MSGPACK
    yield _map(b"\xa6topics", b"\x91" + _binary(b"\xc3\xa9" * (size // 2))), Flag.MSGPACK
    yield message([b"x" * size], b"x"), Flag.PROTO
    yield message([b"\xc3\xa9" * (size // 2)], b"x"), Flag.PROTO
    yield message([b"\xff" * size], b"x"), Flag.PROTO
    yield b'{"messages":[{"topics":["%b"]}]}' % (rb"\u00e9" * (size // 6)), Flag.JSON
    yield b'{"messages":[{"topics":["%b"]}]}' % (b"\xf0\x9f\x98\x80" * (size // 4)), Flag.JSON


def large_payloads(size: int) -> Iterator[_Call]:
    """A payload that fills the call, in each form that it can have."""
    yield _map(b"\xa6topics", b"\x91\xa1a", b"\xa7payload", _text(b"\xff" * size)), Flag.MSGPACK
    yield _map(b"\xa6topics", b"\x91\xa1a", b"\xa7payload", _binary(b"x" * size)), Flag.MSGPACK
    yield message([b"a"], b"x" * size), Flag.PROTO
    yield b'{"messages":[{"topics":["a"],"payload":"%b"}]}' % (b"AAAA" * (size // 4)), Flag.JSON
    yield b'{"messages":[{"topics":["a"],"payload":"%b"}]}' % (rb"\u0041" * (size // 6 // 4 * 4)), Flag.JSON


def large_strangers(size: int) -> Iterator[_Call]:
    """What nobody looks at fills the call: other fields, commands, blanks, what follows the argument."""
    yield _map(b"\xa7command", _text(b"\xff" * size)), Flag.MSGPACK
    yield _map(b"\xa5other", b"\xc9" + struct.pack(">IB", size, 7) + bytes(size)), Flag.MSGPACK
    yield _map(_text(b"\xff" * size), b"\xc0"), Flag.MSGPACK
    yield b"\x80" + bytes(size), Flag.MSGPACK
    yield b"\x7a" + _varint(size) + bytes(size), Flag.PROTO
    yield b"\x0a" + _varint(size + 6) + b"\x0a" + _varint(size) + b"\xff" * size, Flag.PROTO
    yield b'{"other":"%b"}' % (rb"\ud800" * (size // 6)), Flag.JSON
    yield b" " * size + b"{}", Flag.JSON
    yield b'{"other":%b}' % (b"9" * size), Flag.JSON
    yield b'{"%b":1}' % (rb"\u0141" * (size // 6)), Flag.JSON


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def deep_bodies() -> Iterator[_Call]:
    """Maps in maps, groups in groups, lists in lists; of a size that is read at once, and larger."""
    for size in (900, 15_000, 200_000):
        yield b"\x81\xa1x" * (size // 3) + b"\xc0", Flag.MSGPACK
        yield b"\x91" * size + b"\xc0", Flag.MSGPACK
        yield b"\x81\xc0" * (size // 2) + b"\xc0", Flag.MSGPACK
        yield b"\x7b" * (size // 2) + b"\x7c" * (size // 2), Flag.PROTO
        yield b'{"messages":%b%b}' % (b"[" * (size // 2), b"]" * (size // 2)), Flag.JSON
        yield b'{"a":' * (size // 5) + b"1" + b"}" * (size // 5), Flag.JSON


def odd_values() -> Iterator[_Call]:
    """Extensions, numbers of any length, keys that are escaped or twice, long varints, packed fields."""
    for size in (900, 15_000, 200_000):
        ext = b"\xd4\x07x"
        many = size // 3
        yield b"\x81\xa1x\xdd" + struct.pack(">I", many) + ext * many, Flag.MSGPACK
        yield b"\x81\xa8messages\xdd" + struct.pack(">I", many) + ext * many, Flag.MSGPACK
        yield b"\xdf" + struct.pack(">I", many // 2) + b"\xa1x\xd6\xff\0\0\0\0"[:6] * many, Flag.MSGPACK
        yield b"\xc7\x0c\xff" + bytes(12) + bytes(size), Flag.MSGPACK
        yield b'{"x":[%b0]}' % (b"1e999," * (size // 6)), Flag.JSON
        yield b'{"messages":[{"payload":[%b0]}]}' % (b"1," * (size // 2)), Flag.JSON
        yield b'{"messages":[{"payload":%b}]}' % (b"1" * size), Flag.JSON
        yield b'{%b"x":1}' % (rb'"\u006dessages":[],' * (size // 18)), Flag.JSON
        yield b'{%b"x":1}' % (b'"messages":[{}],' * (size // 16)), Flag.JSON
        yield b'{"messages":[{%b"topics":["\\ud800"]}]}' % (b'"Topics":null,' * (size // 14)), Flag.JSON
        yield b"\xa0\x81\x80\x80\x80\x00\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01" * (size // 16), Flag.PROTO
        yield b"\x7a" + _varint(size) + b"\x01" * size, Flag.PROTO
        yield b"\x7d\0\0\0\0" * (size // 5), Flag.PROTO
        yield message([b"\xff"] * (size // 3), b""), Flag.PROTO
        yield b"\x0a\x80\x80\x80\x80\x00" * (size // 6), Flag.PROTO


def large_bodies(size: int) -> Iterator[_Call]:
    """What fills a call in any way."""
    for calls in (large_topics, large_payloads, large_strangers):
        yield from calls(size)


def odd_bodies() -> Iterator[_Call]:
    """What is deep, and what has odd values."""
    yield from deep_bodies()
    yield from odd_values()


def one_after_another(calls: _Calls, *methods: str) -> Attack:
    """Attack by these calls of each method in turn, through one connection."""

    def attack(target: Target) -> Iterator[None]:
        connection = Connection(target.rpc)
        try:
            while True:
                for body, codec in calls():
                    for method in methods:
                        connection.send(encode_request(1, method, body, codec))
                        yield
        finally:
            connection.close()

    return attack


def at_once(calls: _Calls) -> Attack:
    """Attack by these calls, each through a connection of its own, as fast as the server takes them."""

    def attack(target: Target) -> Iterator[None]:
        opened: list[Connection] = []
        streams: list[Stream] = []
        try:
            for body, codec in calls():
                call = publishing(body, codec)
                opened.append(Connection(target.rpc))
                streams.append(Stream(opened[-1], call * max(1, 16_384 // len(call))))
            yield from pour(streams)
        finally:
            close_all(opened)

    return attack


def leaving(calls: _Calls) -> Attack:
    """Attack by many publishers, each of which sends a call and leaves."""

    def attack(target: Target) -> Iterator[None]:
        for body, codec in cycle(list(calls())):
            connections: list[Connection] = []
            call = publishing(body, codec)
            try:
                while len(connections) < _LEAVING:
                    connections.append(Connection(target.rpc))
                    connections[-1].send(call)
                    yield
            finally:
                close_all(connections)

    return attack


def large_to_reader(target: Target) -> Iterator[None]:
    """Publish 8 MiB again and again to a topic that a client is in who reads everything."""
    connections = [receiver := Connection(target.web)]
    calls: Sequence[bytes] = [
        publishing(message([b"large"], byte * (8 << 20))) for byte in (b"a", b'"', b"\xff", b"\x01")
    ]
    try:
        connections.append(publisher := Connection(target.rpc))
        receiver.upgrade()
        receiver.send(frame(TEXT, json.dumps({"command": "join", "topics": ["large"]}).encode()))
        receiver.answered()
        streams = [Stream(publisher, b"".join(calls))]
        for _ in pour(streams):
            receiver.discard()
            yield
    finally:
        close_all(connections)


def noise_to_readers(target: Target) -> Iterator[None]:
    """Publish what has no pattern to clients for whom it is compressed, each in another form."""
    payload = base64.b64encode(random.Random(0).randbytes(_NOISE))
    join = frame(TEXT, json.dumps({"command": "join", "topics": ["noise"]}).encode())
    opened: list[Connection] = []
    try:
        for protocol, bits in product(("", "Sec-WebSocket-Protocol: rr.json\r\n", _BINARY), (9, 15)):
            opened.append(reader := Connection(target.web))
            offer = f"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits={bits}\r\n"
            reader.send(head(more=protocol + offer))
            reader.answered()
            reader.send(join)
            reader.answered()
        opened.append(publisher := Connection(target.rpc))
        for _ in pour([Stream(publisher, publishing(message([b"noise"], payload)))]):
            for reader in opened:
                reader.discard()
            yield
    finally:
        close_all(opened)


BODIES: dict[str, Attack] = {
    "rpc-refused-bodies": one_after_another(partial(large_bodies, _REFUSED), "broadcast.Publish"),
    "rpc-large-bodies": one_after_another(partial(large_bodies, _LARGE), "broadcast.Publish"),
    "rpc-large-options": one_after_another(partial(large_bodies, _LARGE), "push.Publish", "informer.Workers"),
    "rpc-middle-bodies": at_once(partial(large_bodies, _MIDDLE)),
    "rpc-odd-bodies": at_once(odd_bodies),
    "rpc-leaving": leaving(partial(large_bodies, _MIDDLE)),
    "rpc-large-to-reader": large_to_reader,
    "rpc-noise-to-readers": noise_to_readers,
}
