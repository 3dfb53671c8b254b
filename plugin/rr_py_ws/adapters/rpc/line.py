"""A line in which the next is who has used least."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Generic, TypeVar

_Waiting = TypeVar("_Waiting", bound=Hashable)


class Line(Generic[_Waiting]):
    """Those who wait, by what they have used; of those that have used as much, who came first is first."""

    __slots__ = ("_heap", "_numbers", "_places")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, _Waiting]] = []
        self._places: dict[_Waiting, int] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, waiting: _Waiting, used: int) -> None:
        """Let somebody wait; who waits already keeps the place."""
        if waiting not in self._places:
            self._places[waiting] = number = next(self._numbers)
            heappush(self._heap, (used, number, waiting))

    def discard(self, waiting: _Waiting) -> None:
        """Let somebody wait no longer."""
        if self._places.pop(waiting, None) is not None:
            self._clean()

    def least(self) -> float:
        """Return what was used by who is next; infinity when nobody waits."""
        while self._heap:
            used, number, waiting = self._heap[0]
            if self._places.get(waiting) == number:
                return used
            heappop(self._heap)
        return inf

    def pop(self) -> tuple[int, _Waiting]:
        """Take out who is next; return what was used, and who it is.

        Raises:
            IndexError: nobody waits.
        """
        while True:
            used, number, waiting = heappop(self._heap)
            if self._places.get(waiting) == number:
                del self._places[waiting]
                self._clean()
                return used, waiting

    def _clean(self) -> None:
        if not self._places:
            self._heap.clear()  # what is left in it are places of those that have gone
