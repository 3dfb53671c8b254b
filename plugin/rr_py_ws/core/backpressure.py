"""Backpressure: publishers are slowed down to what most receivers of their topics can take.

When publishers are faster than the machine, or the network behind it, the send queues of all receivers would
fill, and healthy clients would be closed for being slow. So the publishers of a topic are held when many of
its receivers are behind: their calls wait, as they would wait for any busy server. Publishers of other topics
go on.

Slow receivers must not do that to publishers as they like. A hold begins when at least `FEW` of the receivers
of a topic, and more than `SHARE` of them, are behind: their sockets take no more. It ends when these have
caught up, and at the latest when the topic's budget of time is used up, or that of the receivers who are
waited for (`core.hold`). Receivers that are behind even then are slow: for `REST` seconds nobody waits for
them, whatever they do, and their own send queues decide what becomes of them. So are receivers that have used
up more than half of their budgets, in whatever topics.

What is queued in one turn of the event loop is a matter of all publishers: they are paused until it is
written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, KeysView

from rr_py_ws.core.hold import FEW, LONGEST, REST, Hold, Timer, Topic
from rr_py_ws.metrics import Sample, counter, gauge

# A common cause (the machine, the network behind it) hits far more than a quarter; separate ones do not.
SHARE = 1 / 4


class Backpressure:
    """Which receivers are behind, which topics hold their publishers, and whether all publishers are paused.

    Args:
        call_later: calls a function after so many seconds (`loop.call_later`).
        now: the clock of `call_later` (`loop.time`).
        turn: bytes of frames that may be queued before they are written. When there are more, publishers
            are paused until that is done, so that what many of them send at once comes in portions that fit
            into the receivers' send queues.
        report: told the topic, how many of its receivers are behind, and how many it has, when a hold begins.

    Attributes:
        publishers: called with True when all publishers are paused, with False when they may go on.
        turn: as given.
        paused: whether all publishers are paused; `on_flushed` does nothing when they are not.
        held: the topics that hold their publishers now; nearly always empty. Always the same dict.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], Timer],
        now: Callable[[], float],
        turn: int,
        report: Callable[[Topic, int, int], None],
    ) -> None:
        self.publishers: list[Callable[[bool], None]] = []
        self.turn = turn
        self.held: dict[Topic, Hold] = {}
        self._call_later = call_later
        self._now = now
        self._report = report
        self._behind: set[object] = set()
        self._full_at: dict[object, float] = {}  # when the budget of a receiver is full again
        self._awaited: dict[object, list[Hold]] = {}
        self._holds: dict[Topic, Hold] = {}  # those that are active, and those whose budget is not full
        self._resuming: Timer | None = None
        self.paused = False
        self._begun = 0

    def metrics(self) -> Iterator[Sample]:
        """Yield how often publishers were held for receivers, and in how many topics they are now."""
        text = "How often the publishers of a topic had to wait because many of its receivers were behind."
        yield counter("publishers_held", text, self._begun)
        yield gauge("topics_held", "Topics whose publishers wait for receivers now.", len(self.held))

    # Called by connections

    def fell_behind(self, receiver: object) -> None:
        """The receiver's socket takes nothing more."""
        full_at = self._full_at.get(receiver)
        if full_at is not None:
            missing = full_at - self._now()
            if missing > REST / 2:
                return
            if missing <= 0:
                del self._full_at[receiver]
        self._behind.add(receiver)

    def caught_up(self, receiver: object) -> None:
        """The receiver has taken everything that waited for it."""
        self._behind.discard(receiver)
        if receiver in self._awaited:
            earned = sum(hold.caught_up() for hold in self._awaited[receiver])
            self._await_no_longer(receiver, earned)

    def forget(self, receiver: object) -> None:
        """The receiver is leaving, or gone."""
        self._behind.discard(receiver)
        if receiver in self._awaited:
            self._await_no_longer(receiver)
        self._full_at.pop(receiver, None)

    # Called by hubs

    @property
    def watching(self) -> bool:
        """Whether `on_written` is to be called; it need not be while nothing can come of it."""
        return len(self._behind) >= FEW or bool(self._holds)

    def on_queued(self) -> None:
        """More is queued in this turn than should be written at once; `on_flushed` follows."""
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        if not self.paused:
            self.paused = True
            for pause in self.publishers:
                pause(True)

    def on_written(self, topic: Topic, groups: Collection[KeysView[object]], size: int) -> None:
        """What was queued for a topic has been written.

        Args:
            topic: which one.
            groups: its receivers; the groups do not overlap.
            size: bytes of frames, all receivers together.
        """
        receivers = sum(map(len, groups))
        hold = self._holds.get(topic)
        if hold is not None:
            hold.sent(size / receivers)
        if receivers < FEW or len(self._behind) < FEW:
            return
        # In proportion to the smaller one of both sets, not to the receivers of the topic.
        behind = set().union(*(group & self._behind for group in groups))
        if len(behind) >= FEW and len(behind) > SHARE * receivers:
            self._hold(topic, behind, receivers)

    def on_flushed(self) -> None:
        """Everything that was queued in this turn has been written."""
        if self.paused and self._resuming is None:
            # Not at once: first let the turn end in which the receivers were written to.
            self._resuming = self._call_later(0, self._resume)

    # Holds

    def _hold(self, topic: Topic, behind: set[object], receivers: int) -> None:
        """Hold the publishers of a topic for these receivers, as far as its budget goes."""
        hold = self._holds.get(topic)
        if hold is None:
            hold = self._holds[topic] = Hold(topic, self._now())
        if hold.active:
            # Written to meanwhile by somebody who is not held, another node for example.
            if not hold.awaited:
                return  # it is about to end
        else:
            if not hold.begin(self._now()):
                return
            self._begun += 1
            self.held[topic] = hold
            self._report(topic, len(behind), receivers)
        now = self._now()
        for receiver in behind - hold.awaited.keys():
            hold.wait_for(receiver, now)
            self._awaited.setdefault(receiver, []).append(hold)
        self._set_timer(hold, hold.left(now), self._give_up)

    def _give_up(self, hold: Hold) -> None:
        """The receivers that are still awaited had their time: they are slow."""
        slow = self._now() + REST + REST / 2
        for receiver in tuple(hold.awaited):
            self._behind.discard(receiver)
            self._await_no_longer(receiver)
            self._full_at[receiver] = max(slow, self._full_at[receiver])

    def _await_no_longer(self, receiver: object, earned: float = 0.0) -> None:
        """Let a receiver pay for the time for which it was awaited, and give what it has earned."""
        now = self._now()
        holds = self._awaited.pop(receiver)
        # Awaited in several topics at once, it pays in the first one: all of them end for it now.
        price, *_ = [hold.wait_no_longer(receiver, now) for hold in holds]
        full_at = max(now, self._full_at.get(receiver, now))
        # What is earned above a full budget is lost: that moment has passed then.
        self._full_at[receiver] = full_at + (price - earned) * REST / LONGEST
        for hold in holds:
            awaited = len(hold.awaited)
            if not awaited:
                self._set_timer(hold, 0, self._release)
            elif awaited < FEW and not awaited & (awaited - 1):
                # The fewer are left, the more each of them pays. To look at each halving is often enough.
                self._set_timer(hold, hold.left(now), self._give_up)

    def _release(self, hold: Hold) -> None:
        """Let the publishers of a topic go on, in the order in which they came."""
        hold.end(self._now())
        del self.held[hold.topic]
        self._set_timer(hold, REST, self._drop)
        hold.release()

    def _drop(self, hold: Hold) -> None:
        """Its budget is full again: it is as if it had never been."""
        del self._holds[hold.topic]

    def _set_timer(self, hold: Hold, seconds: float, call: Callable[[Hold], None]) -> None:
        if hold.timer is not None:
            hold.timer.cancel()

        def end_wait() -> None:
            hold.timer = None
            call(hold)

        hold.timer = self._call_later(seconds, end_wait)

    # The turn

    def _resume(self) -> None:
        self._resuming = None
        self.paused = False
        for pause in self.publishers:
            if not self.paused:  # the first ones to go on may have brought too much again
                pause(False)
