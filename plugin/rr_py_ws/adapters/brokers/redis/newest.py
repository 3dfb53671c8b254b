"""The newest message of each topic that a node knows of, so that Redis can tell when it has lost it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from rr_py_ws.wire.position import StreamPosition, decode_position, is_older

_MOST_SEEN = 10_000
"""Topics whose newest message is remembered."""


class Newest:
    """What servers have named, and what has arrived.

    Args:
        handed_over: tells the newest message of a topic that has arrived here.
    """

    def __init__(self, handed_over: Callable[[str], StreamPosition | None]) -> None:
        self._handed_over = handed_over
        # What a server has named, and the connection by which.
        self._seen: OrderedDict[str, tuple[bytes, int]] = OrderedDict()
        self._connection = 0

    def connected(self) -> None:
        """There is a connection, maybe to another server than before."""
        self._connection += 1

    def see(self, topic: str, position: bytes) -> None:
        """A server has named the newest message of a topic."""
        self._seen[topic] = position, self._connection
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)

    def seen(self, topic: str) -> StreamPosition | None:
        """Return the newest message of a topic that a server has named."""
        seen = self._seen.get(topic)
        return None if seen is None else decode_position(seen[0].decode())

    def known(self, topic: str) -> StreamPosition | None:
        """Return the newest message of a topic that has arrived here, or that a server has named."""
        arrived, seen = self._handed_over(topic), self.seen(topic)
        if arrived is None or seen is None:
            return arrived or seen
        if seen.epoch == arrived.epoch:
            return seen if seen.offset > arrived.offset else arrived
        return seen if is_older(arrived.epoch, seen.epoch) else arrived

    def unverified(self, topic: str) -> StreamPosition | None:
        """Return the same, if the server may not be the one that has named it."""
        seen = self._seen.get(topic)
        return self.known(topic) if seen is None or seen[1] != self._connection else None
