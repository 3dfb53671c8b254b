"""Topics of which messages may have been missed: told to those who care, logged, counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.counters import Counters

log = logs.get_logger("broadcast")


class Gap:
    """What one feed may have missed.

    Args:
        name: of the section, for the log.
        on_gap: gets topics, at the end of the turn in which they were added, or with `tell`.
        counters: counted into.
    """

    def __init__(self, name: str, on_gap: Callable[[Sequence[str]], None], counters: Counters) -> None:
        self._name = name
        self._on_gap = on_gap
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._began: float | None = None
        self._topics = 0
        self.untold: list[str] = []

    def begin(self) -> None:
        """From now on messages may be missed."""
        if self._began is None:
            self._began = self._loop.time()

    def add(self, topic: str) -> None:
        """Messages of this topic may have been missed until now, and are not any more."""
        if not self.untold:
            self._loop.call_soon(self.tell)
        self.untold.append(topic)
        self._topics += 1

    def tell(self) -> None:
        """Tell of the topics added so far; to be called before a message that comes after them."""
        if self.untold:
            topics, self.untold = self.untold, []
            self._on_gap(topics)

    def end(self) -> None:
        """Nothing is missed any more."""
        if self._topics:
            self._counters.gaps += 1
            self._counters.gap_topics += self._topics
            log.warning(
                "messages may have been missed",
                section=self._name,
                topics=self._topics,
                seconds=round(self._loop.time() - (self._began or self._loop.time()), 3),
            )
        self._began = None
        self._topics = 0
