"""Arguments and results of the RPC service `push`, in all codecs.

In JSON and msgpack, keys are those of proto/push.proto, in any case; payloads are base64 in JSON. Google's
library for protobuf is loaded by the first call that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from rr_py_ws.errors import RPCError
from rr_py_ws.wire.elements import count_elements
from rr_py_ws.wire.go_base64 import decode_base64
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.values import UndecodedError, decode_value, encode_result

MOST_PUBLISHED = 512
"""Messages times their topics of one call."""
_MOST_ELEMENTS = 8192
_MOST_BYTES = 4 * 1024 * 1024
"""Of a call of `Publish`, which is decoded in one turn of the event loop,"""
_MOST_BYTES_OF_NAMES = 16 * 1024
"""and of others, which name a topic."""
_MOST_EXCLUDED = 16
_LONGEST_ID = 64
_LONGEST_KEY = 128
_IN_TWO_WORDS = {"idempotencykey": "idempotency_key", "skiphistory": "skip_history"}
"""Protobuf's own JSON has `idempotencyKey`; Go, as whose fields MessagePack is answered, `IdempotencyKey`."""


_Request = TypeVar("_Request", "HistoryRequest", "ClearHistoryRequest")


class PushMessage(NamedTuple):
    """One payload for some topics; the attributes are those of proto/push.proto."""

    topics: Sequence[str]
    payload: bytes = b""
    exclude: tuple[str, ...] = ()
    idempotency_key: str = ""
    skip_history: bool = False


class PublishRequest(NamedTuple):
    """See proto/push.proto."""

    messages: Sequence[PushMessage]
    broker: str = ""


class Published(NamedTuple):
    """See proto/push.proto."""

    topic: str
    position: Position | None
    duplicate: bool


class HistoryRequest(NamedTuple):
    """See proto/push.proto."""

    topic: str
    since: Position = ""
    limit: int = 0
    reverse: bool = False
    broker: str = ""


class HistoryResponse(NamedTuple):
    """See proto/push.proto."""

    messages: Sequence[Publication]
    position: Position | None
    reason: str


class ClearHistoryRequest(NamedTuple):
    """See proto/push.proto."""

    topic: str
    broker: str = ""


def check_publish_size(body: bytes) -> None:
    """Refuse an argument of `Publish` that is too large, before it is decoded.

    Raises:
        RPCError: it is.
    """
    _check_size(body, _MOST_BYTES)


def decode_publish(codec: Flag, body: bytes) -> PublishRequest:
    """Decode the argument of `push.Publish`.

    Raises:
        RPCError: it cannot be decoded, or breaks a rule.
    """
    check_publish_size(body)
    if any(found > _MOST_ELEMENTS for found in count_elements(codec, body)):
        raise RPCError(f"more than {_MOST_ELEMENTS} messages, topics and other fields")
    if codec is Flag.PROTO:
        found = _parse("PublishRequest", body)
        messages = [
            PushMessage(one.topics[:], one.payload, tuple(one.exclude), one.idempotency_key, one.skip_history)
            for one in found.messages
        ]
        request = PublishRequest(messages, found.broker)
    else:
        fields = _fields(codec, body)
        request = PublishRequest(
            [_message(_map(one, "messages"), codec) for one in _list(fields, "messages")],
            _text(fields, "broker"),
        )
    _check(request.messages)
    return request


def decode_history(codec: Flag, body: bytes) -> HistoryRequest:
    """Decode the argument of `push.History`.

    Raises:
        RPCError: it cannot be decoded, or names no topic.
    """
    _check_size(body, _MOST_BYTES_OF_NAMES)
    if codec is Flag.PROTO:
        one = _parse("HistoryRequest", body)
        request = HistoryRequest(one.topic, one.since, one.limit, one.reverse, one.broker)
    else:
        fields = _fields(codec, body)
        limit = fields.get("limit") or 0
        if type(limit) is not int or limit < 0:
            raise RPCError("limit is not a whole number, 0 or more")
        request = HistoryRequest(
            _text(fields, "topic"),
            _text(fields, "since"),
            limit,
            _flag(fields, "reverse"),
            _text(fields, "broker"),
        )
    return _with_topic(request)


def decode_clear(codec: Flag, body: bytes) -> ClearHistoryRequest:
    """Decode the argument of `push.ClearHistory`.

    Raises:
        RPCError: it cannot be decoded, or names no topic.
    """
    _check_size(body, _MOST_BYTES_OF_NAMES)
    if codec is Flag.PROTO:
        one = _parse("ClearHistoryRequest", body)
        return _with_topic(ClearHistoryRequest(one.topic, one.broker))
    fields = _fields(codec, body)
    return _with_topic(ClearHistoryRequest(_text(fields, "topic"), _text(fields, "broker")))


