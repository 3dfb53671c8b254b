"""Commands of browsers: one WebSocket message is one JSON object.

The rules are those of RoadRunner 2.11.4, whose target was a protobuf struct read by goccy/go-json: key case
is ignored, unknown keys are ignored, the last of repeated keys wins, null is the zero value, what follows a
NUL is ignored. Stricter where Go's parser was sloppy: raw control characters inside strings and numbers with
leading zeros are errors.

Three keys are ours. What is sent in them and is not of these types is ignored, as RoadRunner would:

* `id` (a string, or a whole number of 64 bits): the client is told more. Its replies carry the id, refusals a
  reason, and commands that RoadRunner would drop in silence are answered.
* `me` (a string of up to 64 characters): the client's own name for itself, for `exclude`.
* `history` (an object, or true) of a join: what the client wants of the histories of its topics.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, NoReturn

import orjson

from rr_py_ws.errors import CommandError
from rr_py_ws.wire.go_base64 import decode_base64
from rr_py_ws.wire.position import LONGEST

_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class
_FIELDS = frozenset({"command", "topics", "payload", "broker", "id", "me", "history"})
_TEXTS = frozenset({str})
_TEXTS_OR_NONE = frozenset({str, type(None)})
_LONGEST_ME = 64
"""Characters of the name that a client gives itself."""
_ROADRUNNER_1 = re.compile(rb'"topic"\s*:\s*"(?:join|leave)"')
_WRITE_INSTEAD = (
    "a command of RoadRunner 1, as @spiralscout/websockets sends it;"
    ' this server reads {"command":"join","topics":["news"]}'
)
_KNOWN = 1024
"""Small commands that are remembered: those who come to a topic send the same. They take less than 2 MiB,"""
_LONGEST_KNOWN = 128
"""for one has so many bytes at most."""
_SURROGATES = re.compile("([\ud800-\udfff])")


OnSlow = Callable[[int], object]
Wish = str | int
"""What a client wants of the history of a topic: what came after a position, or so many of the newest."""
FROM_NOW, UNKNOWN = 0, ""
"""Nothing but positions; and what is no position of any history."""
_MOST = 2**31


class Command(NamedTuple):
    """One decoded command.

    Attributes:
        name: `join`, `leave`, `headers` or anything else; empty when missing.
        topics: None when missing or null, which replies tell apart from an empty list.
        broker: what RoadRunner 2.3.0 took for the name of a broker; empty when missing.
        id: what the client wants to see in the reply; None when it did not ask.
        me: the client's own name for itself; empty when it did not say.
        history: topic -> wish, in the order of the topics; None without the key.
    """

    name: str = ""
    topics: list[str] | None = None
    broker: str = ""
    id: str | int | None = None
    me: str = ""
    history: Mapping[str, Wish] | None = None


_known: dict[bytes, Command] = {}


def decode_command(message: bytes, on_slow: OnSlow = int) -> Command:
    """Decode one message.

    What is returned may be the same object for clients that send the same, so nobody may change it.

    Args:
        message: one object of JSON, as a client has sent it.
        on_slow: gets the number of bytes that have to be read slowly, before they are.

    Raises:
        CommandError: the message is not a JSON object, or a known key has a value of the wrong type; then the
            error carries the command's id, so that the client can be told.
    """
    command = _known.get(message)
    if command is None:
        if len(message) > _LONGEST_KNOWN:
            return _decode(message, on_slow)
        slow: list[int] = []
        try:
            command = _decode(message, slow.append)
        finally:
            for size in slow:
                on_slow(size)
        if not slow and not command.me:  # else each costs as much, or nobody else sends the same
            if len(_known) >= _KNOWN:
                _known.clear()
            _known[message] = command
    return command


def _decode(message: bytes, on_slow: OnSlow) -> Command:
    fields = _known_fields(message, on_slow)
    if len(fields) == 2:  # what nearly all clients send: a join or a leave of one topic, and nothing else
        name, topics = fields.get("command"), fields.get("topics")
        if type(name) is str and type(topics) is list and len(topics) == 1 and type(topics[0]) is str:
            return _new(Command, (name, topics, "", None, "", None))
    id = fields.get("id")
    if not isinstance(id, str) and not (type(id) is int and -(2**63) <= id < 2**64):
        id = None
    name, topics, broker = fields.get("command"), fields.get("topics"), fields.get("broker")
    if name is None and _ROADRUNNER_1.search(message):
        raise CommandError(_WRITE_INSTEAD, id)
    if name is not None and not isinstance(name, str):
        raise CommandError("command is not a string", id)
    if topics is not None:
        if not isinstance(topics, list):
            raise CommandError("topics is not a list", id)
        kinds = set(map(type, topics))  # faster than a look at each, and there may be 30,000
        if kinds != _TEXTS and kinds:
            if not kinds <= _TEXTS_OR_NONE:
                raise CommandError("a topic is not a string", id)
            topics = ["" if topic is None else topic for topic in topics]  # the zero value of an element
    # The payload is never used, but Go refuses the whole command when it cannot be decoded.
    payload = fields.get("payload")
    if payload is not None and payload != "" and not _is_bytes(payload):
        raise CommandError("payload is neither base64 nor a list of bytes", id)
    broker = broker if isinstance(broker, str) else ""
    if "me" not in fields and "history" not in fields:
        return _new(Command, (name or "", topics, broker, id, "", None))
    me = fields.get("me")
    if not isinstance(me, str) or len(me) > _LONGEST_ME:
        me = ""
    return Command(name or "", topics, broker, id, me, _wishes(fields.get("history"), topics or ()))


def _wishes(history: Any, topics: Sequence[str]) -> dict[str, Wish] | None:
    """Decode what is wanted of the histories of these topics; names of others are ignored."""
    if history is True:
        return dict.fromkeys(topics, FROM_NOW)
    if not isinstance(history, dict | tuple):  # a tuple of pairs when it was read slowly
        return None
    wanted = dict(history)
    # Each once: a wish may be as long as the list, in which a topic may stand thousands of times.
    wishes = {
        topic: wish for topic in dict.fromkeys(topics) if (wish := _wish(wanted.get(topic))) is not None
    }
    return wishes or None


def _wish(found: Any) -> Wish | None:
    if found is None or found is False:
        return None
    if found is True:
        return FROM_NOW
    if isinstance(found, str):
        return found if len(found) <= LONGEST else UNKNOWN  # what is kept with a wish shall be small
    count = dict(found).get("last") if isinstance(found, dict | tuple) else None
    return min(count, _MOST) if type(count) is int and count >= 0 else UNKNOWN


def _known_fields(message: bytes, on_slow: OnSlow) -> dict[str, Any]:
    try:
        value = orjson.loads(message)
    except orjson.JSONDecodeError:
        # Clients in C send the end of their text, too. Go's parser ends there.
        text, end, _ = message.partition(b"\0")
        return _known_fields(text, on_slow) if end else _known_fields_slowly(message, on_slow)
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
                return _known_fields_slowly(message, on_slow)
            fields[name] = item
    return fields


def _known_fields_slowly(message: bytes, on_slow: OnSlow) -> dict[str, Any]:
    """Read what orjson refuses or cannot tell: lone surrogate escapes, bytes that are not UTF-8, key order.

    Bytes that are not UTF-8 are kept, as surrogates; the escapes of lone surrogates become U+FFFD, which is
    what Go makes of them. So that one does not pass for the other, a message with both is read once more with
    question marks in place of such bytes.
    """
    on_slow(len(message))
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
            decode_base64(payload)
        except ValueError:
            return False
        return True
    if not isinstance(payload, list) or not set(map(type, payload)) <= {int}:
        return False
    try:
        bytes(payload)
    except ValueError:  # a number over 255, or below 0
        return False
    return True
