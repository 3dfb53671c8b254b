"""Commands of browsers: one WebSocket message is one JSON object.

The rules are those of RoadRunner 2.11.4, whose target was a protobuf struct read by goccy/go-json: key case
is ignored, unknown keys are ignored, the last of repeated keys wins, null is the zero value. Stricter where
Go's parser was sloppy: raw control characters inside strings and numbers with leading zeros are errors.

One key is ours: `id` (a string, or a whole number of 64 bits). A client that sends it is told more: its
replies carry the id, refusals a reason, and commands that RoadRunner would drop in silence are answered.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from rr_py_ws.errors import CommandError

_FIELDS = frozenset({"command", "topics", "payload", "broker", "id"})
_SURROGATES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
"""Walks over the escapes of a JSON text; the group matches those of surrogates without a partner."""


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
        CommandError: the message is not a JSON object, or a known key has a value of the wrong type; then the
            error carries the command's id, so that the client can be told.
    """
    fields = _known_fields(message)
    id = fields.get("id")
    if not isinstance(id, str) and not (type(id) is int and -(2**63) <= id < 2**64):
        id = None
    name, topics, broker = fields.get("command"), fields.get("topics"), fields.get("broker")
    if name is not None and not isinstance(name, str):
        raise CommandError("command is not a string", id)
    if topics is not None:
        if not isinstance(topics, list):
            raise CommandError("topics is not a list", id)
        if None in topics:  # the zero value of an element
            topics = ["" if topic is None else topic for topic in topics]
        if not all(isinstance(topic, str) for topic in topics):
            raise CommandError("a topic is not a string", id)
    # The payload is never used, but Go refuses the whole command when it cannot be decoded.
    payload = fields.get("payload")
    if payload is not None and payload != "" and not _is_bytes(payload):
        raise CommandError("payload is neither base64 nor a list of bytes", id)
    return Command(name or "", topics, broker if isinstance(broker, str) else "", id)


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
    """Read what orjson refuses or cannot tell: lone surrogate escapes, bytes that are not UTF-8, key order.

    Bytes that are not UTF-8 are kept, as surrogates; so that the escapes of lone surrogates do not become the
    same, they are replaced by U+FFFD before, which is what Go makes of them.
    """
    text = message.decode("utf-8", "surrogateescape")
    text = _SURROGATES.sub(lambda escape: r"\ufffd" if escape[1] else escape[0], text)
    try:
        value = json.loads(text, object_pairs_hook=tuple, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"not JSON: {error}") from None
    if not isinstance(value, tuple):
        raise CommandError("a command is a JSON object")
    return {name: item for key, item in value if (name := key.lower()) in _FIELDS}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _is_bytes(payload: Any) -> bool:
    """Return whether Go could decode a payload as bytes."""
    if isinstance(payload, str):
        try:
            base64.b64decode(payload.replace("\r", "").replace("\n", ""), validate=True)
        except (binascii.Error, ValueError):  # ValueError: not ASCII
            return False
        return True
    return isinstance(payload, list) and all(type(item) is int and 0 <= item <= 255 for item in payload)
