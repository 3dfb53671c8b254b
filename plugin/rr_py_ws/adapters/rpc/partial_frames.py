"""Frames that have arrived in part: how much memory they take, and for how long.

One object watches over those of a whole listener, and counts calls that are held for a topic with them.
A connection between two frames, which is how PHP workers spend their lives, is not known here and costs
nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.metrics import RPCMetrics

if TYPE_CHECKING:
    from rr_py_ws.adapters.rpc.connection import RPCConnection

_STEP = 1024 * 1024
"""Bytes of a frame that get the time that one frame has."""
_CHECKS = 4
"""How often a frame is checked within its time."""

_limited = logs.get_limited("rpc")


class Pause:
    """Why a connection is not read, as bits of an int; it is read when no reason is left.

    No IntFlag: whether one has any bits is asked with each call, and takes as long as to publish its message.

    Attributes:
        REPLIES: the peer does not take its replies.
        CALLS: many of its calls are unfinished.
        MEMORY: partial frames take too much memory, and others were begun before.
        BACKPRESSURE: publishers are paused.
        TURN: it has brought enough for this turn of the loop.
        LARGE: a large call of it is being carried out.
        HELD: the call that is next waits: for receivers of a topic, or for RoadRunner.
    """

    REPLIES = 1
    CALLS = 2
    MEMORY = 4
    BACKPRESSURE = 8
    TURN = 16
    LARGE = 32
    HELD = 64


_BUSY = Pause.REPLIES | Pause.CALLS | Pause.LARGE | Pause.HELD


@dataclass(slots=True)
class _Frame:
    """The partial frame of a connection.

    Attributes:
        deadline: when it should be complete, or have grown by a step.
        kept: bytes of it in memory.
        arrived: bytes of it since the deadline was set.
        late: whether the deadline had passed at the last check.
    """

    deadline: float
    kept: int = 0
    arrived: int = 0
    late: bool = False


class PartialFrames:
    """The partial frames of all connections of a listener, in the order in which they began.

    Args:
        limit: bytes in memory, over which only the first frame is read on. It goes on until it is complete or
            late, so the others get their turns. What one read of each connection brings can come on top.
        timeout: seconds for each MiB of a frame, while its connection is read.
        counters: counted into.
    """

    def __init__(self, limit: int, timeout: float, counters: RPCMetrics) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._timeout = timeout
        self._counters = counters
        self._frames: dict[RPCConnection, _Frame] = {}
        self._kept = 0
        self._large = 0
        self._abandoned = 0
        self._pausing = False
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    def reload(self, limit: int, timeout: float) -> None:
        """Go by another limit, and by another time for frames that begin or grow from now on."""
        self._limit = limit
        self._timeout = timeout
        self._count(0)

    def update(self, connection: RPCConnection, arrived: int, kept: int, *, another: bool) -> None:
        """Take note of a frame that is not complete.

        Args:
            connection: whose it is.
            arrived: bytes that came since the last time.
            kept: bytes in memory.
            another: whether it is not the frame of the last time.
        """
        if another:
            self.discard(connection)
        frame = self._frames.get(connection)
        if frame is None:
            frame = self._frames[connection] = _Frame(self._loop.time() + self._timeout)
            # One timer for all, and none while no frame is incomplete.
            if self._timer is None:
                self._timer = self._loop.call_later(self._timeout / _CHECKS, self._check_deadlines)
        self._count(kept - frame.kept)
        frame.kept = kept
        frame.arrived += arrived
        # A large frame on a slow line is fine as long as it goes on growing.
        if frame.arrived >= _STEP:
            self._give_time(frame)

    def has_room(self, size: int) -> bool:
        """Whether a whole frame may be kept, too: half of the memory is for those that are not whole."""
        return self._kept + size <= self._limit // 2

    def discard(self, connection: RPCConnection) -> None:
        """Take note that a connection has no partial frame."""
        frame = self._frames.pop(connection, None)
        if frame is not None:
            self._count(-frame.kept)

    def count_abandoned(self, size: int) -> bool:
        """Take note that the publisher of a large call has left; returns whether the call may be kept.

        Calls of those that have left have a quarter of the memory: nobody would be read while they fill it.
        """
        if self._abandoned + size > self._limit // 4:
            self._counters.abandoned += 1
            _limited.warning(
                "rpc calls dropped: their publishers have left, see websockets.limits.rpc_memory", bytes=size
            )
            return False
        self._abandoned += size
        return True

    def forget_abandoned(self, size: int) -> None:
        """Take note that such a call has ended."""
        self._abandoned -= size

    def count_large(self, more: int) -> None:
        """Count bytes of large calls, which wait for one another, with those of partial frames."""
        self._large += more
        self._count(more)

    def close(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _count(self, more: int) -> None:
        """Count bytes in memory, and choose again who is read.

        Not at once: a connection that is read again may be served during that call, and its frame be complete
        by then.
        """
        self._kept += more
        self._counters.partial_bytes += more
        if (self._pausing or self._kept > self._limit) and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._schedule)

    def _schedule(self) -> None:
        """Choose who is read: all of them, or over the limit the first that can go on."""
        self._scheduled = False
        self._pausing = pausing = self._kept > self._limit
        # One that waits for its own calls or replies would be the first for ever. And while large calls wait
        # their end makes room; to complete one frame after another would make many of them.
        candidates = () if self._large > self._limit else self._frames
        first = next((connection for connection in candidates if not connection.paused & _BUSY), None)
        # A copy: one that is read again may complete its frame and be discarded meanwhile.
        for connection in tuple(self._frames):
            connection.pause(Pause.MEMORY, pausing and connection is not first)

    def _check_deadlines(self) -> None:
        """Close what is late at two checks: the bytes may be there, and this process have stood still."""
        now = self._loop.time()
        for connection, frame in tuple(self._frames.items()):
            # It is not the peer's fault that nothing arrives while nobody reads.
            if connection.paused:
                self._give_time(frame)
            elif now >= frame.deadline:
                if frame.late:
                    connection.close_late()
                frame.late = True
        self._timer = None
        if self._frames:
            self._timer = self._loop.call_later(self._timeout / _CHECKS, self._check_deadlines)
            self._count(0)  # the first one may have become busy meanwhile

    def _give_time(self, frame: _Frame) -> None:
        frame.deadline = self._loop.time() + self._timeout
        frame.arrived = 0
        frame.late = False
