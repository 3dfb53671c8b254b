"""What an application may say beside yes: the JSON body of an answer with the content type of this module.

::

    to a handshake  {"user": "42", "info": {...}, "expire": 3600, "join": ["user.42"], "allow": ["news.*"]}
    to a join       {"history": false}, or {"history": {"news": false}}

Each key may be left out, others are ignored. Whatever is not as it should be makes the answer invalid: an
application that has meant to limit a client must not find that it was let in without the limit.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import orjson

from rr_py_ws.errors import WorkerError

DETAILS_TYPE = "application/vnd.rr-ws+json"
LONGEST_USER = 128
LONGEST_INFO = 2048
_LONGEST_LIFE = 366 * 24 * 3600.0
"""Seconds; no connection is older."""


class Identity(NamedTuple):
    """What an authorizer has said of the client behind a connection; never what the client said itself.

    Attributes:
        user: the application's own name of the user.
        info: JSON that other clients may see.
    """

    user: str
    info: bytes = b""


class Details(NamedTuple):
    """What was said beside yes.

    Attributes:
        identity: of the client; None for an anonymous one.
        expire: seconds after which the connection ends; None: it does not.
        join: topics that the client is put into.
        allow: patterns of topics that it may join without a question.
        without_history: topics of this join whose history the client may not see.
        without_histories: whether these are all of them.
    """

    identity: Identity | None = None
    expire: float | None = None
    join: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    without_history: frozenset[str] = frozenset()
    without_histories: bool = False


NO_DETAILS = Details()


def decode_details(body: bytes) -> Details:
    """Decode a body.

    Raises:
        WorkerError: it is not as it should be.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _wrong(f"is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise _wrong("is not an object")
    hidden, all_hidden = _hidden(found.get("history"))
    return Details(
        _identity(found.get("user"), found.get("info")),
        _expire(found.get("expire")),
        _texts(found.get("join"), "join"),
        _texts(found.get("allow"), "allow"),
        hidden,
        all_hidden,
    )


def _identity(user: Any, info: Any) -> Identity | None:
    try:
        encoded = b"" if info is None else orjson.dumps(info)
    except orjson.JSONEncodeError:  # it writes fewer levels than it reads
        raise _wrong("has an info of too many levels") from None
    if len(encoded) > LONGEST_INFO:
        raise _wrong(f"has an info of {len(encoded)} bytes, {LONGEST_INFO} are allowed")
    if user is None:
        return None
    if type(user) is int:
        user = str(user)
    if not isinstance(user, str) or not user:
        raise _wrong("has a user that is neither a text nor a whole number")
    if len(user.encode()) > LONGEST_USER:
        raise _wrong(f"has a user of more than {LONGEST_USER} bytes")
    return Identity(user, encoded)


def _expire(expire: Any) -> float | None:
    if expire is None:
        return None
    if type(expire) not in (int, float) or not 0 < expire < math.inf:
        raise _wrong("has an expire that is not a number of seconds above 0")
    return min(float(expire), _LONGEST_LIFE)


def _texts(found: Any, key: str) -> tuple[str, ...]:
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(text, str) and text for text in found):
        raise _wrong(f"has a {key} that is not a list of texts")
    return tuple(dict.fromkeys(found))


def _hidden(history: Any) -> tuple[frozenset[str], bool]:
    if history is None or isinstance(history, bool):
        return frozenset(), history is False
    if not isinstance(history, dict) or not all(isinstance(shown, bool) for shown in history.values()):
        raise _wrong("has a history that is neither true nor false, nor an object of these by topic")
    return frozenset(topic for topic, shown in history.items() if not shown), False


def _wrong(what: str) -> WorkerError:
    return WorkerError(f"the body of the answer, {DETAILS_TYPE}, {what}")
