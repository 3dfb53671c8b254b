"""What may have been missed while a server was not there."""

from __future__ import annotations

import asyncio

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.reconnect import Context

log = logs.get_logger("broadcast")


class Gap:
    """From the loss of a connection until everything is subscribed again.

    Args:
        context: what all connections of the broker share.

    Attributes:
        untold: topics of which messages may have been missed, and that nobody was told of yet.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._began: float | None = None
        self._topics = 0
        self.untold: list[str] = []

    def begin(self) -> None:
        """Messages may be missed from now on."""
        if self._began is None:  # a connection that is lost again before the gap has ended prolongs it
            self._began = self._loop.time()

    def add(self, topic: str) -> None:
        """A topic arrives again that may have missed something."""
        if not self.untold:  # told once for all that Redis confirms in one packet
            self._loop.call_soon(self.tell)
        self.untold.append(topic)
        self._topics += 1

    def tell(self) -> None:
        """Tell the topics of which messages may have been missed, before any message that comes later."""
        if self.untold:
            topics, self.untold = self.untold, []
            self._context.tell_gap(topics)

    def end(self) -> None:
        """Log and count: everything is subscribed again."""
        began, self._began = self._began, None
        topics, self._topics = self._topics, 0
        if topics:
            counters, now = self._context.counters, self._loop.time()
            counters.gaps += 1
            counters.gap_topics += topics
            log.warning(
                "messages may have been missed",
                section=self._context.name,
                topics=topics,
                seconds=round(now - (began or now), 3),
            )
