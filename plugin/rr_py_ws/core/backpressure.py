"""Slows publishers down to what most receivers can take.

When publishers are faster than the machine, or the network behind it, the queues of all receivers would fill,
and healthy ones would be closed for being slow. So publishers are held for a while: they are not read, their
replies stay out, and they wait as they would for any busy server.

One slow receiver must not do that to them, nor a handful, nor many of them for ever. A hold begins when at
least `FEW` of those who were written to, and more than `SHARE` of them, are behind: their sockets take no
more. It ends when these have caught up, and after `LONGEST` at the latest. Who is still behind then is a slow
receiver: it is not waited for until it has caught up once, its own queue decides what becomes of it, and for
a while (`REST`) nobody is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol

from rr_py_ws.metrics import Sample, counter

FEW = 16
SHARE = 1 / 4
LONGEST = 2.0
"""Seconds that a hold may last."""
REST = 20.0
"""Seconds without a hold after one that lasted so long."""


class Timer(Protocol):
    """A call that is to be made later."""

    def cancel(self) -> None:
        """Do not make it."""


class Brake:
    """Who is behind, and whether publishers are held.

    Args:
        call_later: calls a function after so many seconds (`loop.call_later`).
        turn: bytes of frames that may gather before they are written. When there are more, publishers are
            held until that is done, so that what many of them send at once comes in portions that fit into
            the receivers' queues.
        report: told how many are behind, of how many that were written to, when a hold for them begins.

    Attributes:
        publishers: told when they are held (True), and no more (False).
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
        self._patience: Timer | None = None
        self._rest: Timer | None = None
        self._release: Timer | None = None
        self._held = False
        self._holds = 0

    def metrics(self) -> Iterator[Sample]:
        """See `metrics.MetricSource`."""
        text = "How often publishers had to wait because many receivers were behind."
        yield counter("publishers_held", text, self._holds)

    # What receivers report

    def fell_behind(self, receiver: object) -> None:
        """Its socket takes nothing more."""
        if receiver not in self._slow:
            self._behind.add(receiver)

    def caught_up(self, receiver: object) -> None:
        """It has taken everything, or is gone."""
        self._slow.discard(receiver)
        self._behind.discard(receiver)
        if receiver in self._awaited:
            self._awaited.discard(receiver)
            if not self._awaited:
                self._go_on()

    # What hubs report

    def gathered(self) -> None:
        """More has gathered in this turn than should be written at once; `written` follows."""
        self._hold()

    def written(self, receivers: Collection[object]) -> None:
        """What had gathered was written to these."""
        if len(self._behind) >= FEW and self._rest is None:
            behind = self._behind.intersection(receivers)
            if len(behind) >= FEW and len(behind) > SHARE * len(receivers):
                self._wait_for(behind, len(receivers))
        if self._held and not self._awaited:
            self._go_on()

    def _wait_for(self, behind: set[Any], receivers: int) -> None:
        self._hold()
        self._awaited |= behind
        if self._patience is None:
            self._holds += 1
            self._report(len(behind), receivers)
            self._patience = self._call_later(LONGEST, self._give_up)

    def _give_up(self) -> None:
        """They had their time."""
        self._patience = None
        self._slow |= self._awaited
        self._behind -= self._awaited
        self._awaited.clear()
        self._rest = self._call_later(REST, self._rested)
        self._go_on()

    def _rested(self) -> None:
        self._rest = None

    def _hold(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None
        if not self._held:
            self._held = True
            for tell in self.publishers:
                tell(True)

    def _go_on(self) -> None:
        """Read publishers again, but first let the turn end in which the receivers were written to."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._held and self._release is None:
            self._release = self._call_later(0, self._let_go)

    def _let_go(self) -> None:
        self._release = None
        self._held = False
        for tell in self.publishers:
            if not self._held:  # the first ones to go on may have brought too much again
                tell(False)
