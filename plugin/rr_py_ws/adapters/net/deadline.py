"""Time limits of peers: nobody is given up before a second look.

A process may stand still: it was stopped, its machine was paused, something kept the event loop busy. Then
the time of a peer is over although what the peer has sent in time waits in its socket. So when the time is
over, the event loop reads its sockets once more, and peers that are about to answer have a moment for it.
Only then does the owner of the limit look whether it was kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

MOMENT = 0.05
"""Seconds between the two looks, at least."""


class Deadline:
    """Calls back once, after the second look.

    Args:
        when: the time is over then, in the event loop's time.
        on_expired: called with the time of the first look. What was not over by then is not late: it has its
            own second look.
    """

    __slots__ = ("_handle", "_on_expired")

    def __init__(self, when: float, on_expired: Callable[[float], object]) -> None:
        self._on_expired = on_expired
        self._handle: asyncio.Handle = asyncio.get_running_loop().call_at(when, self._look)

    def cancel(self) -> None:
        """Do not call back. Whoever calls this, and what is called back, may refer to each other."""
        self._handle.cancel()
        self._on_expired = _do_nothing

    def _look(self) -> None:
        # A timer alone would do in asyncio, which handles what it has read before timers. uvloop updates its
        # clock with each timer that is set, so that one could fire in the pass in which it was set.
        loop = asyncio.get_running_loop()
        self._handle = loop.call_soon(self._look_again, loop.time())

    def _look_again(self, first: float) -> None:
        self._handle = asyncio.get_running_loop().call_later(MOMENT, self._on_expired, first)


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
