"""JSON arguments of RPC calls as RoadRunner's decoder reads them: the same values, and the same errors.

RoadRunner decodes them with goccy/go-json 0.9.11 into Go structs. It is laxer than the standard: what it
steps over may have bad numbers, texts may have control characters and bytes that are no UTF-8, a NUL ends the
document, and a surrogate without its other half is U+FFFD. Callers see which of its many texts an error has.
Here is the same walk over the bytes, type by type. It is slow, so it is taken only for what orjson refuses or
what has another type, and only for `MOST` bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from rr_py_ws.errors import RPCError
from rr_py_ws.wire.go_base64 import decode_base64, error_position
from rr_py_ws.wire.go_json_scan import (
    LITERALS,
    deeper,
    invalid_character,
    no_beginning,
    read_literal,
    read_raw_text,
    skip_space,
    skip_text,
    skip_value,
    unescape,
    unexpected_end,
)

MOST = 16 * 1024
"""Bytes, at most, of what is read in this way; about 20 milliseconds."""
_DIGITS = re.compile(rb"0|[1-9][0-9]*")
_NUMBER_STARTS = b"-0123456789"
_EMPTIED_BY_NULL = ("messages", "topics")

_Read = Callable[[bytes, int, int], tuple[Any, int]]
"""Reads a value of one type: gets the bytes, a position and a depth, returns the value and where it ends."""


def read_text(body: bytes) -> str:
    """Read an argument that is a string.

    Raises:
        RPCError: with the text of RoadRunner.
    """
    return _read(body, _text(_into_value("string"))) or ""


def read_bool(body: bytes) -> bool:
    """Read an argument that is a bool.

    Raises:
        RPCError: with the text of RoadRunner.
    """
    return bool(_read(body, _bool))


def read_messages(body: bytes, *, has_broker: bool) -> list[Any]:
    """Read the messages that are the argument of `Publish`, in the newer schema or the older one.

    Raises:
        RPCError: with the text of RoadRunner.
    """
    request = _read(body, _OLD_REQUEST if has_broker else _REQUEST) or {}
    return request.get("messages") or []


def _read(body: bytes, read: _Read) -> Any:
    if len(body) > MOST:
        raise RPCError(f"json: the {len(body)} bytes of the argument cannot be decoded")
    buffer = body + b"\0"
    value, at = read(buffer, 0, 0)
    at = skip_space(buffer, at)
    if buffer[at]:
        raise RPCError(f"invalid character '{chr(buffer[at])}' after top-level value")
    return value


def _into_value(kind: str) -> str:
    return f"Go value of type {kind}"


def _into_field(field: str, kind: str) -> str:
    return f"Go struct field {field} of type {kind}"


def _mismatch(found: str, target: str) -> RPCError:
    return RPCError(f"json: cannot unmarshal {found} into {target}")


def _bool(buffer: bytes, at: int, _depth: int) -> tuple[Any, int]:
    at = skip_space(buffer, at)
    if buffer[at] in LITERALS:
        return read_literal(buffer, at)
    raise unexpected_end("bool")


def _text(target: str) -> _Read:
    found = {ord("["): "array", ord("{"): "object", **dict.fromkeys(_NUMBER_STARTS, "number")}

    def read(buffer: bytes, at: int, _depth: int) -> tuple[str | None, int]:
        at = skip_space(buffer, at)
        char = buffer[at]
        if char == ord('"'):
            raw, at = read_raw_text(buffer, at + 1)
            return unescape(raw).decode("utf-8", "surrogateescape"), at
        if char == ord("n"):
            return read_literal(buffer, at)
        if char in found:
            raise _mismatch(found[char], target)
        raise no_beginning(char)

    return read


def _payload(buffer: bytes, at: int, depth: int) -> tuple[bytes | None, int]:
    """Read bytes: base64, or a list of numbers."""
    at = skip_space(buffer, at)
    if buffer[at] == ord("["):
        numbers, at = _PAYLOAD_NUMBERS(buffer, at, depth)
        return bytes(numbers), at
    text, at = _PAYLOAD_TEXT(buffer, at, depth)
    if text is None:
        return None, at
    problem = error_position(text.encode("utf-8", "surrogateescape"))
    if problem >= 0:
        raise RPCError(f"illegal base64 data at input byte {problem}")
    return decode_base64(text), at


def _byte(buffer: bytes, at: int, _depth: int) -> tuple[int, int]:
    at = skip_space(buffer, at)
    if buffer[at] == ord("n"):
        return 0, read_literal(buffer, at)[1]
    found = _DIGITS.match(buffer, at)
    if found is None:
        # The byte itself, which need not be a character.
        found_text = buffer[at : at + 1].decode("utf-8", "surrogateescape")
        raise _mismatch(f"number {found_text}", _into_value("uint8"))
    if len(found[0]) > 3 or int(found[0]) > 255:
        raise _mismatch(f"number {found[0].decode()}", _into_value("uint8"))
    return int(found[0]), found.end()


def _list(read_item: _Read, target: str) -> _Read:
    def read(buffer: bytes, at: int, depth: int) -> tuple[list[Any] | None, int]:
        depth = deeper(buffer, at, depth)
        at = skip_space(buffer, at)
        char = buffer[at]
        if char == ord("n"):
            return read_literal(buffer, at)
        if char in _NUMBER_STARTS:
            raise _mismatch("number", target)
        if char != ord("["):
            raise unexpected_end("slice")
        at = skip_space(buffer, at + 1)
        items: list[Any] = []
        if buffer[at] == ord("]"):
            return items, at + 1
        while True:
            item, at = read_item(buffer, at, depth)
            items.append(item)
            at = skip_space(buffer, at)
            if buffer[at] == ord("]"):
                return items, at + 1
            if buffer[at] != ord(","):
                raise invalid_character(buffer[at], "slice")
            at += 1

    return read


def _struct(fields: Mapping[str, _Read]) -> _Read:
    """Read an object; names of fields match in any case, others are stepped over."""

    def read(buffer: bytes, at: int, depth: int) -> tuple[dict[str, Any] | None, int]:
        depth = deeper(buffer, at, depth)
        at = skip_space(buffer, at)
        if buffer[at] == ord("n"):
            return read_literal(buffer, at)
        if buffer[at] != ord("{"):
            raise no_beginning(buffer[at])
        at = skip_space(buffer, at + 1)
        values: dict[str, Any] = {}
        if buffer[at] == ord("}"):
            return values, at + 1
        while True:
            at = skip_space(buffer, at)
            if buffer[at] != ord('"'):
                raise no_beginning(buffer[at])
            name, at = _name(buffer, at + 1)
            at = skip_space(buffer, at)
            if buffer[at] != ord(":"):
                raise RPCError("expected colon after object key")
            if name in fields:
                value, at = fields[name](buffer, at + 1, depth)
                # Null leaves a field as it was, but for a list.
                if value is not None or name in _EMPTIED_BY_NULL:
                    values[name] = value
            else:
                at = skip_value(buffer, at + 1, depth)
            at = skip_space(buffer, at)
            if buffer[at] == ord("}"):
                return values, at + 1
            if buffer[at] != ord(","):
                raise RPCError("expected comma after object element")
            at += 1

    return read


def _name(buffer: bytes, at: int) -> tuple[str, int]:
    raw, end = skip_text(buffer, at, "string")
    return raw.decode("latin-1").lower(), end


_PAYLOAD_TEXT = _text(_into_field("Message.Payload", "string"))
_PAYLOAD_NUMBERS = _list(_byte, _into_field("Message.Payload", "[]uint8"))
_TOPIC = _text(_into_field("Message.Topics", "string"))
_FIELDS = {
    "command": _text(_into_field("Message.Command", "string")),
    "topics": _list(_TOPIC, _into_field("Message.Topics", "[]string")),
    "payload": _payload,
}
_BROKER = _text(_into_field("Message.Broker", "string"))
_MESSAGES = _into_field("Request.Messages", "[]*v1.Message")
_REQUEST = _struct({"messages": _list(_struct(_FIELDS), _MESSAGES)})
_OLD_REQUEST = _struct({"messages": _list(_struct({**_FIELDS, "broker": _BROKER}), _MESSAGES)})
