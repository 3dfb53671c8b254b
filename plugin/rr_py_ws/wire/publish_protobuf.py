"""The argument and the result of `Publish` in protobuf, by Google's library.

`publish` loads this when a call needs it for the first time, because the library takes long to load. PHP's
usual calls do not need it, see `publish_call`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from rr_py_ws.errors import RPCError
from rr_py_ws.wire import go_protobuf
from rr_py_ws.wire.pb import broadcast_pb2, websockets_pb2
from rr_py_ws.wire.publish import Message

_new = tuple.__new__  # as in `goridge`: half the time of calling the class
_TEXTS = (1, 2)  # the fields of a message that are texts: command and topics; in the older schema broker, too
_OLD_TEXTS = (1, 2, 3)


def decode_messages(body: bytes, *, has_broker: bool) -> list[Message]:
    """Decode the argument of a method.

    Args:
        body: the encoded argument.
        has_broker: whether it is in the older schema.

    Raises:
        RPCError: the body cannot be decoded.
    """
    messages = _messages(body, has_broker)
    if has_broker:
        return [Message(message.broker, message.topics[:], message.payload) for message in messages[:]]
    # [:] makes lists, which are iterated several times as fast as protobuf's containers
    return [_new(Message, ("", message.topics[:], message.payload)) for message in messages[:]]


def decode_pieces(body: bytes, size: int, *, has_broker: bool) -> Iterator[list[Message]]:
    """Decode the argument of a method; yields none of its messages first, then so many at a time.

    Raises:
        RPCError: the body cannot be decoded.
    """
    messages = _messages(body, has_broker)
    yield []
    for start in range(0, len(messages), size):
        yield [
            Message(message.broker if has_broker else "", message.topics[:], message.payload)
            for message in messages[start : start + size]
        ]


def encode_broadcast(messages: Iterable[Message]) -> bytes:
    """Encode the argument of a `broadcast` method, as a client sends it."""
    return broadcast_pb2.Request(
        messages=[broadcast_pb2.Message(topics=topics, payload=payload) for _, topics, payload in messages]
    ).SerializeToString()


def decode_ok(body: bytes) -> bool:
    """Decode a response.

    Raises:
        RPCError: it cannot be decoded.
    """
    try:
        return broadcast_pb2.Response.FromString(body).ok
    except DecodeError as error:
        raise RPCError("the answer is not in protobuf") from error


def _messages(body: bytes, has_broker: bool) -> Any:
    kind: Any = websockets_pb2.Request if has_broker else broadcast_pb2.Request
    try:
        return kind.FromString(body).messages
    except DecodeError as error:
        raise RPCError(go_protobuf.explain(body, _OLD_TEXTS if has_broker else _TEXTS)) from error