def encode_published(codec: Flag, published: Sequence[Published]) -> bytes:
    """Encode the result of `push.Publish`."""
    rows = [
        {"topic": topic, "position": position or "", "duplicate": duplicate}
        for topic, position, duplicate in published
    ]
    return _encode(codec, "PublishResponse", {"published": rows})


def encode_history(codec: Flag, response: HistoryResponse) -> bytes:
    """Encode the result of `push.History`."""
    rows = [
        {
            "payload": payload,
            "position": position or "",
            "time_ms": int(time * 1000),
            "exclude": list(exclude),
        }
        for _, payload, position, time, exclude in response.messages
    ]
    fields = {
        "messages": rows,
        "position": response.position or "",
        "complete": not response.reason,
        "reason": response.reason,
    }
    return _encode(codec, "HistoryResponse", fields)


def encode_cleared(codec: Flag, position: Position | None) -> bytes:
    """Encode the result of `push.ClearHistory`."""
    return _encode(codec, "ClearHistoryResponse", {"position": position or ""})


def _encode(codec: Flag, kind: str, fields: dict[str, Any]) -> bytes:
    if codec is Flag.PROTO:
        from rr_py_ws.wire.push_protobuf import encode_message

        return encode_message(kind, fields)
    return encode_result(codec, fields)


def _parse(kind: str, body: bytes) -> Any:
    from rr_py_ws.wire.push_protobuf import decode_message

    return decode_message(kind, body)


def _fields(codec: Flag, body: bytes) -> dict[str, Any]:
    try:
        return _map(decode_value(codec, body, texts=False), "the body")
    except UndecodedError:
        raise RPCError("the body cannot be decoded") from None


def _map(found: Any, what: str) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise RPCError(f"{what}: not an object")
    return {
        _IN_TWO_WORDS.get(name := text.lower(), name): value
        for key, value in found.items()
        if isinstance(text := _as_text(key), str)
    }


def _as_text(value: Any) -> Any:
    """Make a text of one of msgpack, which is decoded only where it is one: payloads are not."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _message(fields: dict[str, Any], codec: Flag) -> PushMessage:
    return PushMessage(
        _texts(fields, "topics"),
        _payload(fields.get("payload"), codec),
        tuple(_texts(fields, "exclude")),
        _text(fields, "idempotency_key"),
        _flag(fields, "skip_history"),
    )


def _list(fields: dict[str, Any], key: str) -> list[Any]:
    found = fields.get(key)
    if found is not None and not isinstance(found, list):
        raise RPCError(f"{key} is not a list")
    return found or []


def _texts(fields: dict[str, Any], key: str) -> list[str]:
    found = list(map(_as_text, _list(fields, key)))
    if not all(isinstance(text, str) for text in found):
        raise RPCError(f"{key} is not a list of texts")
    return found


def _text(fields: dict[str, Any], key: str) -> str:
    found = _as_text(fields.get(key))
    if found is not None and not isinstance(found, str):
        raise RPCError(f"{key} is not a text")
    return found or ""


def _flag(fields: dict[str, Any], key: str) -> bool:
    found = fields.get(key)
    if found is not None and not isinstance(found, bool):
        raise RPCError(f"{key} is neither true nor false")
    return bool(found)


def _payload(found: Any, codec: Flag) -> bytes:
    if found is None:
        return b""
    if isinstance(found, bytes):
        return found
    try:
        if isinstance(found, str):
            return decode_base64(found)
    except ValueError:
        pass
    raise RPCError("payload is not base64" if codec is Flag.JSON else "payload is not binary")


def _check_size(body: bytes, most: int) -> None:
    if len(body) > most:
        raise RPCError(f"the argument has {len(body)} bytes, {most} are allowed")


def _check(messages: Sequence[PushMessage]) -> None:
    if sum(len(message.topics) for message in messages) > MOST_PUBLISHED:
        raise RPCError(f"more than {MOST_PUBLISHED} messages times topics in one call")
    for message in messages:
        if "" in message.topics:
            raise RPCError("a topic is empty")
        if len(message.exclude) > _MOST_EXCLUDED:
            raise RPCError(f"more than {_MOST_EXCLUDED} ids in exclude")
        if any(not 0 < len(id) <= _LONGEST_ID for id in message.exclude):
            raise RPCError(f"exclude: an id has 1 to {_LONGEST_ID} characters")
        if len(message.idempotency_key.encode("utf-8", "surrogateescape")) > _LONGEST_KEY:
            raise RPCError(f"idempotency_key has more than {_LONGEST_KEY} bytes")


def _with_topic(request: _Request) -> _Request:
    if not request.topic:
        raise RPCError("topic is missing")
    return request
