"""How much may be asked for in a second: by one peer, or by all together."""

from __future__ import annotations

import sys

BURST = 1.0
"""Seconds' worth that may come at once, unless said otherwise."""


class TokenBucket:
    """A token bucket without a timer: of each peer only the time is kept when its bucket is full again.

    One object holds the rule for any number of peers. A peer that has asked for nothing yet begins with 0.0.
    Times are those of a clock that does not go back.

    Args:
        rate: tokens in a second; 0 is no limit.
        burst: seconds' worth that may come at once.

    Attributes:
        step: tokens that a peer may take before a look at the clock is worth its cost.
    """

    def __init__(self, rate: float, burst: float = BURST) -> None:
        self._burst = burst
        self._cost = 1 / rate if rate else 0.0
        self.step = max(1, int(rate) // 16) if rate else sys.maxsize

    def consume(self, full_at: float, count: int, now: float) -> float:
        """Return when the bucket is full again after `count` more tokens, be they there or not."""
        return max(full_at, now) + count * self._cost

    def wait_time(self, full_at: float, now: float) -> float:
        """Return for how many seconds more was taken than was there; 0 or less when it was there."""
        return full_at - now - self._burst
