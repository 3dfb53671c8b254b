"""Subscribed channels, the joins that wait for them, and what they may have missed.

A channel is Redis' word: the topic in bytes, with the prefix of the section.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.metrics import RedisMetrics
from rr_py_ws.errors import BrokerError

_LONGEST_WAIT = 24 * 3600.0
"""A time-out of the configuration may be infinite; a timer of the loop may not."""

log = logs.get_logger("broadcast")


class ChannelState(Enum):
    """How far the subscription of a channel is."""

    QUEUED = "queued"
    SENT = "sent"
    LIVE = "live"
    REFUSED = "refused"


@dataclass(eq=False, slots=True)
class Channel:
    """A channel that this node wants.

    Attributes:
        name: the channel.
        topic: what clients call it.
        state: of its subscription.
        missed: it was live before its connection was lost.
        joins: those that wait until it is live.
    """

    name: bytes
    topic: str
    state: ChannelState = ChannelState.QUEUED
    missed: bool = False
    joins: list[PendingJoin] = field(default_factory=list)

    def confirm(self) -> None:
        """Messages arrive from now on."""
        self.state = ChannelState.LIVE
        self.missed = False
        for join in self.joins:
            join.confirmed()
        self.joins.clear()

    def interrupt(self) -> None:
        """Messages do not arrive any more; the channel has to be subscribed again."""
        if self.state is ChannelState.LIVE:
            self.missed = True
        self.state = ChannelState.QUEUED

    def fail(self, error: BrokerError) -> None:
        """No messages will arrive."""
        for join in self.joins:
            join.end(error)
        self.joins.clear()


class PendingJoin:
    """One join, which waits until all its channels are live.

    Args:
        timeout: seconds, after which it fails.
        explain: says why it has taken so long.

    Attributes:
        future: None when there is nothing to wait for; else done when all channels are live, failed with
            `BrokerError` when one of them is refused, or too late. May be cancelled.
    """

    __slots__ = ("_explain", "_missing", "_timeout", "_timer", "future")

    def __init__(self, timeout: float, explain: Callable[[], str]) -> None:
        self._timeout = timeout
        self._explain = explain
        self._missing = 0
        self._timer: asyncio.TimerHandle | None = None
        self.future: asyncio.Future[None] | None = None

    def wait_for(self, channel: Channel) -> None:
        """Wait for one channel more."""
        # Most joins are of live channels; only those that wait pay for a future and a timer.
        if self.future is None:
            loop = asyncio.get_running_loop()
            self.future = loop.create_future()
            self._timer = loop.call_later(min(self._timeout, _LONGEST_WAIT), self._expire)
        self._missing += 1
        channel.joins.append(self)

    def confirmed(self) -> None:
        """One of the channels is live."""
        self._missing -= 1
        if not self._missing:
            self.end(None)

    def end(self, error: BrokerError | None) -> None:
        """All channels are live, or one of them cannot be subscribed. A second end changes nothing."""
        assert self.future is not None
        assert self._timer is not None
        self._timer.cancel()
        # Several of its channels may fail, and the client that waits may have gone.
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)

    def _expire(self) -> None:
        self.end(BrokerError(f"redis has not confirmed within {self._timeout:g} s: {self._explain()}"))


class Gap:
    """What one subscriber may have missed: told to those who care, logged, counted.

    Args:
        name: of the section, for the log.
        on_gap: gets topics, at the end of the turn in which they were added, or with `tell`.
        counters: counted into.

    Attributes:
        untold: topics that were added and not told yet.
    """

    def __init__(self, name: str, on_gap: Callable[[Sequence[str]], None], counters: RedisMetrics) -> None:
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
            self._loop.call_soon(self.tell)  # one call for all that Redis confirms in one packet
        self.untold.append(topic)
        self._topics += 1

    def tell(self) -> None:
        """Tell the topics added so far; to be called before a message that comes after them."""
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
