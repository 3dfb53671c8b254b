"""What the server sends to browsers: pushes and replies, as whole frames.

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

Each form has a second one, with positions, for clients that have asked for the history of a topic. In JSON a
key `pos` follows; in `rr.binary` the length of the position (8 bits) and the position follow the topic. What
has no position has no `pos`, or a length of 0.

Replies (`@join`, `#join`, `@leave`, `#leave`, `#error`) are JSON text frames in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

import orjson

from rr_py_ws.native import twin
from rr_py_ws.wire.framing.websocket import Opcode, frame_head, server_frame
from rr_py_ws.wire.jsontext import encode_pieces, encode_string, encode_strings
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.recovery import Recovered

_TOPIC_LENGTH = Struct("!H")
_TEXT = int(Opcode.TEXT)
_KNOWN = 4096
"""Topics whose pushes begin with what was encoded before,"""
_LONGEST_KNOWN = 128
"""and the characters that one of these has at most: they take less than 4 MiB."""
_RECOVERED = 256
"""What becomes of wishes that is encoded once for many."""
_LARGE = 64 * 1024
"""Bytes of a payload of which is asked how many values it has, before it is read as JSON,"""
_MOST_VALUES = 65_536
"""and how many these may be, as commas and opening brackets: each may become a hundred bytes."""
_prepared: dict[int, list[bytes]] = {}
"""Large payloads, by their identity, as JSON strings in pieces, while somebody publishes them."""


@contextmanager
def prepared(payload: bytes) -> Iterator[Iterator[None]]:
    """Encode a large payload in pieces before it is published.

    What the context gives is to be run through once, with anything in between. Then pushes of this payload,
    the same object, need only copy the pieces, until the context ends; nothing may be waited for meanwhile.
    """
    pieces: list[bytes] = []

    def run() -> Iterator[None]:
        for piece in encode_pieces(payload):
            pieces.append(piece)
            yield
        _prepared[id(payload)] = pieces
        STRING.push = _push_prepared_string

    try:
        yield run()
    finally:
        STRING.push = encode_push
        _prepared.pop(id(payload), None)


@dataclass(slots=True, eq=False)
class Encoding:
    """One form of pushes and replies, framing included. Compared by identity.

    All connections that share an encoding share each frame that it makes of a message.

    Attributes:
        subprotocol: what a client asks for in `Sec-WebSocket-Protocol`; empty for the default.
        push: `push(publication)` returns the whole frame of a message.
        deflated: whether permessage-deflate was agreed on; see `deflate`.
        positioned: the same form with positions; None: this is one.
    """

    subprotocol: str
    push: Callable[[Publication], bytes]
    deflated: bool = False
    positioned: Encoding | None = None

    def reply(
        self,
        kind: str,
        topics: Sequence[str] | None,
        *,
        id: str | int | None = None,
        reason: str = "",
        client: str = "",
    ) -> bytes:
        """Encode the answer to a command as a whole frame; it is never compressed.

        Args:
            kind: `@join`, `#join`, `@leave`, `#leave`, `#error` or `#gap`.
            topics: as the client sent them; None (the command had none) is written as null.
            id: the command's own id, when it had one. Without it the reply is RoadRunner's, byte for byte.
            reason: why a command was refused; sent only together with an id.
            client: id of the connection, for a client that has named itself.
        """
        end = b',"client":%b}' % encode_string(client) if client else b"}"
        return server_frame(Opcode.TEXT, _begin_reply(kind, topics, id, reason) + end)

    def split_reply(
        self,
        kind: str,
        topics: Sequence[str] | None,
        *,
        id: str | int | None = None,
        size: int,
        history: Sequence[Recovered],
    ) -> tuple[bytes, bytes]:
        """Encode the answer to a command of several clients, what precedes the id of each and what follows.

        Args:
            kind: see `reply`.
            topics: see `reply`.
            id: see `reply`.
            size: characters that the ids of the clients have. They are ASCII, and need no escapes.
            history: what becomes of the wishes of a join.
        """
        before = _begin_reply(kind, topics, id) + b',"client":"'
        after = b'","history":{%b}}' % b",".join(map(_encode_recovered, history)) if history else b'"}'
        return frame_head(_TEXT, len(before) + size + len(after)) + before, after


def _begin_reply(kind: str, topics: Sequence[str] | None, id: str | int | None, reason: str = "") -> bytes:
    names = b"null" if topics is None else encode_strings(topics)
    beginning = b'{"topic":"%b","payload":%b' % (kind.encode(), names)
    if id is not None:
        beginning += b',"id":%b' % (encode_string(id) if isinstance(id, str) else b"%d" % id)
        if reason:
            beginning += b',"reason":%b' % encode_string(reason)
    return beginning


def usual_join_reply(topic: str) -> bytes:
    """Encode `@join` for one topic as RoadRunner does, which is the same in all forms."""
    return _known_join_reply(topic) if len(topic) <= _LONGEST_KNOWN else _join_reply(topic)


def _join_reply(topic: str) -> bytes:
    return STRING.reply("@join", (topic,))


_known_join_reply = lru_cache(_KNOWN)(_join_reply)


@lru_cache(_RECOVERED)
def _encode_recovered(recovered: Recovered) -> bytes:
    """All who come back at one position are told the same."""
    topic, position, count, reason = recovered
    return b'%b:{%b"recovered":%b,"count":%d%b}' % (
        encode_string(topic),
        b"" if position is None else b'"pos":"%b",' % position.encode(),
        b"false" if reason else b"true",
        count,
        b',"reason":"%b"' % reason.encode() if reason else b"",
    )


@twin
def encode_push(publication: Publication) -> bytes:
    """Encode RoadRunner's form of a push, as a whole frame."""
    return _push_text(publication[0], encode_string(publication[1]))


