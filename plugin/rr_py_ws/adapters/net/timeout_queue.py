"""Many waits of the same length, without a timer for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Generic, TypeVar

T = TypeVar("T")


class EqualWaits(Generic[T]):
    """Who waits equally long: a queue in the order in which their time comes.

    Args:
        seconds: how long each of them waits.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._deadlines: dict[T, float] = {}

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, waiter: T) -> bool:
        return waiter in self._deadlines

    def __iter__(self) -> Iterator[T]:
        """Who waits, the longest first."""
        return iter(self._deadlines)

    def since(self, waiter: T) -> float:
        """When the wait began."""
        return self._deadlines[waiter] - self.seconds

    def add(self, waiter: T, now: float) -> None:
        """Begin to wait."""
        self._deadlines[waiter] = now + self.seconds

    def discard(self, waiter: T) -> None:
        """Wait no longer."""
        self._deadlines.pop(waiter, None)

    def take_due(self, now: float) -> list[T]:
        """Remove those whose time has come."""
        due = list(takewhile(lambda waiter: self._deadlines[waiter] <= now, self._deadlines))
        for waiter in due:
            del self._deadlines[waiter]
        return due


class Deadlines(EqualWaits[T]):
    """Waits whose end is announced; one timer for all of them, and none while nobody waits.

    Args:
        seconds: how long each of them waits.
        on_expiry: called with each whose time has come, when it is no longer among those that wait.
    """

    def __init__(self, seconds: float, on_expiry: Callable[[T], None]) -> None:
        super().__init__(seconds)
        self._on_expiry = on_expiry
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiter: T, now: float) -> None:
        """Begin to wait."""
        super().add(waiter, now)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(now + self.seconds, self._expire)

    def stop(self) -> None:
        """Announce nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for waiter in self.take_due(loop.time()):
            self._on_expiry(waiter)
        if self._timer is None and self._deadlines:
            self._timer = loop.call_at(next(iter(self._deadlines.values())), self._expire)
