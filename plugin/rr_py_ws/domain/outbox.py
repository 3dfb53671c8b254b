"""What waits for one slow receiver: whole frames, in order, bounded in bytes."""

from __future__ import annotations

from collections import deque


class Outbox:
    """A queue of frames with a limit in bytes.

    Args:
        limit: most bytes that may wait. A frame that finds the queue empty is always taken, so that a single
            message larger than the limit can be delivered at all.
    """

    __slots__ = ("_frames", "_limit", "size")

    def __init__(self, limit: int) -> None:
        self._frames: deque[bytes] = deque()
        self._limit = limit
        self.size = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._frames)

    def put(self, frames: bytes) -> bool:
        """Queue frames; False (and nothing is queued) when that would exceed the limit."""
        if self._frames and self.size + len(frames) > self._limit:
            return False
        self._frames.append(frames)
        self.size += len(frames)
        return True

    def get(self) -> bytes:
        """Take what waits longest. Only when something waits."""
        frames = self._frames.popleft()
        self.size -= len(frames)
        return frames

    def clear(self) -> None:
        """Drop everything."""
        self._frames.clear()
        self.size = 0
