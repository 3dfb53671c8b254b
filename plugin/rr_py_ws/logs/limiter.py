"""How often the same event may be written."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

BURST = 10
INTERVAL = 10.0
_MAX_EVENTS = 256
_OTHERS = ""


class Limiter:
    """Admits the same event at most `burst` times in `interval` seconds.

    The memory is bounded: beyond 256 different events at a time, the others share one allowance.
    """

    __slots__ = ("_burst", "_clock", "_interval", "_windows")

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, burst: int = BURST, interval: float = INTERVAL
    ) -> None:
        self._clock = clock
        self._burst = burst
        self._interval = interval
        # event -> start of its interval, attempts since then
        self._windows: dict[str, tuple[float, int]] = {}

    def admit(self, event: str) -> int | None:
        """Ask whether an event may be written.

        Returns:
            None when the event must not be written; otherwise how often it was suppressed since it was last
            written.
        """
        now = self._clock()
        # Only now: looking for windows that are over at each event would cost more than the log line.
        if event not in self._windows and len(self._windows) >= _MAX_EVENTS:
            self._windows = {
                known: window for known, window in self._windows.items() if now - window[0] < self._interval
            }
            if len(self._windows) >= _MAX_EVENTS:
                event = _OTHERS
        start, attempts = self._windows.get(event, (-math.inf, 0))
        if now - start >= self._interval:
            self._windows[event] = (now, 1)
            return max(0, attempts - self._burst)
        self._windows[event] = (start, attempts + 1)
        return 0 if attempts < self._burst else None
