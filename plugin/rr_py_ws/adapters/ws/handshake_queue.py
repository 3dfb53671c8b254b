"""In what order handshakes are decided: not too many at a time, and not too fast.

After a restart of a server or a proxy all clients come back at once. PHP is asked about a few of them at a
time; so a join of a client that is connected already has at most these few before it, and a client that would
have to wait too long is told so while it still listens. Addresses take turns: one that sends requests faster
than PHP answers them lets nobody wait but itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rr_py_ws.adapters.net.timeout_queue import TimeoutQueue
from rr_py_ws.core.token_bucket import TokenBucket

if TYPE_CHECKING:
    from rr_py_ws.adapters.ws.upgrade import Upgrade

_BURST = 0.1
"""Seconds: what is within the rate for so long may begin at once."""
_LOOK_EVERY = 0.01
"""Seconds between two looks at least, when it is the rate that is waited for."""


class HandshakeQueue:
    """A queue in front of a decision.

    Args:
        at_once: how many may be decided at a time.
        per_second: how many may begin in a second; 0 for any number.
        wait: seconds after which a handshake that waits is given up; 0: at once.
    """

    def __init__(self, at_once: int, per_second: float, wait: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._at_once = at_once
        self._per_second = per_second
        self._bucket = TokenBucket(per_second, _BURST)
        self._bucket_full_at = 0.0
        self._waiting: TimeoutQueue[Upgrade] = TimeoutQueue(wait, self._expire)
        self._lines: dict[bytes | None, dict[Upgrade, None]] = {}
        """Those who wait, by address; the first of the first line is the next."""
        self._running = 0
        self._wakeup: asyncio.Handle | None = None

    def reload(self, at_once: int, per_second: float, wait: float) -> None:
        """Go by other limits, also for those that wait."""
        self._at_once = at_once
        self._per_second = per_second
        self._bucket = TokenBucket(per_second, _BURST)
        self._bucket_full_at = 0.0
        self._waiting.change(wait)
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        if self._waiting:
            self._look_later(self._loop.time())

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def may_begin(self) -> bool:
        """Whether a handshake may be decided now, because none waits; then its part of the rate is used up.

        One that is not decided at once has to `begin`.
        """
        if self._waiting or self._running >= self._at_once:
            return False
        return not self._per_second or self._take_of_rate(self._loop.time())

    def begin(self) -> None:
        """A handshake is being decided, until `leave`."""
        self._running += 1

    def enter(self, handshake: Upgrade) -> None:
        """Wait for a turn: `decide` or `expire` is called later, or `expire` was.

        In any case but that of `expire`, `leave` has to be called in the end.
        """
        now = self._loop.time()
        if not self._waiting.seconds:  # the queue would have a second look before it gives one up
            handshake.expire()
            return
        self._waiting.add(handshake, now)
        self._lines.setdefault(handshake.network, {})[handshake] = None
        self._look_later(now)

    def leave(self, handshake: Upgrade) -> None:
        """The handshake is decided, or the client has gone away, waiting or not."""
        if handshake in self._waiting:
            self._waiting.pop(handshake, None)
            self._leave_line(handshake)
        else:
            self._running -= 1
        if self._waiting:
            self._look_later(self._loop.time())

    def stop(self) -> None:
        """Call nobody any more."""
        self._waiting.stop()
        if self._wakeup is not None:
            self._wakeup.cancel()

    def _take_of_rate(self, now: float) -> bool:
        """Take the part of one handshake, if it is there."""
        if self._bucket.wait_time(self._bucket_full_at, now) > 0:
            return False
        self._bucket_full_at = self._bucket.consume(self._bucket_full_at, 1, now)
        return True

    def _look_later(self, now: float) -> None:
        """Look who may begin: soon, or when the rate allows it. When all turns are taken, `leave` looks."""
        if self._wakeup is not None or self._running >= self._at_once:
            return
        pause = self._bucket.wait_time(self._bucket_full_at, now)
        if pause > 0:
            self._wakeup = self._loop.call_later(max(pause, _LOOK_EVERY), self._look)
        else:
            self._wakeup = self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._wakeup = None
        now = self._loop.time()
        while self._waiting and self._running < self._at_once and self._take_of_rate(now):
            handshake = self._take_next()
            waited = now - self._waiting.since(handshake)
            self._waiting.pop(handshake, None)
            self._running += 1
            handshake.decide(waited)
        if self._waiting:
            self._look_later(now)

    def _take_next(self) -> Upgrade:
        """Take the first of the next address, which then waits behind the other addresses."""
        line = self._lines.pop(address := next(iter(self._lines)))
        handshake = next(iter(line))
        del line[handshake]
        if line:
            self._lines[address] = line
        return handshake

    def _leave_line(self, handshake: Upgrade) -> None:
        line = self._lines[handshake.network]
        del line[handshake]
        if not line:
            del self._lines[handshake.network]

    def _expire(self, handshake: Upgrade) -> None:
        self._leave_line(handshake)
        handshake.expire()
