"""Subscribed channels, and the joins that wait for them.

A channel is Redis' word: the topic in bytes, with the prefix of the section.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from rr_py_ws.adapters.brokers.redis.marks import Pairing
from rr_py_ws.errors import BrokerError

LONGEST_WAIT = 24 * 3600.0
"""A time-out of the configuration may be infinite; a timer of the loop may not."""


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
        pairing: gets what arrives; None when the topic has no history.
        marks: the channel of the marks of this one, when there is one.
        marks_of: the channel whose marks arrive here.
        joins: those that wait until it is live, in order, as long as they wait; each is called once, with
            None or with why it is not live.
    """

    name: bytes
    topic: str
    state: ChannelState = ChannelState.QUEUED
    missed: bool = False
    pairing: Pairing | None = None
    marks: Channel | None = None
    marks_of: Channel | None = None
    joins: dict[Callable[[BrokerError | None], None], None] = field(default_factory=dict)

    def confirm(self) -> None:
        """Messages arrive from now on."""
        self.state = ChannelState.LIVE
        self.missed = False
        if self.marks_of is not None and self.pairing is not None:
            self.pairing.begin()
        self.answer_joins(None)

    def interrupt(self) -> None:
        """Messages do not arrive any more; the channel has to be subscribed again."""
        # Only what has been live can have missed something; one interruption after another keeps the mark.
        if self.state is ChannelState.LIVE:
            self.missed = True
        self.state = ChannelState.QUEUED
        if self.pairing is not None:
            self.pairing.end()

    def answer_joins(self, error: BrokerError | None) -> None:
        """Tell the joins that wait that messages arrive, or why they will not."""
        joins, self.joins = self.joins, {}
        for answer in joins:
            answer(error)


def wait_for(
    channels: Sequence[Channel], timeout: float, explain: Callable[[], str]
) -> asyncio.Future[None] | None:
    """Wait until channels are live.

    Args:
        channels: those of one join that are not live.
        timeout: seconds, after which the join fails.
        explain: says why it has taken so long.

    Returns:
        None when there is nothing to wait for; else a future, done when all channels are live, failed with
        `BrokerError` when one of them is refused, or too late. It may be cancelled.
    """
    # Most joins are of live channels; only those that wait pay for a future and a timer.
    if not channels:
        return None
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    channels = list(dict.fromkeys(channels))  # a join may name a topic twice
    missing = len(channels)

    def answer(error: BrokerError | None) -> None:
        nonlocal missing
        missing -= 1
        # Several of the channels may fail, it may be too late, and the client that waits may have gone.
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        elif not missing:
            future.set_result(None)

    def expire() -> None:
        answer(BrokerError(f"redis has not confirmed within {timeout:g} s", explain()))

    timer = loop.call_later(min(timeout, LONGEST_WAIT), expire)

    def end(_: object) -> None:
        timer.cancel()
        # In an outage clients come back again and again: what has given up must not be kept.
        for channel in channels:
            channel.joins.pop(answer, None)

    future.add_done_callback(end)
    for channel in channels:
        channel.joins[answer] = None
    return future
