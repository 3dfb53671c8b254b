"""Whose turn it is: handshakes are decided in order, not too many at a time and not too fast.

After a restart of a server or a proxy all clients come back at once. PHP is asked about a few of them at a
time; so a join of a client that is connected already has at most these few before it, and who would have to
wait too long is told so while it still listens.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from rr_py_ws.adapters.net.timeout_queue import Deadlines
from rr_py_ws.core.token_bucket import Pace

_BURST = 0.1
"""Seconds: what is within the rate for so long may begin at once."""
_PACE = 0.01
"""Seconds between two looks at least, when it is the rate that is waited for."""


class Applicant(Protocol):
    """Who wants to be decided about."""

    def proceed(self, waited: float) -> None:
        """Its turn has come, after so many seconds."""

    def waited_too_long(self) -> None:
        """Its turn has not come in time; it is forgotten."""


class Turns:
    """A queue before a decision.

    Args:
        at_once: how many may be decided at a time.
        per_second: how many may begin in a second; 0 for any number.
        wait: seconds after which who waits is given up.
    """

    def __init__(self, at_once: int, per_second: float, wait: float) -> None:
        self._at_once = at_once
        self._pace = Pace(per_second, _BURST)
        self._waiting = Deadlines[Applicant](wait, lambda applicant: applicant.waited_too_long())
        self._running = 0
        self._paid_at = 0.0
        self._wakeup: asyncio.Handle | None = None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def ask(self, applicant: Applicant) -> bool:
        """Ask for a turn; True: it is now. False: `proceed` or `waited_too_long` is called later.

        In any case but that of `waited_too_long`, `done` has to be called in the end.
        """
        now = asyncio.get_running_loop().time()
        if not self._waiting and self._may_begin(now):
            self._running += 1
            return True
        self._waiting.add(applicant, now)
        self._look_later(now)
        return False

    def done(self, applicant: Applicant) -> None:
        """It is decided, or it has gone away, waiting or not."""
        if applicant in self._waiting:
            self._waiting.discard(applicant)
        else:
            self._running -= 1
        if self._waiting:
            self._look_later(asyncio.get_running_loop().time())

    def stop(self) -> None:
        """Call nobody any more."""
        self._waiting.stop()
        if self._wakeup is not None:
            self._wakeup.cancel()

    def _may_begin(self, now: float) -> bool:
        """Whether one may begin; when it may, its part of the rate is used up."""
        if self._running >= self._at_once or self._pace.delay(self._paid_at, now) > 0:
            return False
        self._paid_at = self._pace.spend(self._paid_at, 1, now)
        return True

    def _look_later(self, now: float) -> None:
        """Look who may begin: soon, or when the rate allows it. Not when all turns are taken; see `done`."""
        if self._wakeup is not None or self._running >= self._at_once:
            return
        loop = asyncio.get_running_loop()
        pause = self._pace.delay(self._paid_at, now)
        if pause > 0:
            self._wakeup = loop.call_later(max(pause, _PACE), self._look)
        else:
            self._wakeup = loop.call_soon(self._look)

    def _look(self) -> None:
        self._wakeup = None
        now = asyncio.get_running_loop().time()
        while self._waiting and self._may_begin(now):
            applicant = next(iter(self._waiting))
            waited = now - self._waiting.since(applicant)
            self._waiting.discard(applicant)
            self._running += 1
            applicant.proceed(waited)
        if self._waiting:
            self._look_later(now)
