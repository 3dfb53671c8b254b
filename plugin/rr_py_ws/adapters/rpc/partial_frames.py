"""Frames that have arrived in part: how much memory they take, and for how long.

One look-out for a whole server. A connection between two frames, which is how PHP workers spend their lives,
is not known here and costs nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from rr_py_ws.adapters.rpc.stats import RPCStats

_STEP = 1024 * 1024
_LOOKS = 4
"""How often a frame is looked at within its time."""


class Peer(Protocol):
    """A connection, as it is seen here. Compared by identity."""

    @property
    def busy(self) -> bool:
        """Whether it could not go on if it were read: its calls, or its replies, have to go first."""

    @property
    def blocked(self) -> bool:
        """Whether it is not read, for whatever reason."""

    def park(self, parked: bool) -> None:
        """Do not read it, or read it again. What has arrived may be served during the call."""

    def give_up(self) -> None:
        """Its frame does not arrive."""


@dataclass(slots=True)
class _Frame:
    """The unfinished frame of a peer.

    Attributes:
        deadline: when it should be complete, or have grown by a step.
        kept: bytes of it in memory.
        arrived: bytes of it since the deadline was set.
        late: whether the deadline has passed at the last look.
    """

    deadline: float
    kept: int = 0
    arrived: int = 0
    late: bool = False


class Unfinished:
    """The unfinished frames of all peers, in the order in which they began.

    Args:
        limit: bytes in memory, over which only the first frame is read on. It goes on until it is complete or
            late, so the others get their turns. What one read of each peer brings can come on top.
        timeout: seconds for each MiB of a frame. A peer that is not read is not timed.
        stats: counted into.
    """

    def __init__(self, limit: int, timeout: float, stats: RPCStats) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._timeout = timeout
        self._stats = stats
        self._frames: dict[Peer, _Frame] = {}
        self._kept = 0
        self._parking = False
        self._allotting = False
        self._timer: asyncio.TimerHandle | None = None

    def update(self, peer: Peer, arrived: int, kept: int, *, another: bool) -> None:
        """Take note of a frame that is not finished.

        Args:
            peer: whose it is.
            arrived: bytes that came since the last time.
            kept: bytes in memory.
            another: whether it is not the frame of the last time.
        """
        if another:
            self.finished(peer)
        frame = self._frames.get(peer)
        if frame is None:
            frame = self._frames[peer] = _Frame(self._loop.time() + self._timeout)
            if self._timer is None:
                self._timer = self._loop.call_later(self._timeout / _LOOKS, self._look)
        self._keep(kept - frame.kept)
        frame.kept = kept
        frame.arrived += arrived
        if frame.arrived >= _STEP:
            self._give_time(frame)
        self._allot_soon()

    def finished(self, peer: Peer) -> None:
        """Take note that a peer has no unfinished frame."""
        frame = self._frames.pop(peer, None)
        if frame is not None:
            self._keep(-frame.kept)
            self._allot_soon()

    def close(self) -> None:
        """Look out no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _keep(self, more: int) -> None:
        self._kept += more
        self._stats.unfinished += more

    def _allot_soon(self) -> None:
        """Not now: a peer that is read again may be served at once, and its frame finish meanwhile."""
        if (self._parking or self._kept > self._limit) and not self._allotting:
            self._allotting = True
            self._loop.call_soon(self._allot)

    def _allot(self) -> None:
        """Say who is read."""
        self._allotting = False
        self._parking = parking = self._kept > self._limit
        first = next((peer for peer in self._frames if not peer.busy), None)
        for peer in tuple(self._frames):
            peer.park(parking and peer is not first)

    def _look(self) -> None:
        """Give up who is late at two looks: the bytes may be there, and this process have stood still."""
        now = self._loop.time()
        for peer, frame in tuple(self._frames.items()):
            if peer.blocked:
                self._give_time(frame)
            elif now >= frame.deadline:
                if frame.late:
                    peer.give_up()
                frame.late = True
        self._timer = None
        if self._frames:
            self._timer = self._loop.call_later(self._timeout / _LOOKS, self._look)
            self._allot_soon()

    def _give_time(self, frame: _Frame) -> None:
        frame.deadline = self._loop.time() + self._timeout
        frame.arrived = 0
        frame.late = False
