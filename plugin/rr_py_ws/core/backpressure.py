"""Backpressure: publishers are slowed down to what most receivers can take.

When publishers are faster than the machine, or the network behind it, the send queues of all receivers would
fill, and healthy clients would be closed for being slow. So publishers are paused: their connections are not
read, and they wait for their replies as they would wait for any busy server.

One slow receiver must not do that to them, nor a handful, nor many of them for ever. A pause for receivers
begins when at least `FEW` of those that were written to, and more than `SHARE` of them, are behind: their
sockets take no more. It ends when these have caught up, and after `LONGEST` at the latest. A receiver that is
still behind then is a slow one: nobody waits for it until it has caught up once, its own send queue decides
what becomes of it, and for a while (`REST`) no pause begins for any receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

from rr_py_ws.metrics import Sample, counter

# One phone in a tunnel must not stop a node that has four clients: hence a number beside the share.
FEW = 16
# A common cause (the machine, the network behind it) hits far more than a quarter; separate ones do not.
SHARE = 1 / 4
LONGEST = 2.0
"""Seconds that a pause may last."""
REST = 20.0
"""Seconds without a pause for receivers after one that lasted so long."""


class Timer(Protocol):
    """A call that is to be made later."""

    def cancel(self) -> None:
        """Do not make it."""


class Backpressure:
    """Which receivers are behind, and whether publishers are paused.

    Args:
        call_later: calls a function after so many seconds (`loop.call_later`).
        turn: bytes of frames that may be queued before they are written. When there are more, publishers
            are paused until that is done, so that what many of them send at once comes in portions that fit
            into the receivers' send queues.
        report: told how many are behind, of how many that were written to, when a pause for them begins.

    Attributes:
        publishers: called with True when publishers are paused, with False when they may go on.
        turn: as given.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], Timer],
        turn: int,
        report: Callable[[int, int], None],
    ) -> None:
        self.publishers: list[Callable[[bool], None]] = []
        self.turn = turn
        self._call_later = call_later
        self._report = report
        self._behind: set[Any] = set()
        self._slow: set[Any] = set()
        self._awaited: set[Any] = set()
        self._deadline: Timer | None = None
        self._rest: Timer | None = None
        self._resuming: Timer | None = None
        self._paused = False
        self._pauses = 0

    def metrics(self) -> Iterator[Sample]:
        """Yield how often publishers were paused for receivers."""
        text = "How often publishers had to wait because many receivers were behind."
        yield counter("publishers_held", text, self._pauses)

    # Called by connections

    def fell_behind(self, receiver: object) -> None:
        """The receiver's socket takes nothing more."""
        if receiver not in self._slow:
            self._behind.add(receiver)

    def caught_up(self, receiver: object) -> None:
        """The receiver has taken everything that waited for it, or is gone."""
        self._slow.discard(receiver)
        self._behind.discard(receiver)
        if receiver in self._awaited:
            self._awaited.discard(receiver)
            if not self._awaited:
                self._resume_soon()

    # Called by hubs

    def on_queued(self) -> None:
        """More is queued in this turn than should be written at once; `on_flushed` follows."""
        self._pause()

    def on_flushed(self, written: Sequence[Collection[object]]) -> None:
        """What was queued was written to the receivers in these collections, which do not overlap."""
        # The intersections cost time in proportion to the receivers, so first what is known for nothing.
        if len(self._behind) >= FEW and self._rest is None:
            total = sum(map(len, written))
            behind = set().union(*(self._behind.intersection(receivers) for receivers in written))
            if len(behind) >= FEW and len(behind) > SHARE * total:
                self._wait_for(behind, total)
        if self._paused and not self._awaited:
            self._resume_soon()

    def _wait_for(self, behind: set[Any], total: int) -> None:
        self._pause()
        self._awaited |= behind
        if self._deadline is None:
            self._pauses += 1
            self._report(len(behind), total)
            self._deadline = self._call_later(LONGEST, self._stop_waiting)

    def _stop_waiting(self) -> None:
        """The receivers that are still awaited had their time: they are slow."""
        self._deadline = None
        # Not awaited again until they have caught up: otherwise a client that reads nothing could stop all
        # publishers for `LONGEST` once per `REST`, again and again.
        self._slow |= self._awaited
        self._behind -= self._awaited
        self._awaited.clear()
        self._rest = self._call_later(REST, self._end_rest)
        self._resume_soon()

    def _end_rest(self) -> None:
        self._rest = None

    def _pause(self) -> None:
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        if not self._paused:
            self._paused = True
            for pause in self.publishers:
                pause(True)

    def _resume_soon(self) -> None:
        """Let publishers go on, but first let the turn end in which the receivers were written to."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._paused and self._resuming is None:
            self._resuming = self._call_later(0, self._resume)

    def _resume(self) -> None:
        self._resuming = None
        self._paused = False
        for pause in self.publishers:
            if not self._paused:  # the first ones to go on may have brought too much again
                pause(False)
