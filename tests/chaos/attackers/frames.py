"""Clients that send frames of which few make a message."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.attackers.commands import small_commands
from chaos.attackers.connection import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Attack,
    Connection,
    Target,
    deflate,
    frame,
    message,
)

_PIECE = 32 * 1024


def flooding(data: bytes, *, first: bytes = b"", deflated: bool = False) -> Attack:
    """Attack by the same frames again and again, in pieces of about 32 KiB; answers are read.

    Args:
        data: what is sent again and again.
        first: what is sent once before.
        deflated: whether compression is agreed on.
    """
    piece = data * max(1, _PIECE // len(data))

    def attack(target: Target) -> Iterator[None]:
        connection = Connection(target.web)
        try:
            connection.upgrade(deflated=deflated)
            connection.send(first)
            while True:
                connection.send(piece)
                yield
        finally:
            connection.close()

    return attack


def fragments(payload: bytes, *, deflated: bool = False) -> bytes:
    """A message in fragments of one byte."""
    data = deflate(payload) if deflated else payload
    first = frame(TEXT, data[:1], fin=False, compressed=deflated)
    middle = b"".join(frame(CONTINUATION, data[at : at + 1], fin=False) for at in range(1, len(data)))
    return first + middle + frame(CONTINUATION)


def trickle(target: Target) -> Iterator[None]:
    """Send commands, a byte in each packet."""
    connection = Connection(target.web)
    try:
        connection.upgrade()
        for text in small_commands():
            for byte in message(TEXT, text, False):
                connection.send(bytes((byte,)))
            yield
    finally:
        connection.close()


_LONG_JOIN = b'{"command":"join","topics":["%b"]}' % (b"x" * 1000)
_MANY_NAMES = b'{"command":"join","topics":[%b]}' % b",".join(b'"%d"' % number for number in range(1000))

FRAMES: dict[str, Attack] = {
    "pings": flooding(frame(PING, bytes(125))),
    "empty-pings": flooding(frame(PING)),
    "pongs": flooding(frame(PONG, bytes(125))),
    "fragments": flooding(fragments(_LONG_JOIN)),
    "fragments-deflated": flooding(fragments(_MANY_NAMES, deflated=True), deflated=True),
    "empty-fragments": flooding(frame(CONTINUATION, fin=False), first=frame(TEXT, fin=False)),
    "empty-messages": flooding(frame(TEXT) + frame(BINARY)),
    "small-commands": flooding(
        b"".join(message(TEXT, text, False) for text, _ in zip(small_commands(), "12", strict=False))
    ),
    "trickle": trickle,
}
