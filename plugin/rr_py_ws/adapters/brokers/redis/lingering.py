"""Channels that nobody is in any more and that stay subscribed for a moment: a page reload costs nothing."""

from __future__ import annotations

from collections import OrderedDict

from rr_py_ws.adapters.brokers.redis.metrics import RedisMetrics

_MOST_BYTES = 16 * 1024 * 1024
"""What lingering channels may take. One client may join and leave half a million names a second; a reload of
all pages of a node leaves some thousand channels for a moment."""
_OVERHEAD = 1024
"""Bytes that a channel takes besides its name, which is there as text and as bytes."""


class Lingering:
    """The channels, in the order in which they were left.

    Args:
        counters: counted into.
    """

    def __init__(self, counters: RedisMetrics) -> None:
        self._counters = counters
        # Not a dict, in which to find the first item takes longer the more of the first ones are gone.
        self._deadlines: OrderedDict[bytes, float] = OrderedDict()
        self._size = 0

    def add(self, name: bytes, deadline: float) -> None:
        """Let a channel linger until a time, which is not before that of any other."""
        self.discard(name)
        self._deadlines[name] = deadline
        self._size += _cost(name)
        self._counters.lingering += 1

    def discard(self, name: bytes) -> bool:
        """Take a channel out: somebody has joined it, or it is gone. Return whether it was in here."""
        if self._deadlines.pop(name, None) is None:
            return False
        self._size -= _cost(name)
        self._counters.lingering -= 1
        return True

    def pop_expired(self, now: float, most: int) -> list[bytes]:
        """Take out those whose time has come, and the oldest of those that are too many; `most` at a time."""
        gone: list[bytes] = []
        while self._deadlines and len(gone) < most:
            name, deadline = next(iter(self._deadlines.items()))
            if deadline > now and self._size <= _MOST_BYTES:
                break
            self.discard(name)
            gone.append(name)
        return gone

    def clear(self) -> None:
        """Take out all."""
        for name in tuple(self._deadlines):
            self.discard(name)

    @property
    def first_deadline(self) -> float | None:
        """When the time of the next one comes; None when there is none."""
        return next(iter(self._deadlines.values()), None)

    @property
    def is_full(self) -> bool:
        """Whether there are too many."""
        return self._size > _MOST_BYTES


def _cost(name: bytes) -> int:
    return _OVERHEAD + 2 * len(name)
