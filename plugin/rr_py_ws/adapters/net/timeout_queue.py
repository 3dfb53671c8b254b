"""Many timeouts of the same length, without a timer for each.

All items wait equally long, so the order in which they were added is the order in which their time comes. An
event loop's own timer heap would cost a handle and a closure per item; a connection is in two such queues
while it is open, and there are tens of thousands of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import takewhile
from typing import TypeVar

from rr_py_ws.adapters.net.deadline import Deadline

T = TypeVar("T")


class TimeoutQueue(dict[T, float]):
    """Items that wait equally long, and when their time comes, in this order.

    An item that waits no longer is removed as from any dict. The timer stays as it is: most items go early,
    and it looks again when it fires.

    Args:
        seconds: how long each of them waits.
        on_timeout: called with each item whose time has come, when the item is not in the queue any more,
            after a second look (see `deadline`); one timer serves them all. None: there is no timer, and the
            owner calls `take_due`.
    """

    def __init__(self, seconds: float, on_timeout: Callable[[T], None] | None = None) -> None:
        super().__init__()
        self.seconds = seconds
        self._on_timeout = on_timeout
        self._timer: Deadline | None = None

    def since(self, item: T) -> float:
        """When the wait of an item began."""
        return self[item] - self.seconds

    def add(self, item: T, now: float) -> None:
        """Begin to wait.

        Args:
            item: not in the queue.
            now: the time of the event loop; never before that of an earlier call.
        """
        self[item] = now + self.seconds
        if self._timer is None and self._on_timeout is not None:
            self._timer = Deadline(now + self.seconds, self._expire)

    def change(self, seconds: float) -> None:
        """Have all items wait longer or shorter, those in the queue since they were added."""
        shift, self.seconds = seconds - self.seconds, seconds
        for item in self:
            self[item] += shift
        if shift and self._timer is not None:
            self.stop()
            if self:
                self._timer = Deadline(next(iter(self.values())), self._expire)

    def has_due(self, now: float) -> bool:
        """Whether the time of an item has come."""
        return next(iter(self.values()), math.inf) <= now

    def take_due(self, now: float) -> list[T]:
        """Remove and return the items whose time has come."""
        due = list(takewhile(lambda item: self[item] <= now, self))
        for item in due:
            del self[item]
        return due

    def stop(self) -> None:
        """Cancel the timer; nothing is called any more until something is added."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, now: float) -> None:
        assert self._on_timeout is not None
        self._timer = None
        for item in self.take_due(now):
            self._on_timeout(item)
        # The callbacks may have added items, and with them a timer.
        if self._timer is None and self:
            self._timer = Deadline(next(iter(self.values())), self._expire)
