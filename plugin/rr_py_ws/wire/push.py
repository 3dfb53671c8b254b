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

Replies (`@join`, `#join`, `@leave`, `#leave`, `#error`) are JSON text frames in all three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct

import orjson

from rr_py_ws.wire.framing.websocket import Opcode, server_frame
from rr_py_ws.wire.jsontext import encode_string, encode_strings
from rr_py_ws.wire.publication import Publication

_TOPIC_LENGTH = Struct("!H")


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """One form of pushes and replies, framing included. Compared by identity.

    All connections that share an encoding share each frame that it makes of a message.

    Attributes:
        subprotocol: what a client asks for in `Sec-WebSocket-Protocol`; empty for the default.
        push: `push(publication)` returns the whole frame of a message.
        deflated: whether permessage-deflate was agreed on; see `deflate`.
    """

    subprotocol: str
    push: Callable[[Publication], bytes]
    deflated: bool = False

    def reply(
        self, kind: str, topics: Sequence[str] | None, *, id: str | int | None = None, reason: str = ""
    ) -> bytes:
        """Encode the answer to a command as a whole frame; it is never compressed.

        Args:
            kind: `@join`, `#join`, `@leave`, `#leave`, `#error` or `#gap`.
            topics: as the client sent them; None (the command had none) is written as null.
            id: the command's own id, when it had one. Without it the reply is RoadRunner's, byte for byte.
            reason: why a command was refused; sent only together with an id.
        """
        names = b"null" if topics is None else encode_strings(topics)
        extra = b""
        if id is not None:
            extra = b',"id":%b' % (encode_string(id) if isinstance(id, str) else b"%d" % id)
            if reason:
                extra += b',"reason":%b' % encode_string(reason)
        return server_frame(Opcode.TEXT, b'{"topic":"%b","payload":%b%b}' % (kind.encode(), names, extra))


def _push_string(publication: Publication) -> bytes:
    topic, payload = publication.topic, publication.payload
    content = b'{"topic":%b,"payload":%b}' % (encode_string(topic), encode_string(payload))
    return server_frame(Opcode.TEXT, content)


def _push_json(publication: Publication) -> bytes:
    topic, payload = publication.topic, publication.payload
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return _push_string(publication)
    return server_frame(Opcode.TEXT, b'{"topic":%b,"payload":%b}' % (encode_string(topic), payload))


def _push_binary(publication: Publication) -> bytes:
    name = publication.topic.encode("utf-8", "surrogateescape")
    if len(name) > 65535:  # its length does not fit into the 16 bits before it
        return _push_string(publication)
    return server_frame(Opcode.BINARY, _TOPIC_LENGTH.pack(len(name)) + name + publication.payload)


STRING = Encoding("", _push_string)
JSON = Encoding("rr.json", _push_json)
BINARY = Encoding("rr.binary", _push_binary)
BY_SUBPROTOCOL = {encoding.subprotocol: encoding for encoding in (JSON, BINARY)}
