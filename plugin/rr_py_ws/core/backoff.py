"""Pauses between attempts that fail."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double from the first to the longest, with jitter.

    The jitter keeps a fleet that has lost the same server from coming back in one step.

    Args:
        first: seconds of the first pause.
        longest: seconds that no pause exceeds.
    """

    __slots__ = ("_first", "_longest", "_next")

    def __init__(self, first: float, longest: float) -> None:
        self._first = min(first, longest)
        self._longest = longest
        self._next = self._first

    def reset(self) -> None:
        """Begin with the first pause again."""
        self._next = self._first

    def next_pause(self) -> float:
        """Return the next pause in seconds: between half of its step and the whole."""
        step, self._next = self._next, min(2 * self._next, self._longest)
        return step * random.uniform(0.5, 1.0)
