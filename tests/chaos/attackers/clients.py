"""Clients of whom it matters when they send, after what, and how many of them there are."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.attackers.commands import bad_bytes, long_answer, refused_joins
from chaos.attackers.connection import (
    BINARY,
    TEXT,
    Attack,
    Connection,
    Stream,
    Target,
    close_all,
    message,
    pour,
)

_MANY = 20
_A_MOMENT = 0.1
_CLOSING = 8
_UNREAD_ANSWERS = 24
"""More than the server and the kernel hold for a client."""
_BOMBS = 16 * 1024


def null_beside_surrogate(target: Target) -> Iterator[None]:
    """Name a topic that is `null` beside half a character: alone, and right behind a command that is dear."""
    bad = message(TEXT, rb'{"command":"join","topics":["\ud800",null]}', False)
    while True:
        for data in (bad, long_answer() + bad):
            connection = Connection(target.web)
            try:
                connection.upgrade()
                connection.send(data)
                yield
                connection.answered(_A_MOMENT)
            finally:
                connection.close()


def many_clients(*, deflated: bool = False) -> Attack:
    """Attack by twenty clients at the same time, each with commands of as many names as fit."""

    def attack(target: Target) -> Iterator[None]:
        data = message(BINARY, next(bad_bytes()), deflated)
        connections: list[Connection] = []
        try:
            while len(connections) < _MANY:
                connections.append(Connection(target.web))
                connections[-1].upgrade(deflated=deflated)
                connections[-1].send(data)
                yield
            yield from pour([Stream(connection, data) for connection in connections])
        finally:
            close_all(connections)

    return attack


def closing_bombs(target: Target) -> Iterator[None]:
    """Read no answers until the server gives us up (1013), then send compressed `refused_joins` for ever.

    The close frame cannot get through, so the server waits for us.
    """
    bomb = message(TEXT, next(refused_joins()), True)
    bombs = bomb * (_BOMBS // len(bomb))
    connections: list[Connection] = []
    try:
        while len(connections) < _CLOSING:
            connections.append(Connection(target.web, receive_buffer=4096))
            connections[-1].upgrade(deflated=True)
        for _ in range(_UNREAD_ANSWERS):
            for connection in connections:
                connection.send_unread(long_answer())
            yield
        yield from pour([Stream(connection, bombs) for connection in connections], unread=True)
    finally:
        close_all(connections)


CLIENTS: dict[str, Attack] = {
    "null-beside-surrogate": null_beside_surrogate,
    "many-clients": many_clients(),
    "many-clients-deflated": many_clients(deflated=True),
    "closing-bombs": closing_bombs,
}
