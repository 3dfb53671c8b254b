"""A subscribed channel, and the joins that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from rr_py_ws.errors import BrokerError

_LONGEST_WAIT = 24 * 3600.0


class Verbs(NamedTuple):
    """One of Redis' two kinds of pub/sub.

    Attributes:
        publish: a command, as `subscribe` and `unsubscribe`.
        subscribed: how its answers begin, as `unsubscribed`.
        message: how a message begins.
        batch: most channels in one command.
    """

    publish: bytes
    subscribe: bytes
    unsubscribe: bytes
    subscribed: bytes
    unsubscribed: bytes
    message: bytes
    batch: int


CLASSIC = Verbs(b"PUBLISH", b"SUBSCRIBE", b"UNSUBSCRIBE", b"subscribe", b"unsubscribe", b"message", 500)
SHARDED = Verbs(b"SPUBLISH", b"SSUBSCRIBE", b"SUNSUBSCRIBE", b"ssubscribe", b"sunsubscribe", b"smessage", 1)
"""The channels of one command would have to be of one slot."""


class State(Enum):
    """How far the subscription of a channel is."""

    QUEUED = "queued"
    SENT = "sent"
    LIVE = "live"
    REFUSED = "refused"


@dataclass(eq=False, slots=True)
class Channel:
    """A channel that this node wants.

    Attributes:
        name: the topic in bytes, with the prefix.
        topic: what clients call it.
        missed: it was live before its connection was lost.
        joins: those that wait until it is live.
    """

    name: bytes
    topic: str
    state: State = State.QUEUED
    missed: bool = False
    joins: list[Join] = field(default_factory=list)

    def confirm(self) -> None:
        """Messages arrive from now on."""
        self.state = State.LIVE
        self.missed = False
        for join in self.joins:
            join.confirmed()
        self.joins.clear()

    def interrupt(self) -> None:
        """Messages do not arrive any more; it is to be subscribed again."""
        if self.state is State.LIVE:
            self.missed = True
        self.state = State.QUEUED

    def fail(self, error: BrokerError) -> None:
        """No messages will arrive."""
        for join in self.joins:
            join.fail(error)
        self.joins.clear()


class Join:
    """One join, which waits until all its channels are live.

    Args:
        timeout: seconds, after which it fails.
        explain: says why it has taken so long.

    Attributes:
        future: None when there is nothing to wait for; else done when all channels are live, failed with
            `BrokerError` when one of them is refused, or too late.
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
            self._end(None)

    def fail(self, error: BrokerError) -> None:
        """One of them cannot be subscribed."""
        self._end(error)

    def _expire(self) -> None:
        self._end(BrokerError(f"redis has not confirmed within {self._timeout:g} s: {self._explain()}"))

    def _end(self, error: BrokerError | None) -> None:
        assert self.future is not None
        assert self._timer is not None
        self._timer.cancel()
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)
