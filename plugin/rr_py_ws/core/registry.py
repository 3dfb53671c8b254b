"""The open connections of this node: by connection id, and by user."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterator
from typing import Generic, Protocol, TypeVar

from rr_py_ws.wire.details import Identity


class Client(Protocol):
    """A connection, as the registry sees it. Compared by identity.

    Attributes:
        id: unguessable; made by `new_id`.
        identity: None for an anonymous connection; fixed while the connection is registered.
    """

    id: str
    identity: Identity | None


_Client = TypeVar("_Client", bound=Client)


_ID = 22
_RANDOM = 66 * 16
"""Bytes that are asked of the kernel at once, for 64 ids: each time is a system call."""
_ids: list[str] = []
# Two processes must never have the same ones.
os.register_at_fork(after_in_child=_ids.clear)


def new_id() -> str:
    """Make the id of a connection: 132 random bits as 22 characters that are safe in a URL."""
    if not _ids:
        text = secrets.token_urlsafe(_RANDOM)
        _ids.extend([text[at : at + _ID] for at in range(0, len(text), _ID)])
    return _ids.pop()


class Registry(Generic[_Client]):
    """Connections by id, and those of a user together."""

    def __init__(self) -> None:
        self._by_id: dict[str, _Client] = {}
        self._by_user: dict[str, dict[_Client, None]] = {}

    def __len__(self) -> int:
        """Return the number of connections."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[_Client]:
        """Yield the connections in the order in which they were added."""
        return iter(self._by_id.values())

    def add(self, client: _Client) -> None:
        """Add a connection."""
        self._by_id[client.id] = client
        if client.identity is not None:
            self._by_user.setdefault(client.identity.user, {})[client] = None

    def discard(self, client: _Client) -> None:
        """Remove a connection, if it is there."""
        if self._by_id.pop(client.id, None) is None or client.identity is None:
            return
        user = client.identity.user
        connections = self._by_user[user]
        del connections[client]
        if not connections:
            del self._by_user[user]

    def get(self, id: str) -> _Client | None:
        """Return the connection with this id."""
        return self._by_id.get(id)

    def of_user(self, user: str) -> Collection[_Client]:
        """Return the connections of a user."""
        return tuple(self._by_user.get(user, ()))