def _push_prepared_string(publication: Publication) -> bytes:
    return _push_text(publication.topic, *_string(publication.payload))


def _push_positioned_string(publication: Publication) -> bytes:
    return _push_text(publication.topic, *_string(publication.payload), end=_end(publication.position))


def _push_json(publication: Publication) -> bytes:
    return _push_text(publication.topic, *_json_value(publication.payload))


def _push_positioned_json(publication: Publication) -> bytes:
    return _push_text(publication.topic, *_json_value(publication.payload), end=_end(publication.position))


def _json_value(payload: bytes) -> Sequence[bytes]:
    """Return a payload as it is when it is JSON, and not too much of it, else as a string."""
    if len(payload) > _LARGE and sum(map(payload.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        return _string(payload)
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return _string(payload)
    return (payload,)


def _string(payload: bytes) -> Sequence[bytes]:
    """Return a payload as a JSON string, in pieces."""
    return _prepared.get(id(payload)) or (encode_string(payload),)


def _push_text(topic: str, *value: bytes, end: bytes = b"}") -> bytes:
    """Encode a push as a frame around JSON, which may be in pieces. A large value is copied once."""
    beginning = _known_beginning(topic) if len(topic) <= _LONGEST_KNOWN else _beginning(topic)
    head = frame_head(_TEXT, len(beginning) + sum(map(len, value)) + len(end))
    return b"".join((head, beginning, *value, end))


def _end(position: Position | None) -> bytes:
    return b"}" if position is None else b',"pos":"%b"}' % position.encode()


def _beginning(topic: str) -> bytes:
    return b'{"topic":%b,"payload":' % encode_string(topic)


_known_beginning = lru_cache(_KNOWN)(_beginning)
"""Nearly all messages are for topics that had one before."""


def _push_binary(publication: Publication) -> bytes:
    topic = _binary_topic(publication.topic)
    if topic is None:
        return encode_push(publication)
    return server_frame(Opcode.BINARY, topic + publication.payload)


def _push_positioned_binary(publication: Publication) -> bytes:
    topic = _binary_topic(publication.topic)
    if topic is None:
        return _push_positioned_string(publication)
    position = (publication.position or "").encode()
    return server_frame(Opcode.BINARY, b"%b%c%b%b" % (topic, len(position), position, publication.payload))


def _binary_topic(topic: str) -> bytes | None:
    """Return a topic behind its length; None when that does not fit into 16 bits."""
    name = topic.encode("utf-8", "surrogateescape")
    return _TOPIC_LENGTH.pack(len(name)) + name if len(name) <= 65535 else None


STRING = Encoding("", encode_push, positioned=Encoding("", _push_positioned_string))
JSON = Encoding("rr.json", _push_json, positioned=Encoding("rr.json", _push_positioned_json))
BINARY = Encoding("rr.binary", _push_binary, positioned=Encoding("rr.binary", _push_positioned_binary))
BY_SUBPROTOCOL = {encoding.subprotocol: encoding for encoding in (JSON, BINARY)}
