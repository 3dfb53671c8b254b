"""What waits for one slow receiver: whole frames, in order, bounded in bytes.

Pushes are kept as they came: the same bytes object waits for everybody who is stuck at the same place, so
that many stuck receivers take little more memory than one. A replay is encoded only as it leaves. Everything
else (replies, pongs, a close frame) belongs to one connection, and is gathered. What is too large to leave at
once leaves in parts, views of these same bytes: a transport copies, or encrypts, what it is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from rr_py_ws.core.replay import Replay
from rr_py_ws.wire.publication import Pushes

_REPLAYED_AT_ONCE = 64 * 1024
"""Bytes of a replay that are encoded at a time."""

OnDrop = Callable[[Pushes], None]
"""Takes pushes that are dropped."""


class SendQueue:
    """A queue of frames with limits in bytes.

    A queue is full when what waits has reached the ceiling. One that is not full takes the next pushes
    whatever their size: a single message is never a reason to give somebody up.

    Args:
        limit: bytes that may wait for a receiver that takes nothing, and so many of its own answers.
        ceiling: bytes that may wait for one that takes some.
        encode_gap: encodes the message that tells of topics whose messages were dropped.
        on_drop: None: a full queue refuses what comes. Otherwise a full queue drops its oldest pushes, and a
            `#gap` message stands in their place.

    Attributes:
        replays: how many wait, at least in part.
        size: bytes that wait; of topics to be told of their names. The rest of what was begun is not counted:
            a message may be larger than the limit, and others wait behind it all the same.
        taken: bytes that were given back so far.
    """

    __slots__ = (
        "_answers",
        "_begun",
        "_ceiling",
        "_encode_gap",
        "_limit",
        "_missed",
        "_on_drop",
        "_queue",
        "_replies",
        "replays",
        "size",
        "taken",
    )

    def __init__(
        self,
        limit: int,
        ceiling: int,
        encode_gap: Callable[[Sequence[str]], bytes],
        on_drop: OnDrop | None = None,
    ) -> None:
        self._limit = limit
        self._ceiling = ceiling
        self._encode_gap = encode_gap
        self._on_drop = on_drop
        # In the order in which they leave: the rest of what was begun, replies, what was dropped, then the
        # rest, which begins with pushes.
        self._begun: bytes | memoryview = b""
        self._replies = bytearray()
        self._missed: dict[str, None] = {}
        self._queue: deque[Pushes | Replay | bytearray] = deque()
        self._answers = 0  # bytes in `_replies`, and in the arrays of `_queue`
        self.replays = 0
        self.size = 0
        self.taken = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._begun or self._queue or self._replies or self._missed)

    @property
    def is_over(self) -> bool:
        """Whether more waits than may wait for a receiver that takes nothing."""
        return self.size > self._limit

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
            False when the queue is full, or as many answers wait as may; then they are not queued.
        """
        if not force and (self._answers >= self._limit or not self._make_room()):
            return False
        if not self._queue:
            self._end_gap()
            self._replies += frames
        elif isinstance(self._queue[-1], bytearray):
            self._queue[-1] += frames
        else:
            self._queue.append(bytearray(frames))
        self._answers += len(frames)
        self.size += len(frames)
        return True

    def put_pushes(self, pushes: Pushes) -> bool:
        """Queue pushes; False (and they are not queued) when the queue is full and none may go."""
        if not self._make_room() and self._on_drop is None:
            return False
        self._queue.append(pushes)
        self.size += len(pushes.frames)
        return True

    def put_replay(self, replay: Replay) -> None:
        """Queue what is to be sent again. It is of what the history keeps, and so does not count as waiting.

        The history may go on and drop what the replay still has, so nobody should have many of them.
        """
        self._queue.append(replay)
        self.replays += 1

    def end_grace(self) -> bool:
        """Let no more wait than for a receiver that takes nothing; return whether dropping achieves that."""
        self._ceiling = self._limit
        self._make_room()
        return self._on_drop is not None

    def get(self, size: int) -> list[bytes | memoryview]:
        """Take what waits longest, so many bytes or all that there is."""
        taken: list[bytes | memoryview] = []
        while size > 0 and (part := self._begun or self._take_next()):
            self._begun = b""
            if len(part) > size:
                view = memoryview(part)
                part, self._begun = view[:size], view[size:]
            size -= len(part)
            self.taken += len(part)
            taken.append(part)
        return taken

    def clear(self) -> None:
        """Drop everything but the rest of what was begun, without which nothing that follows can be read."""
        self._queue.clear()
        self._replies.clear()
        self._missed.clear()
        self.size = self._answers = self.replays = 0

    def _take_next(self) -> bytes:
        """Take whole frames; empty when there are none."""
        if self._missed and not self._replies:
            self._end_gap()
        if self._replies:
            frames = bytes(self._replies)
            self._replies.clear()
            self._answers -= len(frames)
        elif self._queue:
            if isinstance(replay := self._queue[0], Replay):
                frames = replay.next_frames(_REPLAYED_AT_ONCE)
                self.size += len(frames)
                if not replay:
                    self._queue.popleft()
                    self.replays -= 1
            else:
                frames = self._pop_pushes().frames
            self._take_replies()
        else:
            return b""
        self.size -= len(frames)
        return frames

    def _make_room(self) -> bool:
        """Drop what may be dropped until the queue is not full; return whether it is so."""
        while self.size >= self._ceiling:
            if self._on_drop is None or not self._queue:
                return False
            pushes = self._pop_pushes()
            self.size -= len(pushes.frames)
            self._on_drop(pushes)
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
        if isinstance(pushes, Replay):
            self.replays -= 1
            return Pushes(b"", pushes.topics)
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
            self._answers += len(gap)
            self.size += len(gap) - sum(map(len, self._missed))
            self._missed.clear()
