"""Which reply a command may have. A server that answers anything else has lost count, or is no Redis.

Replies come in the order of the requests and carry nothing that says whose they are: a server that does not
answer `PUBLISH` but answers the next command would be believed to have published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rr_py_ws.errors import BrokerError

_MOST_SHOWN = 60


class Confirmation(NamedTuple):
    """A server says that a channel is subscribed, or is not any more.

    Attributes:
        word: the command, in lower case.
        name: of the channel.
    """

    word: bytes
    name: bytes


def _is_ok(reply: Any) -> bool:
    return bool(reply == b"OK")


def _is_anything(reply: Any) -> bool:
    return True


def _is_count(reply: Any) -> bool:
    return type(reply) is int and reply >= 0


def is_pong(reply: Any) -> bool:
    """Whether it answers `PING`, on a connection that is subscribed or not."""
    return reply in (b"PONG", [b"pong", b""])


_VALID: dict[object, Callable[[Any], bool]] = {
    "AUTH": _is_ok,
    "SELECT": _is_ok,
    "CLIENT": _is_ok,
    "PING": is_pong,
    "PUBLISH": _is_count,
    "SPUBLISH": _is_count,
    **dict.fromkeys(
        ("SUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "SUNSUBSCRIBE"),
        lambda reply: type(reply) is list and len(reply) == 3,
    ),
    "HELLO": lambda reply: type(reply) is list and len(reply) % 2 == 0,
    "ROLE": lambda reply: type(reply) is list and bool(reply) and type(reply[0]) is bytes,
    "CLUSTER INFO": lambda reply: type(reply) is bytes,
    "CLUSTER SLOTS": lambda reply: type(reply) is list,
    "SENTINEL": lambda reply: reply is None or type(reply) is list,
}


def find_check(arguments: tuple[object, ...]) -> Callable[[Any], bool]:
    """Return what tells whether a command may have a reply; errors are not asked about."""
    first, *rest = arguments
    return _VALID.get(f"{first} {rest[0]}" if first == "CLUSTER" else first, _is_anything)


def unexpected(command: object, reply: Any) -> BrokerError:
    """Make the error for a reply that a command cannot have, of one short line."""
    name = command.decode() if isinstance(command, bytes) else command
    if isinstance(reply, bytes):
        shown = ascii(reply[:_MOST_SHOWN])
    elif isinstance(reply, list):
        shown = f"a list of {len(reply)}"
    else:
        shown = ascii(reply)[:_MOST_SHOWN]
    return BrokerError(f"it answered {name} with {shown}")


def read_confirmation(reply: Any) -> Confirmation | None:
    """Read a reply to a command that subscribes or unsubscribes; None when it is something else.

    The third element is the number of channels that the connection is subscribed to then.
    """
    match reply:
        case [bytes(word), bytes(name), count] if type(count) is int and count >= (b"un" not in word):
            return Confirmation(word, name)
    return None
