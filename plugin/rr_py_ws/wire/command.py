"""Commands of browsers: one WebSocket message is one JSON object.

The rules are those of RoadRunner 2.11.4, whose target was a protobuf struct read by goccy/go-json: key case
is ignored, unknown keys are ignored, the last of repeated keys wins, null is the zero value. Stricter where
Go's parser was sloppy: raw control characters inside strings and numbers with leading zeros are errors.

One key is ours: `id` (a string or a whole number). A client that sends it is told more: its replies carry
the id, refusals a reason, and commands that RoadRunner would drop in silence are answered.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from rr_py_ws.errors import CommandError

_FIELDS = frozenset({"command", "topics", "payload", "broker", "id"})
_REPLACEMENT = "�"


@dataclass(frozen=True, slots=True)
class Command:
    """One decoded command.

    Attributes:
        name: `join`, `leave`, `headers` or anything else; empty when missing.
        topics: None when missing or null, which replies tell apart from an empty list.
        broker: the `broadcast` section it is meant for; empty for the default.
        id: what the client wants to see in the reply; None when it did not ask.
    """

    name: str = ""
    topics: list[str] | None = None
    broker: str = ""
    id: str | int | None = None


def decode_command(message: bytes) -> Command:
    """Decode one message.

    Raises:
        CommandError: the message is no JSON object, or a known key has a value of the wrong type.
    """
    fields = _known_fields(message)
    _check_payload(fields.get("payload"))
    broker = fields.get("broker")
    id = fields.get("id")
    return Command(
        name=_text(fields.get("command"), "command"),
        topics=_topics(fields.get("topics")),
        broker=broker if isinstance(broker, str) else "",
        id=id if isinstance(id, str | int) and not isinstance(id, bool) else None,
    )


def _known_fields(message: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(message)
    except orjson.JSONDecodeError:
        return _known_fields_slowly(message)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CommandError("a command is a JSON object")
    if _FIELDS.issuperset(value):
        return value
    fields = {}
    for key, item in value.items():
        name = key.lower()
        if name in _FIELDS:
            if name in fields:  # "Topics" beside "topics": the order in the text decides
                return _known_fields_slowly(message)
            fields[name] = item
    return fields


def _known_fields_slowly(message: bytes) -> dict[str, Any]:
    """Read what orjson refuses or cannot tell: lone surrogate escapes, bytes that are no UTF-8, key order."""
    try:
        text, keep = message.decode(), False
    except UnicodeDecodeError:
        text, keep = message.decode("utf-8", "surrogateescape"), True
    try:
        value = json.loads(text, object_pairs_hook=tuple, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"not JSON: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, tuple):
        raise CommandError("a command is a JSON object")
    fields: dict[str, Any] = {}
    for key, item in value:
        name = key.lower()
        if name in _FIELDS:
            fields[name] = _without_surrogates(item, keep)
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _without_surrogates(value: Any, keep_bytes: bool) -> Any:
    """Replace lone surrogates by U+FFFD as Go does; undecodable bytes stay what they are."""
    if isinstance(value, str):
        return "".join(
            _REPLACEMENT if "\ud800" <= char <= "\udfff" and not (keep_bytes and char >= "\udc80") else char
            for char in value
        )
    if isinstance(value, list):
        return [_without_surrogates(item, keep_bytes) for item in value]
    return value


def _text(value: Any, key: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CommandError(f"{key} is no string")
    return value


def _topics(value: Any) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise CommandError("topics is no list")
    return [_text(item, "a topic") for item in value]


def _check_payload(value: Any) -> None:
    """Refuse what Go refuses; the payload itself is never used."""
    if value is None or value == "":
        return
    if isinstance(value, str):
        try:
            base64.b64decode(value.replace("\r", "").replace("\n", ""), validate=True)
        except (binascii.Error, ValueError):
            raise CommandError("payload is no base64") from None
    elif not isinstance(value, list) or not all(type(item) is int and 0 <= item <= 255 for item in value):
        raise CommandError("payload is neither base64 nor a list of bytes")
