"""Replies that publishers do not take: how much memory they have, and who pays when it is too much.

A publisher that does not read brings no more calls, but those under way are answered all the same, and an
answer of RoadRunner may be as large as a frame. They wait for this publisher and for nobody else.
"""

from __future__ import annotations

from typing import Protocol

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.metrics import RPCMetrics

_limited = logs.get_limited("rpc")


class Reader(Protocol):
    """A connection with replies that its peer has not taken."""

    @property
    def unsent(self) -> int:
        """Bytes of them."""

    def abort(self) -> None:
        """Close at once; unwritten replies are lost."""


class UnreadReplies:
    """The replies of all connections of a listener whose peers are behind.

    Args:
        limit: bytes of all of them; over it, the connection that holds most is closed.
        counters: counted into.

    Attributes:
        limit: the same; it may change.
    """

    def __init__(self, limit: int, counters: RPCMetrics) -> None:
        self.limit = limit
        self._counters = counters
        self._sizes: dict[Reader, int] = {}
        self._total = 0

    def update(self, connection: Reader) -> None:
        """Look at a connection whose peer is behind, after something was written to it."""
        size = connection.unsent
        self._total += size - self._sizes.get(connection, 0)
        self._sizes[connection] = size
        if self._total > self.limit:
            self._close_worst()

    def discard(self, connection: Reader) -> None:
        """Take note that the peer of a connection has caught up, or is gone."""
        self._total -= self._sizes.pop(connection, 0)

    def _close_worst(self) -> None:
        worst = max(self._sizes, key=self._sizes.__getitem__)
        self._counters.unread += 1
        _limited.warning(
            "rpc connection closed: it does not read its replies, see websockets.limits.rpc_memory",
            bytes=self._sizes[worst],
        )
        self.discard(worst)
        worst.abort()
