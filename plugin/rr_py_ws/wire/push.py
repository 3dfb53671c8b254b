"""What the server sends to browsers: pushes and replies, encoded once, as whole WebSocket frames.

The default form is RoadRunner's, byte for byte: a text frame `{"topic":"<topic>","payload":"<payload>"}` with
the payload as a JSON string (roadrunner-server/websockets pool/workers_pool.go @v2.16.5). A client that asks
for one of the subprotocols below gets the payload without that detour:

=============  ======  ==================================================================================
subprotocol    frame   content of a push
=============  ======  ==================================================================================
(none)         text    `{"topic":"t","payload":"<JSON string>"}`
`rr.json`      text    `{"topic":"t","payload":<value>}` when the payload is JSON, else as without
`rr.binary`    binary  length of the topic (16 bits, big-endian), topic in UTF-8, payload as published; a
                       topic of more than 65535 bytes: as without
=============  ======  ==================================================================================

Replies (`@join`, `#join`, `@leave`, `#leave`, `#error`) are JSON text frames in all three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

import orjson

from rr_py_ws.wire.jsontext import encode_string

_SHORT = Struct("!BB")
_MEDIUM = Struct("!BBH")
_LONG = Struct("!BBQ")
_TOPIC_LENGTH = Struct("!H")
_FIN = 0x80


class Opcode(IntEnum):
    """RFC 6455 section 5.2."""

    TEXT = 1
    BINARY = 2
    PING = 9


def server_frame(opcode: int, payload: bytes) -> bytes:
    """Encode one unfragmented, unmasked frame with the shortest length form (RFC 6455 section 5.2)."""
    length = len(payload)
    if length < 126:
        return _SHORT.pack(_FIN | opcode, length) + payload
    if length < 65536:
        return _MEDIUM.pack(_FIN | opcode, 126, length) + payload
    return _LONG.pack(_FIN | opcode, 127, length) + payload


class Encoding(NamedTuple):
    """One form of pushes; all connections that share it share each encoded frame.

    Attributes:
        subprotocol: what a client asks for in `Sec-WebSocket-Protocol`; empty for the default.
        push: `push(topic, payload)` returns the whole frame.
        deflated: whether frames may be compressed; see `deflate`.
    """

    subprotocol: str
    push: Callable[[str, bytes], bytes]
    deflated: bool = False


def _push_string(topic: str, payload: bytes) -> bytes:
    return server_frame(
        Opcode.TEXT, b'{"topic":%b,"payload":%b}' % (encode_string(topic), encode_string(payload))
    )


def _push_json(topic: str, payload: bytes) -> bytes:
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return _push_string(topic, payload)
    return server_frame(Opcode.TEXT, b'{"topic":%b,"payload":%b}' % (encode_string(topic), payload))


def _push_binary(topic: str, payload: bytes) -> bytes:
    name = topic.encode("utf-8", "surrogateescape")
    if len(name) > 65535:
        return _push_string(topic, payload)
    return server_frame(Opcode.BINARY, _TOPIC_LENGTH.pack(len(name)) + name + payload)


STRING = Encoding("", _push_string)
JSON = Encoding("rr.json", _push_json)
BINARY = Encoding("rr.binary", _push_binary)
BY_SUBPROTOCOL = {encoding.subprotocol: encoding for encoding in (JSON, BINARY)}


def encode_reply(
    kind: str, topics: Sequence[str] | None, *, id: str | int | None = None, reason: str = ""
) -> bytes:
    """Encode the answer to a command as a whole frame.

    Args:
        kind: `@join`, `#join`, `@leave`, `#leave` or `#error`.
        topics: as the client sent them; None (it sent none) is written as null.
        id: the command's own id, when it had one. Without it the reply is RoadRunner's, byte for byte.
        reason: why a command was refused; sent only together with an id.
    """
    names = b"null" if topics is None else b"[%b]" % b",".join(map(encode_string, topics))
    extra = b""
    if id is not None:
        extra = b',"id":%b' % (encode_string(id) if isinstance(id, str) else b"%d" % id)
        if reason:
            extra += b',"reason":%b' % encode_string(reason)
    return server_frame(Opcode.TEXT, b'{"topic":"%b","payload":%b%b}' % (kind.encode(), names, extra))
