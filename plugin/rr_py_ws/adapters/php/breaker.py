"""Refuses at once what workers would not answer anyway, instead of letting everybody wait for it in vain."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator

from rr_py_ws.errors import WorkersDown
from rr_py_ws.logs import get_limited
from rr_py_ws.metrics import Sample, gauge

log = get_limited("server")

DOWN_AFTER = 3
"""Attempts to start a worker that fail in a row before its slot counts as down; they take 0.3 s and the time
of the starts. One that fails in the moment of a deployment refuses nobody."""
FIRST_PAUSE = 1.0
"""Seconds from the opening after time-outs to the first question that is let through."""
LONGEST_PAUSE = 8.0
"""Seconds from one such question to the next, at most; each pause is twice the one before."""

_DOWN = "PHP workers are down"
_TOO_SLOW = "PHP workers do not answer in time"


class Breaker:
    """Open, so that questions are refused at once, for one of two reasons.

    *Down*: no slot of the pool has a worker, and each has failed to start one `DOWN_AFTER` times in a row.
    The first worker that starts closes it.

    *Time-outs*: workers did not answer twice as many questions in a row as there are slots, and had to be
    killed each time. One question is let through after a pause, and then after growing pauses; the first
    answer closes it. Workers that die of a question do not open it: they are replaced at once, and a client
    that knows how to crash PHP could otherwise keep out all others.

    Args:
        slots: how many workers the pool has; 0 when it starts one for each question, so that there are no
            slots that could be down.
        at_a_time: how many questions are put to workers at a time.
        refuse_waiting: refuses the questions that wait for a worker.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        slots: int,
        at_a_time: int,
        refuse_waiting: Callable[[type[WorkersDown], str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slots = slots
        self._patience = 2 * at_a_time
        self._refuse_waiting = refuse_waiting
        self._clock = clock
        self._empty: dict[Hashable, int] = {}
        self._down = False
        self._timeouts = 0
        self._too_slow = False
        self._pause = FIRST_PAUSE
        self._next_trial = 0.0

    @property
    def refuses(self) -> bool:
        """Whether a question would be refused now. Between two trials it is open and refuses nobody."""
        return self._down or (self._too_slow and self._clock() < self._next_trial)

    def admit(self) -> None:
        """Let a question through; every question asks this first.

        Raises:
            WorkersDown: it is refused.
        """
        if self._down:
            raise WorkersDown(_DOWN)
        if self._too_slow:
            now = self._clock()
            if now < self._next_trial:
                raise WorkersDown(_TOO_SLOW)
            # This question is the trial. The next one is later even if this one is never put to a worker.
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._next_trial = now + self._pause

    def answered(self) -> None:
        """A worker has answered a question, be it with an error; or all are new, and get a new chance."""
        if self._too_slow:
            log.warning("clients are no longer refused, PHP workers answer or were replaced")
        self._timeouts = 0
        self._too_slow = False

    def timed_out(self) -> None:
        """A worker did not answer in time."""
        self._timeouts += 1
        # Equal, not more: while it is open the trials time out, too, and must not log it again.
        if self._timeouts == self._patience:
            self._too_slow = True
            self._pause = FIRST_PAUSE
            self._next_trial = self._clock() + self._pause
            log.error(
                "PHP workers do not answer, clients are refused until one does", timeouts=self._timeouts
            )
            self._refuse_waiting(WorkersDown, _TOO_SLOW)

    def emptied(self, slot: Hashable, failures: int) -> None:
        """A slot has no worker, after so many failures in a row to keep one."""
        self._empty[slot] = failures
        # A pool without slots (debug) never comes here, and one working slot is hope enough.
        hopeless = len(self._empty) == self._slots and min(self._empty.values()) >= DOWN_AFTER
        if hopeless and not self._down:
            self._down = True
            log.error("PHP workers are down, clients are refused until one starts")
            self._refuse_waiting(WorkersDown, _DOWN)

    def filled(self, slot: Hashable) -> None:
        """A slot has a worker."""
        self._empty.pop(slot, None)
        if self._down:
            self._down = False
            log.warning("a PHP worker has started, clients are no longer refused")

    def metrics(self) -> Iterator[Sample]:
        """Yield whether it is open, by reason."""
        reasons = {"down": float(self._down), "timeouts": float(self._too_slow)}
        yield gauge("workers_breaker_open", "1 while questions are refused at once.", reasons, "reason")
