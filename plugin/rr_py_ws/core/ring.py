"""What is kept of one topic: its last publications, and the counter that outlives them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from rr_py_ws.core.shared import Shared
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.position import StreamPosition, decode_position
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.recovery import Missed, Reason, Recovery

_ANSWER, _MESSAGE = 1000, 300
"""Bytes that an answer takes that many get, and each message of it, besides names and payloads."""

_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class


class Entry(NamedTuple):
    """One publication that is kept.

    Attributes:
        offset: see `StreamPosition`.
        nonce: see `StreamPosition`.
        time: when it was published.
        payload: see `Publication`.
        exclude: see `Publication`.
    """

    offset: int
    nonce: int
    time: float
    payload: bytes
    exclude: tuple[str, ...]


class ReplayLimit(NamedTuple):
    """How much of a topic may be sent again at once.

    Attributes:
        messages: so many.
        size: bytes of their payloads.
    """

    messages: int
    size: int


class Ring:
    """The last publications of a topic, without a hole between the oldest and the newest.

    Args:
        epoch: see `StreamPosition`.
        top: offset of the newest publication, whether it is kept or not.
        nonce: of the newest publication.

    Attributes:
        epoch: as given.
        top: as given.
        nonce: as given.
        before_first: nonce of the publication before the oldest that is kept; 0 when nobody knows.
        entries: what is kept, oldest first; the last one is the newest publication, unless none is kept.
        size: bytes of the payloads that are kept.
    """

    __slots__ = ("before_first", "entries", "epoch", "nonce", "size", "top")

    def __init__(self, epoch: str, top: int = 0, nonce: int = 0) -> None:
        self.epoch = epoch
        self.top = top
        self.nonce = self.before_first = nonce
        self.entries: deque[Entry] = deque()
        self.size = 0

    @property
    def first(self) -> int:
        """The offset of the oldest publication that is kept; of the next one when none is."""
        return self.top - len(self.entries) + 1

    @property
    def position(self) -> Position:
        """Of the newest publication."""
        return str(StreamPosition(self.epoch, self.top, self.nonce))

    def append(self, entry: Entry) -> None:
        """Add the publication that follows the newest one."""
        self.entries.append(entry)
        self.top, self.nonce = entry.offset, entry.nonce
        self.size += len(entry.payload)

    def extend_left(self, entries: Sequence[Entry], before: int = 0) -> int:
        """Add publications that precede the oldest one; return the bytes of their payloads.

        Args:
            entries: without a hole, oldest first.
            before: nonce of the publication before these; 0 when nobody knows.
        """
        self.before_first = before
        self.entries.extendleft(reversed(entries))
        size = sum([len(entry.payload) for entry in entries])
        self.size += size
        return size

    def pop(self) -> Entry:
        """Drop the oldest publication."""
        entry = self.entries.popleft()
        self.size -= len(entry.payload)
        self.before_first = entry.nonce
        return entry

    def clear(self) -> None:
        """Drop all publications; the counter stays."""
        self.entries.clear()
        self.size = 0
        self.before_first = self.nonce

    def missing(self, position: StreamPosition | None) -> Reason:
        """Return why what came after a position is not all here; empty when it is."""
        if position is None or position.epoch != self.epoch:
            return "epoch"
        if position.offset > self.top:
            return "ahead"
        if position.offset < self.first - 1:
            return "trimmed"
        nonce = self.nonce_at(position.offset)
        return "epoch" if nonce and position.nonce and nonce != position.nonce else ""

    def after(self, offset: int) -> list[Entry]:
        """Return what is kept and came after an offset."""
        return self.newest(self.top - offset)

    def newest(self, count: int) -> list[Entry]:
        """Return the newest of what is kept, so many or all, oldest first."""
        count = max(0, min(count, len(self.entries)))
        found = list(islice(reversed(self.entries), count))
        found.reverse()
        return found

    def before(self, entries: Sequence[Entry]) -> Position:
        """Return the position before some of the newest publications."""
        offset = entries[0].offset - 1 if entries else self.top
        return str(StreamPosition(self.epoch, offset, self.nonce_at(offset)))

    def publication(self, topic: str, entry: Entry) -> Publication:
        """Return what is kept as it was published."""
        offset, nonce, time, payload, exclude = entry
        # As `str(StreamPosition(...))`, which takes several times as long.
        position = f"{self.epoch}.{offset}.{nonce}" if nonce else f"{self.epoch}.{offset}"
        return _new(Publication, (topic, payload, position, time, exclude))

    def recover(self, topic: str, wish: Wish, limit: ReplayLimit) -> Recovery:
        """Return what a client gets that has wished for something of this topic."""
        reason: Reason = ""
        if isinstance(wish, int):
            found = self.newest(wish)
            fitting = _fit(found, limit)
            if len(fitting) < len(found):
                found, reason = list(fitting), "limit"
        else:
            position = decode_position(wish)
            reason = self.missing(position)
            found = self.after(position.offset) if position is not None and not reason else []
            if len(_fit(found, limit)) < len(found):
                found, reason = [], "limit"
        missed = Missed([self.publication(topic, entry) for entry in found])
        return Recovery(self.before(found), missed, reason)

    def nonce_at(self, offset: int) -> int:
        """Return the nonce of a publication; 0 when it is not kept, so that nobody knows."""
        if offset == self.top:
            return self.nonce
        if offset == self.first - 1:
            return self.before_first
        return self.entries[offset - self.first].nonce if self.first <= offset < self.top else 0


class SharedAnswers:
    """Answers wishes as `Ring.recover` does, once for all clients that want the same.

    The rings are those of one broker: there, the same newest publication of the same epoch has the same
    before it.
    """

    def __init__(self) -> None:
        self._shared = Shared[Recovery]()

    def recover(self, ring: Ring, topic: str, wish: Wish, limit: ReplayLimit) -> Recovery:
        """Return what a client gets that has wished for something of the topic of a ring."""
        key = topic, wish, limit, ring.epoch, ring.top, ring.nonce, ring.before_first, len(ring.entries)
        recovery = self._shared.get(key)
        if recovery is None:
            recovery = ring.recover(topic, wish, limit)
            size = recovery.replay.size + _MESSAGE * len(recovery.replay)
            self._shared.add(key, recovery, _ANSWER + len(topic) + size)
        return recovery


def _fit(entries: Sequence[Entry], limit: ReplayLimit) -> Sequence[Entry]:
    """Return the newest of some publications that may be sent at once."""
    size, at = 0, len(entries)
    least = max(0, at - limit.messages)
    while at > least and (size := size + len(entries[at - 1].payload)) <= limit.size:
        at -= 1
    return entries[at:]
