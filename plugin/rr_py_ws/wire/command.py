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
from itertools import accumulate
from typing import Any, NoReturn

import orjson

from rr_py_ws.errors import CommandError

_FIELDS = frozenset({"command", "topics", "payload", "broker", "id"})
_SURROGATES = re.compile("([\ud800-\udfff])")


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
        kinds = set(map(type, topics))  # faster than a look at each, and there may be 30,000
        if type(None) in kinds:  # the zero value of an element
            topics = ["" if topic is None else topic for topic in topics]
        if not kinds <= {str, type(None)}:
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

    Bytes that are not UTF-8 are kept, as surrogates; the escapes of lone surrogates become U+FFFD, which is
    what Go makes of them. So that one does not pass for the other, a message with both is read once more with
    question marks in place of such bytes.
    """
    text = message.decode("utf-8", "surrogateescape")
    fields = escaped = _load(text)
    if b"\\ud" not in message and b"\\uD" not in message:
        return fields
    if (marked := text.encode("utf-8", "replace")) != message:
        escaped = _load(marked.decode())
    for name, item in fields.items():
        texts, others = _texts(item), _texts(escaped[name])
        if texts is not None and others is not None:
            mended = _without_surrogates(texts, others)
            fields[name] = mended[0] if isinstance(item, str) else mended
    return fields


def _texts(item: Any) -> list[str] | None:
    """Return a text, or a list of texts, as a list; null is the zero value of a text."""
    if isinstance(item, str):
        return [item]
    if isinstance(item, list) and set(map(type, item)) <= {str, type(None)}:
        return ["" if text is None else text for text in item]
    return None


def _load(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=tuple, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"not JSON: {error}") from None
    if not isinstance(value, tuple):
        raise CommandError("a command is a JSON object")
    return {name: item for key, item in value if (name := key.lower()) in _FIELDS}


def _without_surrogates(texts: list[str], escaped: list[str]) -> list[str]:
    """Return the texts with U+FFFD wherever `escaped`, which is as long, has a surrogate.

    All together, because a list may have thousands of them.
    """
    text = "".join(texts)
    if texts == escaped:  # no byte that is not UTF-8 is in them: each surrogate is an escape
        text = _SURROGATES.sub("\ufffd", text)
    else:
        places = [0, *accumulate(map(len, _SURROGATES.split("".join(escaped))))]
        # Every other part that is split off is a surrogate.
        text = "\ufffd".join(map(text.__getitem__, map(slice, places[::2], places[1::2])))
    ends = [0, *accumulate(map(len, texts))]
    return list(map(text.__getitem__, map(slice, ends, ends[1:])))


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
    if not isinstance(payload, list) or not set(map(type, payload)) <= {int}:
        return False
    try:
        bytes(payload)
    except ValueError:  # a number over 255, or below 0
        return False
    return True
