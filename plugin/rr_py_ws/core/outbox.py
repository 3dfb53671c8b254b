"""What waits for one slow receiver: whole frames, in order, bounded in bytes.

Pushes are kept as they came: the same bytes object waits for everybody who is stuck at the same place, so
that many stuck receivers take little more memory than one. Everything else (replies, pongs, a close frame)
belongs to one connection, and is gathered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from rr_py_ws.wire.push import encode_reply

Lose = Callable[[bytes], Sequence[str]]


class Outbox:
    """A queue of frames with a limit in bytes.

    Args:
        limit: most bytes that may wait. Pushes that find no others waiting are taken when they alone are over
            it, so that a single message larger than the limit can be delivered at all.
        lose: None: a full queue refuses what comes. Else it drops its oldest pushes, and calls this with them
            (whole frames) for the topics that the receiver is to be told of; a `#gap` stands for them in
            the queue.
    """

    __slots__ = ("_limit", "_lose", "_missed", "_queue", "_replies", "size")

    def __init__(self, limit: int, lose: Lose | None = None) -> None:
        self._limit = limit
        self._lose = lose
        # In the order in which they leave: replies, what was lost, then the rest, which begins with a push.
        self._replies = bytearray()
        self._missed: dict[str, None] = {}
        self._queue: deque[bytes | bytearray] = deque()
        self.size = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._queue or self._replies or self._missed)

    def put(self, frames: bytes | memoryview) -> bool:
        """Queue what may not be dropped; False (and it is not queued) when that would exceed the limit."""
        if not self._make_room(len(frames)):
            return False
        if not self._queue:
            self._end_gap()
            self._replies += frames
        elif isinstance(self._queue[-1], bytearray):
            self._queue[-1] += frames
        else:
            self._queue.append(bytearray(frames))
        self.size += len(frames)
        return True

    def put_pushes(self, frames: bytes) -> bool:
        """Queue pushes; False (and they are not queued) when that would exceed the limit and none may go."""
        if not self._make_room(len(frames)) and self._lose is None:
            return False
        self._queue.append(frames)
        self.size += len(frames)
        return True

    def get(self, size: int) -> list[bytes]:
        """Take what waits longest, until it is `size` bytes together or more. Only when something waits."""
        taken = [self._take()]
        size -= len(taken[0])
        while self and size > 0:
            taken.append(self._take())
            size -= len(taken[-1])
        return taken

    def clear(self) -> None:
        """Drop everything."""
        self._queue.clear()
        self._replies.clear()
        self._missed.clear()
        self.size = 0

    def _take(self) -> bytes:
        if self._replies:
            frames = bytes(self._replies)
            self._replies.clear()
        elif self._missed:
            self._end_gap()
            return self._take()
        else:
            frames = cast(bytes, self._queue.popleft())
            self._take_replies()
        self.size -= len(frames)
        return frames

    def _make_room(self, size: int) -> bool:
        """Drop what may be dropped until so many bytes fit; whether they do."""
        while self and self.size + size > self._limit:
            if self._lose is None or not self._queue:
                return False
            self._drop_oldest(self._lose)
        return True

    def _drop_oldest(self, lose: Lose) -> None:
        pushes = cast(bytes, self._queue.popleft())
        self.size -= len(pushes)
        for topic in lose(pushes):
            if topic not in self._missed:
                self._missed[topic] = None
                self.size += len(topic)
        if self._queue and isinstance(self._queue[0], bytearray):
            self._end_gap()
            self._take_replies()

    def _take_replies(self) -> None:
        """Restore that the queue begins with a push."""
        if self._queue and isinstance(self._queue[0], bytearray):
            self._replies += self._queue.popleft()

    def _end_gap(self) -> None:
        """Put the message about what was lost so far behind the replies that precede it."""
        if self._missed:
            gap = encode_reply("#gap", tuple(self._missed), id="")
            self._replies += gap
            self.size += len(gap) - sum(map(len, self._missed))
            self._missed.clear()
