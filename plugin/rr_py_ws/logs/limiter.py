"""How often the same event may be written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

BURST = 10
INTERVAL = 10.0
_MAX_EVENTS = 256
_OTHERS = ""


@dataclass(slots=True)
class _Window:
    """The current interval of one event."""

    start: float
    written: int = 1
    suppressed: int = 0


class Limiter:
    """At most `burst` times the same event in `interval` seconds.

    The memory is bounded: beyond 256 different events at a time, the rest share one allowance.
    """

    __slots__ = ("_burst", "_clock", "_interval", "_windows")

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, burst: int = BURST, interval: float = INTERVAL
    ) -> None:
        self._clock = clock
        self._burst = burst
        self._interval = interval
        self._windows: dict[str, _Window] = {}

    def admit(self, event: str) -> int | None:
        """Ask to write an event.

        Returns:
            None when it must not be written; otherwise how many were suppressed since the last one written.
        """
        now = self._clock()
        window = self._windows.get(event)
        if window is None and len(self._windows) >= _MAX_EVENTS:
            self._forget_old(now)
            if len(self._windows) >= _MAX_EVENTS:
                event = _OTHERS
                window = self._windows.get(event)
        if window is None:
            self._windows[event] = _Window(now)
            return 0
        if now - window.start >= self._interval:
            suppressed = window.suppressed
            self._windows[event] = _Window(now)
            return suppressed
        if window.written < self._burst:
            window.written += 1
            return 0
        window.suppressed += 1
        return None

    def _forget_old(self, now: float) -> None:
        self._windows = {
            event: window for event, window in self._windows.items() if now - window.start < self._interval
        }
