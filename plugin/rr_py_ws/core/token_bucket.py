"""How much may be asked for in a second: by one peer, or by all together."""

from __future__ import annotations

import sys

BURST = 1.0
"""Seconds' worth that may come at once, unless said otherwise."""


class Pace:
    """A token bucket without a timer; all that is kept of a peer is the time when its bucket is full again.

    A peer that has asked for nothing yet begins with 0. Times are those of a clock that does not go back.

    Args:
        rate: how many in a second; 0 is no limit.
        burst: seconds' worth that may come at once.

    Attributes:
        step: how many a peer may ask for before it is worth a look at the clock.
    """

    def __init__(self, rate: float, burst: float = BURST) -> None:
        self._burst = burst
        self._cost = 1 / rate if rate else 0.0
        self.step = max(1, int(rate) // 16) if rate else sys.maxsize

    def spend(self, full_at: float, count: int, now: float) -> float:
        """Return when the bucket is full again after `count` more; that more than is in it is taken, too."""
        return max(full_at, now) + count * self._cost

    def delay(self, full_at: float, now: float) -> float:
        """Return for how many seconds more has been taken than was there; 0 or less when it was not."""
        return full_at - now - self._burst
