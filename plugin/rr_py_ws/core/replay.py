"""What is sent again to a client that has joined with a position: encoded as the client takes it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from rr_py_ws.core.exclusion import is_excluded
from rr_py_ws.core.history import Recoveries
from rr_py_ws.core.ports import Subscriber
from rr_py_ws.core.shared import Shared
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.push import Encoding
from rr_py_ws.wire.recovery import OFF, Missed, Recovered, Recovery

_OVERHEAD = 64
"""Bytes that a message of a replay takes beside its payload."""
_MOST_SHARED = 100
"""Messages of a replay that is encoded once for all who get the same,"""
_KEPT = 500
"""and bytes that each takes beside payload and frame."""

_shared = Shared[bytes]()


class Replay:
    """Publications that one client is still to be sent.

    Only the payloads are kept, which the history keeps anyway, or others who wait for the same: a frame is
    made when the client takes it. What is small is made once for all who are sent just that.

    Args:
        encoding: that of the client.
        publications: in order.
    """

    __slots__ = ("_all", "_encoding", "_waiting")

    def __init__(self, encoding: Encoding, publications: Missed) -> None:
        self._encoding = encoding
        self._all = publications
        self._waiting = deque(publications)

    def __len__(self) -> int:
        """Return how many are left."""
        return len(self._waiting)

    @property
    def topics(self) -> Sequence[tuple[str, int]]:
        """The topics of what is left, and how many messages of each."""
        return tuple(Counter([publication.topic for publication in self._waiting]).items())

    def next_frames(self, size: int) -> bytes:
        """Take whole frames, of so many bytes or a little more; empty at the end."""
        if len(self._waiting) > _MOST_SHARED:
            return self._take(size)
        is_begun = len(self._waiting) < len(self._all)
        key = self._encoding, tuple(self._waiting) if is_begun else self._all
        frames = _shared.get(key)
        if frames is None:
            frames = self._take(size)
            if not self._waiting:
                _shared.add(key, frames, 2 * len(frames) + _KEPT * len(key[1]))
        elif len(frames) <= size:
            self._waiting.clear()
        else:
            frames = self._take(size)
        return frames

    def _take(self, size: int) -> bytes:
        frames = []
        while size > 0 and self._waiting:
            frame = self._encoding.push(self._waiting.popleft())
            size -= len(frame)
            frames.append(frame)
        return b"".join(frames)


def settle_recoveries(
    subscriber: Subscriber, wishes: Mapping[str, Wish], recoveries: Recoveries, size: int
) -> tuple[list[Recovered], Missed]:
    """Return what a client is told of its wishes, and what it is sent.

    Args:
        subscriber: messages that it is excluded from are left out.
        wishes: of the join; those without a recovery were not to be granted.
        recoveries: of the topics.
        size: bytes for all topics together. Of a topic that does not fit, who has wished for what came after
            a position is sent nothing, and who has wished for the newest is sent those that fit.
    """
    told: list[Recovered] = []
    sent: list[Missed] = []
    for topic, (position, replay, reason) in limit_recoveries(wishes, recoveries, size).items():
        if replay.excludes:
            replay = Missed([found for found in replay if not is_excluded(subscriber, found)])
        told.append(Recovered(topic, position, len(replay), reason))
        if replay:
            sent.append(replay)
    return told, sent[0] if len(sent) == 1 else Missed(chain.from_iterable(sent))


def fit(replays: Iterable[Missed], size: int) -> bool:
    """Whether all of these may be sent; see `settle_recoveries`."""
    return sum(map(_weight, replays)) <= size


def limit_recoveries(wishes: Mapping[str, Wish], recoveries: Recoveries, size: int) -> Recoveries:
    """Return what may be sent of recoveries, see `settle_recoveries`, in the order of the wishes."""
    limited: Recoveries = {}
    for topic, wish in wishes.items():
        recovery = recoveries.get(topic, OFF)
        fitting, weight = _fit(recovery.replay, size)
        if fitting < len(recovery.replay):
            if not isinstance(wish, int):
                fitting, weight = 0, 0
            recovery = _newest(recovery, fitting)
        size -= weight
        limited[topic] = recovery
    return limited


def _fit(replay: Missed, size: int) -> tuple[int, int]:
    """Return how many of the newest fit into so many bytes, and how many bytes these take."""
    count, weight = len(replay), _weight(replay)
    if weight <= size:
        return count, weight
    count = weight = 0
    for publication in reversed(replay):
        more = weight + len(publication.payload) + _OVERHEAD
        if more > size:
            break
        count, weight = count + 1, more
    return count, weight


def _weight(replay: Missed) -> int:
    return replay.size + _OVERHEAD * len(replay)


def _newest(recovery: Recovery, count: int) -> Recovery:
    """Leave out all but so many of the newest, of which there are more."""
    left = len(recovery.replay) - count
    return Recovery(recovery.replay[left - 1].position, Missed(recovery.replay[left:]), "limit")
