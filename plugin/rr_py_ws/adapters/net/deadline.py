"""Time limits of peers: nobody is given up before a second look.

A process may stand still: it was stopped, its machine was paused, something kept the event loop busy. Then
the time of a peer is over although what the peer has sent in time waits in its socket. So when the time is
over, the event loop reads its sockets once more, and peers that are about to answer have a moment for it.
Only then does the owner of the limit look whether it was kept.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

MOMENT = 0.05
"""Seconds between the two looks, at least."""

TIMER_ERROR = 0.001
"""Seconds by which a timer may fire too early: uvloop rounds to milliseconds."""
_FEW = 64
"""Cancelled deadlines that are kept in any case."""


class Deadline:
    """Calls back once, after the second look. All of a loop share one timer: nearly all are cancelled.

    Args:
        when: the time is over then, in the event loop's time.
        on_expired: called with the time of the first look. What was not over by then is not late: it has its
            own second look.

    Attributes:
        cancelled: whether nobody is called back.
    """

    __slots__ = ("_on_expired", "_queue", "_second_look", "cancelled")

    def __init__(self, when: float, on_expired: Callable[[float], object]) -> None:
        self.cancelled = False
        self._on_expired = on_expired
        self._second_look: asyncio.TimerHandle | None = None
        self._queue: _DeadlineQueue | None = _queue_of_loop()
        self._queue.add(when, self)

    def cancel(self) -> None:
        """Do not call back. Whoever calls this, and what is called back, may refer to each other."""
        if not self.cancelled:
            self.cancelled = True
            self._on_expired = _do_nothing
            if self._queue is not None:
                self._queue.cancelled_one()
            elif self._second_look is not None:
                self._second_look.cancel()

    def leave_queue(self) -> None:
        """The time has come for the first look."""
        self._queue = None

    def look_again(self, loop: asyncio.AbstractEventLoop, first: float) -> None:
        """Call back in a moment, unless it is cancelled."""
        if not self.cancelled:
            self._second_look = loop.call_later(MOMENT, self._on_expired, first)


class _DeadlineQueue:
    """The deadlines of one loop, in the order of their times. Those that are cancelled leave it later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._heap: list[tuple[float, int, Deadline]] = []
        self._numbers = itertools.count()  # of two with one time the first comes first
        self._cancelled = 0
        self._timer: asyncio.TimerHandle | None = None
        self._next = math.inf

    def add(self, when: float, deadline: Deadline) -> None:
        """Look at this one, too."""
        heapq.heappush(self._heap, (when, next(self._numbers), deadline))
        if when < self._next:
            self._set_timer(when)

    def cancelled_one(self) -> None:
        """Forget those that are cancelled when they are more than the others, or all."""
        self._cancelled += 1
        if self._cancelled == len(self._heap):
            self._heap.clear()
            self._cancelled = 0
            self._stop_timer()
        elif self._cancelled > _FEW and self._cancelled > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if not entry[2].cancelled]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._next = None, math.inf

    def _set_timer(self, when: float) -> None:
        self._stop_timer()
        self._next = when
        self._timer = self.loop.call_at(when, self._look)

    def _look(self) -> None:
        """Take those out whose time has come, for a second look, and wait for the next one."""
        self._timer, self._next = None, math.inf
        now = self.loop.time()
        due: list[Deadline] = []
        while self._heap and (self._heap[0][2].cancelled or self._heap[0][0] <= now + TIMER_ERROR):
            deadline = heapq.heappop(self._heap)[2]
            if deadline.cancelled:
                self._cancelled -= 1
            else:
                deadline.leave_queue()
                due.append(deadline)
        if self._heap:
            self._set_timer(self._heap[0][0])
        if due:
            # A timer alone would do in asyncio, which handles what it has read before timers. uvloop updates
            # its clock with each timer that is set, so that one could fire in the pass in which it was set.
            self.loop.call_soon(self._look_again, due, now)

    def _look_again(self, due: Sequence[Deadline], first: float) -> None:
        for deadline in due:
            deadline.look_again(self.loop, first)


_queues: list[_DeadlineQueue] = []
"""That of the loop that runs; a process has one loop, only tests have one after the other."""


def _queue_of_loop() -> _DeadlineQueue:
    loop = asyncio.get_running_loop()
    if not _queues or _queues[0].loop is not loop:
        _queues[:] = [_DeadlineQueue(loop)]
    return _queues[0]


def _do_nothing(now: float) -> None:
    pass


@asynccontextmanager
async def timeout(seconds: float | None) -> AsyncIterator[None]:
    """`asyncio.timeout` with a second look: the answer of a peer that is there already is not too late."""
    async with asyncio.timeout(None) as scope:
        if seconds is None:
            yield
            return
        deadline = Deadline(asyncio.get_running_loop().time() + seconds, scope.reschedule)
        try:
            yield
        finally:
            deadline.cancel()
