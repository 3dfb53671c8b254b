"""The argument and the result of `Publish` and `PublishAsync`, in all codecs.

There are two schemas with clashing field numbers; the name of the RPC service decides which one a body has:
`broadcast.*` has topics and payload, `websockets.*` (RoadRunner 2.3.0 only) has a broker as well. `command`
is ignored in both.

JSON and msgpack bodies are read as Go reads them: key case and unknown keys are ignored, null is the zero
value. Payloads are base64 or a list of numbers in JSON, binary or string in msgpack.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from rr_py_ws.errors import RPCError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.pb import broadcast_pb2, websockets_pb2
from rr_py_ws.wire.values import decode_value, encode_result

_new = tuple.__new__  # as in `goridge`: half the time of calling the class
_PROTO = Flag.PROTO  # members of an enum are slow to look up
_OK = broadcast_pb2.Response(ok=True).SerializeToString()  # both schemas have the same response
_OKS = {codec: encode_result(codec, {"ok": True}) for codec in (Flag.JSON, Flag.MSGPACK)}
_PIECE = 512
"""Messages that are decoded at a time: about a millisecond."""
_INVALID = "goridge_read_request_body: proto: cannot parse invalid wire-format data"


class Message(NamedTuple):
    """One payload for some topics.

    Attributes:
        broker: name of a `broadcast` section; empty for the default, always so in the newer schema.
        topics: in the order of the request; may hold empty names.
        payload: any bytes.
    """

    broker: str
    topics: Sequence[str]
    payload: bytes


def decode_broadcast(codec: Flag, body: bytes) -> list[Message]:
    """Decode the argument of a `broadcast` method.

    Raises:
        RPCError: the body cannot be decoded.
    """
    if codec is not _PROTO:
        return _convert(_messages(codec, body), codec, has_broker=False)
    try:
        request = broadcast_pb2.Request.FromString(body)
    except DecodeError as error:
        raise RPCError(_INVALID) from error
    # [:] makes lists, which are iterated several times as fast as protobuf's containers
    return [_new(Message, ("", message.topics[:], message.payload)) for message in request.messages[:]]


def decode_websockets(codec: Flag, body: bytes) -> list[Message]:
    """Decode the argument of a `websockets` method.

    Raises:
        RPCError: the body cannot be decoded.
    """
    if codec is not _PROTO:
        return _convert(_messages(codec, body), codec, has_broker=True)
    try:
        request = websockets_pb2.Request.FromString(body)
    except DecodeError as error:
        raise RPCError(_INVALID) from error
    return [Message(message.broker, message.topics[:], message.payload) for message in request.messages[:]]


def decode_pieces(codec: Flag, body: bytes, *, has_broker: bool) -> Iterator[list[Message]]:
    """Decode the argument of a method of either service; yields some of its messages at a time.

    What is wrong behind a piece shows only when that is decoded.

    Raises:
        RPCError: the body cannot be decoded.
    """
    if codec is not _PROTO:
        values = _messages(codec, body)
        for start in range(0, len(values), _PIECE):
            yield _convert(values[start : start + _PIECE], codec, has_broker=has_broker)
        return
    kind: Any = websockets_pb2.Request if has_broker else broadcast_pb2.Request
    try:
        messages = kind.FromString(body).messages
    except DecodeError as error:
        raise RPCError(_INVALID) from error
    for start in range(0, len(messages), _PIECE):
        yield [
            Message(message.broker if has_broker else "", message.topics[:], message.payload)
            for message in messages[start : start + _PIECE]
        ]


def encode_ok(codec: Flag, _accepted: object = None) -> bytes:
    """Encode the response that says "accepted".

    Raises:
        RPCError: the codec is raw, which has no form for a response.
    """
    if codec is _PROTO:
        return _OK
    return _OKS.get(codec) or encode_result(codec, {"ok": True})


def encode_broadcast(messages: Iterable[Message]) -> bytes:
    """Encode a protobuf request for a `broadcast` method, as a client sends it."""
    return broadcast_pb2.Request(
        messages=[broadcast_pb2.Message(topics=topics, payload=payload) for _, topics, payload in messages]
    ).SerializeToString()


def decode_ok(body: bytes) -> bool:
    """Decode a protobuf response.

    Raises:
        RPCError: it cannot be decoded.
    """
    try:
        return broadcast_pb2.Response.FromString(body).ok
    except DecodeError as error:
        raise RPCError(_INVALID) from error


def _messages(codec: Flag, body: bytes) -> list[Any]:
    request = _fields(decode_value(codec, body), "the request")
    return _list(request.get("messages"), "messages")


def _convert(values: list[Any], codec: Flag, *, has_broker: bool) -> list[Message]:
    return [
        Message(
            _text(fields.get("broker"), "broker") if has_broker else "",
            [_text(topic, "a topic") for topic in _list(fields.get("topics"), "topics")],
            _payload(fields.get("payload"), base64_text=codec is Flag.JSON),
        )
        for fields in (_fields(value, "a message") for value in values)
    ]


def _fields(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RPCError(f"{name} must be a map, not a {type(value).__name__}")
    return {key.lower(): item for key, item in value.items() if isinstance(key, str)}


def _list(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise RPCError(f"{name} must be a list, not a {type(value).__name__}")
    return value


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise RPCError(f"{name} must be a string, not a {type(value).__name__}")
    return value


def _payload(value: Any, *, base64_text: bool) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    try:
        if isinstance(value, str) and base64_text:
            # Line feeds are skipped and nothing else is, as in Go's encoding/base64.
            return base64.b64decode(value.replace("\r", "").replace("\n", ""), validate=True)
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        if isinstance(value, list):
            return bytes(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise RPCError(f"payload cannot be decoded: {error}") from error
    raise RPCError(f"payload must be bytes, not a {type(value).__name__}")
