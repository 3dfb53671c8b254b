"""The argument and the result of `Publish` and `PublishAsync`, in all codecs.

There are two schemas with clashing field numbers; the name of the RPC service decides which one a body has:
`broadcast.*` has topics and payload, `websockets.*` (RoadRunner 2.3.0 only) has a broker as well. `command`
is ignored in both.

JSON and msgpack bodies are read as Go reads them: key case and unknown keys are ignored, null is the zero
value. Payloads are base64 or a list of numbers in JSON, binary or string in msgpack. What is not as it should
be is read once more, slowly, by `go_json` or `go_msgpack`, which know RoadRunner's texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

from rr_py_ws.errors import RPCError
from rr_py_ws.wire import go_base64, go_json, go_msgpack
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.values import OnSlow, UndecodedError, decode_value, encode_result, ignore_slow

_PROTO = Flag.PROTO  # members of an enum are slow to look up
_OK = b"\x08\x01"  # field 1, true; both schemas have the same response
_OKS = {codec: encode_result(codec, {"ok": True}) for codec in (Flag.JSON, Flag.MSGPACK)}
_PIECE = 512
"""Messages that are decoded at a time: about a millisecond."""
_PIECE_BYTES = 256 * 1024
"""Bytes of payloads in JSON, or of topics in msgpack, that are decoded at a time: about a millisecond."""
LONGEST_NAME = 256 * 1024
"""Characters of a topic: far more than a client can say. What is done with a name is done in one go."""
_LONGEST_KEY = 32
"""Bytes of a name that may be one of a field; of longer ones nobody looks at the letters."""
_WALKS = {Flag.JSON: go_json.read_messages, Flag.MSGPACK: go_msgpack.read_messages}


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


def decode_broadcast(codec: Flag, body: bytes, on_slow: OnSlow = ignore_slow) -> list[Message]:
    """Decode the argument of a `broadcast` method; `on_slow` gets the bytes that were read slowly.

    Raises:
        RPCError: the body cannot be decoded.
    """
    if codec is not _PROTO:
        return _decode_plain(codec, body, on_slow, has_broker=False)
    return _protobuf()[0](body, has_broker=False)


def decode_websockets(codec: Flag, body: bytes, on_slow: OnSlow = ignore_slow) -> list[Message]:
    """Decode the argument of a `websockets` method; `on_slow` gets the bytes that were read slowly.

    Raises:
        RPCError: the body cannot be decoded.
    """
    if codec is not _PROTO:
        return _decode_plain(codec, body, on_slow, has_broker=True)
    return _protobuf()[0](body, has_broker=True)


def decode_pieces(
    codec: Flag, body: bytes, on_slow: OnSlow = ignore_slow, *, has_broker: bool
) -> Iterator[list[Message]]:
    """Decode the argument of a method of either service; yields some of its messages at a time.

    What is wrong behind a piece shows only when that is decoded.

    Raises:
        RPCError: the body cannot be decoded.
    """
    if codec is not _PROTO:
        try:
            values = _messages(codec, body)
        except UndecodedError:
            values = _WALKS[codec](body, has_broker=has_broker)
            on_slow(len(body))
        yield []
        for start in range(0, len(values), _PIECE):
            for _ in _decode_large(values[start : start + _PIECE], codec):
                yield []
            try:
                piece = _convert(values[start : start + _PIECE], codec, has_broker=has_broker)
            except UndecodedError:
                values = _WALKS[codec](body, has_broker=has_broker)
                on_slow(len(body))
                piece = _convert(values[start : start + _PIECE], codec, has_broker=has_broker)
            yield piece
        return
    yield from _protobuf()[1](body, _PIECE, has_broker=has_broker)


def encode_ok(codec: Flag, _accepted: object = None) -> bytes:
    """Encode the response that says "accepted".

    Raises:
        RPCError: the codec is raw, which has no form for a response.
    """
    if codec is _PROTO:
        return _OK
    return _OKS.get(codec) or encode_result(codec, {"ok": True})


@cache
def _protobuf() -> tuple[Callable[..., list[Message]], Callable[..., Iterator[list[Message]]]]:
    from rr_py_ws.wire.publish_protobuf import decode_messages, decode_pieces

    return decode_messages, decode_pieces


def _decode_plain(codec: Flag, body: bytes, on_slow: OnSlow, *, has_broker: bool) -> list[Message]:
    try:
        return _convert(_messages(codec, body), codec, has_broker=has_broker)
    except UndecodedError:
        pass
    messages = _convert(_WALKS[codec](body, has_broker=has_broker), codec, has_broker=has_broker)
    on_slow(len(body))
    return messages


def _messages(codec: Flag, body: bytes) -> list[Any]:
    # Text of msgpack stays bytes: that of a payload that is no UTF-8 would be decoded and encoded slowly.
    return _list(_fields(decode_value(codec, body, texts=False)).get("messages"))


def _decode_large(values: list[Any], codec: Flag) -> Iterator[None]:
    """Decode, in place and in pieces, what takes long: payloads in JSON, topics in msgpack.

    What is wrong stays as it is, or becomes what no field can be.
    """
    steps = _payload_steps if codec is Flag.JSON else _topic_steps
    decoded = 0
    for fields in values:
        if isinstance(fields, dict):
            for size in steps(fields):
                decoded += size
                if decoded >= _PIECE_BYTES:
                    yield
                    decoded = 0


def _payload_steps(fields: dict[Any, Any]) -> Iterator[int]:
    """Decode the payload of a message in JSON; yields how much was decoded at a time."""
    for key, value in fields.items():
        if isinstance(value, str) and _name(key) == "payload":
            pieces: list[bytes] = []
            fields[key] = NotImplemented  # unless it is sound
            with suppress(ValueError):
                for piece in go_base64.decode_pieces(value):
                    pieces.append(piece)
                    yield len(piece)
                fields[key] = b"".join(pieces)


def _topic_steps(fields: dict[Any, Any]) -> Iterator[int]:
    """Decode the topics of a message in msgpack; yields how much was decoded at a time.

    Raises:
        RPCError: one is too long.
    """
    for key, value in fields.items():
        if isinstance(value, list) and _name(key) == "topics":
            for at, topic in enumerate(value):
                if isinstance(topic, bytes):
                    value[at] = _text(check_name(topic))
                    yield len(topic)


def check_name(name: Any) -> Any:
    """Return the name of a topic or broker, if it is one, and not too long.

    Raises:
        RPCError: it is too long.
    """
    if isinstance(name, str | bytes) and len(name) > LONGEST_NAME:
        raise RPCError(f"a name of {len(name)} characters, {LONGEST_NAME} are allowed")
    return name


def _convert(values: list[Any], codec: Flag, *, has_broker: bool) -> list[Message]:
    return [_message(_fields(value), codec, has_broker=has_broker) for value in values]


def _message(fields: dict[str, Any], codec: Flag, *, has_broker: bool) -> Message:
    if not isinstance(fields.get("command"), str | bytes | None):
        raise UndecodedError
    return Message(
        _text(check_name(fields.get("broker"))) if has_broker else "",
        [_text(topic) for topic in _list(fields.get("topics"))],
        _payload(fields.get("payload"), is_json=codec is Flag.JSON),
    )


def _fields(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UndecodedError
    return {name: item for key, item in value.items() if (name := _name(key))}


def _name(key: object) -> str:
    """Return the name of a field in lower case; it is empty when none of ours can be meant."""
    return _text(key).lower() if isinstance(key, bytes | str) and len(key) <= _LONGEST_KEY else ""


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise UndecodedError
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise UndecodedError
    return value


def _payload(value: Any, *, is_json: bool) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    try:
        if isinstance(value, str) and is_json:
            return go_base64.decode_base64(value)
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        if isinstance(value, list) and is_json and set(map(type, value)) <= {int}:
            return bytes(value)
    except ValueError as error:
        raise UndecodedError from error
    raise UndecodedError
