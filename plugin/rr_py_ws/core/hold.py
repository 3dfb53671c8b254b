"""The hold of a topic: its publishers wait until receivers of the topic have caught up.

The time that a topic may hold its publishers is a budget, so that receivers cannot hold them for ever,
whatever they do: stand still, take turns at standing still, or read in gulps, each time just before they are
given up.

* A full budget is `LONGEST`. An empty one fills within `REST` of time without a hold.
* Receivers that are waited for and catch up add to it in proportion to what they have taken, all together: a
  second for `WORK` bytes. Publishers that are faster than the machine or its network, which have to be held
  again and again for as long as they go on, differ in this from a few receivers that hold publishers up.
* A hold begins with half of a full budget at least: in less time hardly anybody can catch up.

A receiver has such a budget, too (`core.backpressure` keeps it): otherwise a few of them would hold one
topic after another. `FEW` seconds are paid for each second of a hold, in equal shares by those who are waited
for at that moment. So a crowd with a common cause pays next to nothing, and `FEW` receivers hold publishers
for about as long as the budget of one, in however many topics, at once or in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

FEW = 16
"""Receivers; fewer never hold anybody: one phone in a tunnel must not hold up a topic of four clients."""
LONGEST = 2.0
"""Seconds that a hold may last."""
REST = 20.0
"""Seconds in which an empty budget fills, and for which nobody waits for a slow receiver."""
WORK = 8 * 1024 * 1024
"""Bytes that receivers have to take for a second more. A line of 100 Mbit/s carries half as much again."""

Topic = tuple[str, str]
"""A topic of a node: name of a `broadcast` section, and name of the topic."""


class Timer(Protocol):
    """A call that is to be made later."""

    def cancel(self) -> None:
        """Do not make it."""


class Gate:
    """Whether publishers have to wait before they may go on, and who waits.

    Nobody waits for ever while others pass: who has to wait again without having passed comes before those
    that have passed meanwhile.

    Attributes:
        active: whether they have to wait.
    """

    __slots__ = ("_again", "_waiting", "active")

    def __init__(self) -> None:
        self.active = False
        self._waiting: dict[Callable[[], None], None] = {}
        self._again: dict[Callable[[], None], None] = {}

    @property
    def waiting(self) -> tuple[Callable[[], None], ...]:
        """What is called when publishers may go on, in this order."""
        return (*self._again, *self._waiting)

    def wait(self, go_on: Callable[[], None], *, again: bool = False) -> None:
        """Call a function, once, when publishers may go on; `again`: it was called and could not pass."""
        (self._again if again else self._waiting)[go_on] = None

    def discard(self, go_on: Callable[[], None]) -> None:
        """Do not call it any more."""
        self._waiting.pop(go_on, None)
        self._again.pop(go_on, None)

    def release(self) -> None:
        """Let publishers go on, in the order in which they came."""
        self.active = False
        woken, self._again, self._waiting = self.waiting, {}, {}
        for go_on in woken:
            go_on()


class Hold(Gate):
    """Whether the publishers of a topic are held, who is waited for, and how much time is left for it.

    Times are seconds of a clock that does not go back.

    Args:
        topic: whose publishers they are.
        now: the time.

    Attributes:
        topic: as given.
        active: whether they are held.
        awaited: receivers that are waited for, and the price when that began.
        timer: the end of an active hold; after it, the moment at which the budget is full again.
    """

    __slots__ = (
        "_began",
        "_budget",
        "_earned",
        "_price",
        "_priced",
        "_sent",
        "_worth",
        "awaited",
        "timer",
        "topic",
    )

    def __init__(self, topic: Topic, now: float) -> None:
        super().__init__()
        self.topic = topic
        self.awaited: dict[object, float] = {}
        self.timer: Timer | None = None
        self._budget = LONGEST  # seconds that were left when the last hold ended
        self._began = now  # when this hold began, or the last one ended
        self._sent = 0.0  # bytes to each receiver since the last hold began
        self._worth = 0.0  # seconds for each receiver that catches up in this hold
        self._earned = 0.0
        self._price = 0.0  # what somebody pays who is waited for since this hold began
        self._priced = now  # when that was computed

    def sent(self, size: float) -> None:
        """Take note of bytes that were written to each receiver of the topic."""
        self._sent += size

    def begin(self, now: float) -> bool:
        """Begin to hold; False when the budget is too small to begin."""
        budget = min(LONGEST, self._budget + (now - self._began) * LONGEST / REST)
        if budget < LONGEST / 2:
            return False
        self.active = True
        self._budget, self._began = budget, now
        self._worth, self._sent, self._earned = self._sent / WORK, 0.0, 0.0
        self._price, self._priced = 0.0, now
        return True

    def wait_for(self, receiver: object, now: float) -> None:
        """Take note of somebody who is to be waited for."""
        self._compute_price(now)
        self.awaited[receiver] = self._price

    def wait_no_longer(self, receiver: object, now: float) -> float:
        """Take note that somebody is not waited for any more; return the share to pay, in seconds."""
        self._compute_price(now)
        return self._price - self.awaited.pop(receiver)

    def caught_up(self) -> float:
        """Take note that one of those who are waited for has taken what it was sent.

        Returns:
            The seconds that the receiver has earned: as many as a topic whose `FEW` receivers do that.
        """
        self._earned += self._worth
        return self._worth * FEW

    def left(self, now: float) -> float:
        """Return for how many seconds more the topic and those who are awaited can pay."""
        self._compute_price(now)
        payable = (LONGEST - self._price) * len(self.awaited) / FEW
        return max(0.0, min(self._budget - (now - self._began), payable))

    def end(self, now: float) -> None:
        """Hold no longer."""
        self.active = False
        self._budget = min(LONGEST, max(0.0, self._budget - (now - self._began)) + self._earned)
        self._began = now

    def _compute_price(self, now: float) -> None:
        if self.awaited:
            self._price += (now - self._priced) * FEW / len(self.awaited)
        self._priced = now
