"""What waits for one slow receiver: whole frames, in order, bounded in bytes.

Pushes are kept as they came: the same bytes object waits for everybody who is stuck at the same place, so
that many stuck receivers take little more memory than one. Everything else (replies, pongs, a close frame)
belongs to one connection, and is gathered. What is too large to leave at once leaves in parts, views of these
same bytes: a transport copies, or encrypts, what it is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from rr_py_ws.wire.publication import Pushes

OnDrop = Callable[[Pushes], bool]
"""Takes pushes that are dropped; returns whether the client is to be told of their topics."""


class SendQueue:
    """A queue of frames with a limit in bytes.

    Args:
        limit: most bytes that may wait. Pushes that find nothing else waiting are taken when they alone are
            over it, so that a single message larger than the limit can be delivered at all.
        encode_gap: encodes the message that tells of topics whose messages were dropped.
        on_drop: None: a full queue refuses what comes. Otherwise a full queue drops its oldest pushes, and a
            `#gap` message stands in their place.

    Attributes:
        size: bytes that wait; of topics to be told of their names. The rest of what was begun is not counted:
            a message may be larger than the limit, and others wait behind it all the same.
    """

    __slots__ = ("_begun", "_encode_gap", "_limit", "_missed", "_on_drop", "_queue", "_replies", "size")

    def __init__(
        self, limit: int, encode_gap: Callable[[Sequence[str]], bytes], on_drop: OnDrop | None = None
    ) -> None:
        self._limit = limit
        self._encode_gap = encode_gap
        self._on_drop = on_drop
        # In the order in which they leave: the rest of what was begun, replies, what was dropped, then the
        # rest, which begins with pushes.
        self._begun: bytes | memoryview = b""
        self._replies = bytearray()
        self._missed: dict[str, None] = {}
        self._queue: deque[Pushes | bytearray] = deque()
        self.size = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._begun or self._queue or self._replies or self._missed)

    def begin(self, rest: memoryview) -> None:
        """Queue the rest of frames that were begun, before everything else; nothing waits yet."""
        assert not self
        self._begun = rest

    def put(self, frames: bytes, *, force: bool = False) -> bool:
        """Queue what may not be dropped.

        Args:
            frames: whole ones.
            force: queue also what exceeds the limit: a close frame, without which the client would not know
                why its connection ends.

        Returns:
            False when the frames would exceed the limit; then they are not queued.
        """
        if not self._make_room(len(frames)) and not force:
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

    def put_pushes(self, pushes: Pushes) -> bool:
        """Queue pushes; False (and they are not queued) when that would exceed the limit and none may go."""
        if not self._make_room(len(pushes.frames)) and self._on_drop is None:
            return False
        self._queue.append(pushes)
        self.size += len(pushes.frames)
        return True

    def get(self, size: int) -> list[bytes | memoryview]:
        """Take what waits longest, so many bytes or all that there is."""
        taken: list[bytes | memoryview] = []
        while size > 0 and (part := self._begun or self._take_next()):
            self._begun = b""
            if len(part) > size:
                view = memoryview(part)
                part, self._begun = view[:size], view[size:]
            size -= len(part)
            taken.append(part)
        return taken

    def clear(self) -> None:
        """Drop everything but the rest of what was begun, without which nothing that follows can be read."""
        self._queue.clear()
        self._replies.clear()
        self._missed.clear()
        self.size = 0

    def _take_next(self) -> bytes:
        """Take whole frames; empty when there are none."""
        if self._missed and not self._replies:
            self._end_gap()
        if self._replies:
            frames = bytes(self._replies)
            self._replies.clear()
        elif self._queue:
            frames = self._pop_pushes().frames
            self._take_replies()
        else:
            return b""
        self.size -= len(frames)
        return frames

    def _make_room(self, size: int) -> bool:
        """Drop what may be dropped until so many bytes fit; return whether they do."""
        while self.size and self.size + size > self._limit:
            if self._on_drop is None or not self._queue:
                return False
            pushes = self._pop_pushes()
            self.size -= len(pushes.frames)
            if self._on_drop(pushes):
                for topic, _ in pushes.topics:
                    if topic not in self._missed:
                        self._missed[topic] = None
                        self.size += len(topic)
            if self._queue and isinstance(self._queue[0], bytearray):
                self._end_gap()
                self._take_replies()
        return True

    def _pop_pushes(self) -> Pushes:
        pushes = self._queue.popleft()
        assert isinstance(pushes, Pushes)  # kept so by `_take_replies`
        return pushes

    def _take_replies(self) -> None:
        """Restore that the queue begins with pushes."""
        if self._queue and isinstance(replies := self._queue[0], bytearray):
            self._replies += replies
            self._queue.popleft()

    def _end_gap(self) -> None:
        """Put the message about what was dropped so far behind the replies that precede it."""
        if self._missed:
            gap = self._encode_gap(tuple(self._missed))
            self._replies += gap
            self.size += len(gap) - sum(map(len, self._missed))
            self._missed.clear()
