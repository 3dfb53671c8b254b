"""What a node keeps of topics whose histories are kept elsewhere: a ring of each, and one budget for all.

The store has all that they have, and more of it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Iterable
from typing import NamedTuple, Protocol

from rr_py_ws.config import HistoryRule
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import Entry, Ring
from rr_py_ws.wire.position import StreamPosition

_ENTRY_COST = 220
"""Bytes that a publication takes beside its payload."""
_MOST_ENDED = 8
"""Epochs of a topic that are remembered."""
_MOST_FORGOTTEN = 10_000
"""Topics that nobody is in, whose epochs are remembered."""


class Store(Protocol):
    """Where histories are kept.

    What it returns may be awaited by several, each of whom may be cancelled without harm to the others.
    """

    def read(self, topic: str, after: int, limit: int) -> Awaitable[Ring]:
        """Read what came after an offset, at most so many of the newest.

        When the store can see that it has lost what was handed over here, it ends the epoch.

        Returns:
            A ring of its own for the caller, with the epoch and the newest position of the topic, which gets
            an epoch now if it has none.

        Raises (from the awaitable):
            BrokerError: it cannot be read.
        """

    def settle(self) -> Awaitable[None]:
        """Wait until what the store had before has arrived over the feed, or is lost. Does not fail."""

    def now(self) -> float:
        """Unix seconds of the store's clock, as far as it is known here."""


class Arrival(NamedTuple):
    """A publication that has come over the feed.

    Attributes:
        payload: as published.
        exclude: see `Publication`.
        epoch: see `StreamPosition`; empty for one that was published past the store.
        offset: the same.
        nonce: the same.
        previous: nonce of the publication before it.
        time: when it was published.
    """

    payload: bytes
    exclude: tuple[str, ...] = ()
    epoch: str = ""
    offset: int = 0
    nonce: int = 0
    previous: int = 0
    time: float = 0.0


class FeedTopic:
    """What a node knows of a topic.

    Attributes:
        ring: the last publications that were handed over; None before the first, or before somebody asked.
        waiting: what has come since the store is being read; None when what comes is handed over at once.
        reading: done when nothing is read any more; None when nothing is.
        again: whether the store has to be read once more: what is being read may be too old.
        doubtful: whether something may have been lost without a trace since the last one was handed over.
        interrupted: whether the feed was ever interrupted since it has brought the begin of the epoch. What
            is published after a failover may follow all that was handed over, though something was lost in
            between that nobody but its publisher knows of; who finds that out ends the epoch.
        ended: epochs before that of the ring, the last ones. After a failover to a server that has missed the
            end of one it may be there again, with what was handed over long ago.
        lost: whether a publication was handed over that the store does not have, so that its history must
            not be told any more; without a ring, the next one that is known.
        older: whether the store has more than the ring; None when nobody knows.
        rule: of its history; None when it has none.
        unproven: the offset up to which another epoch was read from the store; -1 when its begin has come
            over the feed. While that has brought nothing more, nobody knows whether it worked meanwhile.
    """

    __slots__ = (
        "again",
        "doubtful",
        "ended",
        "interrupted",
        "lost",
        "older",
        "reading",
        "ring",
        "rule",
        "unproven",
        "waiting",
    )

    def __init__(self, rule: HistoryRule | None, ended: tuple[str, ...]) -> None:
        self.rule = rule
        self.ring: Ring | None = None
        self.ended = ended
        self.waiting: deque[Arrival] | None = None
        self.reading: Awaitable[object] | None = None
        self.again = self.doubtful = self.interrupted = False
        self.lost = False
        self.older: bool | None = None
        self.unproven = -1


class FeedRings:
    """The rings of all topics of a node.

    Args:
        store: where the histories are.
        rules: which topics have one.
        budget: bytes of the rings.

    Attributes:
        topics: what is known of each, least recently used first.
        size: bytes of the rings, now.
    """

    def __init__(self, store: Store, rules: HistoryRules, budget: int) -> None:
        self._now = store.now
        self._rules = rules
        self._budget = budget
        self.topics: OrderedDict[str, FeedTopic] = OrderedDict()
        self._forgotten: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self.size = 0

    def get(self, topic: str) -> FeedTopic:
        """Return what is known of a topic: at first only which epochs have ended."""
        known = self.topics.get(topic)
        if known is None:
            known = FeedTopic(self._rules.find(topic), self._forgotten.pop(topic, ()))
            self.topics[topic] = known
        return known

    def position(self, topic: str) -> StreamPosition | None:
        """Return where the newest publication of a ring stands; None without one."""
        known = self.topics.get(topic)
        ring = None if known is None else known.ring
        return None if ring is None else StreamPosition(ring.epoch, ring.top, ring.nonce)

    def forget(self, topics: Iterable[str]) -> None:
        """Nobody is in these topics any more; their epochs are remembered, that of the ring as the last."""
        for topic in topics:
            known = self.topics.pop(topic, None)
            if known is None:
                continue
            epochs = known.ended
            if known.ring is not None:
                self.size -= _size(known.ring)
                epochs = (*epochs, known.ring.epoch, *([""] if known.lost else []))[-_MOST_ENDED:]
            if epochs:
                self._forgotten[topic] = epochs
                if len(self._forgotten) > _MOST_FORGOTTEN:
                    self._forgotten.popitem(last=False)

    def clear(self, topic: str, position: StreamPosition) -> None:
        """Drop what came up to a position: the store has done so."""
        known = self.topics.get(topic)
        if known is not None and known.ring is not None and known.ring.epoch == position.epoch:
            while known.ring.entries and known.ring.first <= position.offset:
                self._pop(known.ring)
            known.older = False

    def rebase(self, known: FeedTopic, ring: Ring) -> None:
        """Go on with another ring, which is empty."""
        if known.ring is not None:
            self.size -= _size(known.ring)
            if known.ring.epoch != ring.epoch:
                known.lost = False
                known.ended = (*known.ended, known.ring.epoch)[-_MOST_ENDED:]
        elif known.ended[-1:] == (ring.epoch,):  # the topic was forgotten, and has not changed since
            known.ended = known.ended[:-1]
        known.ring = ring
        known.older = None
        known.unproven = -1

    def append(self, topic: str, ring: Ring, entry: Entry) -> None:
        """Keep a publication that follows the newest one, as far as the rule and the budget allow."""
        ring.append(entry)
        self.size += _ENTRY_COST + len(entry.payload)
        rule = self._rules.find(topic)
        while rule is None or len(ring.entries) > rule.size or ring.size > rule.bytes:
            if not ring.entries:
                break
            self._pop(ring)
        if self.size > self._budget:
            self._evict()

    def extend(self, ring: Ring, stored: Ring) -> bool:
        """Keep older publications that were read; return whether they belong to what the ring has."""
        if stored.epoch != ring.epoch:
            return False
        for offset in (min(ring.top, stored.top), ring.first - 1):
            if differ(stored.nonce_at(offset), ring.nonce_at(offset)):
                return False
        older = [entry for entry in stored.entries if entry.offset < ring.first]
        if older and older[-1].offset == ring.first - 1:
            self.size += ring.extend_left(older, stored.before_first) + _ENTRY_COST * len(older)
        return True

    def expire(self, known: FeedTopic) -> None:
        """Drop what is too old."""
        rule, ring = known.rule, known.ring
        if rule is None or ring is None or not ring.entries:
            return
        oldest = self._now() - rule.ttl
        while ring.entries and ring.entries[0].time <= oldest:
            self._pop(ring)
            known.older = False  # what the store has before that is older

    def _pop(self, ring: Ring) -> None:
        self.size -= _ENTRY_COST + len(ring.pop().payload)

    def _evict(self) -> None:
        """Drop the rings of the topics that nothing came of for longest."""
        for _ in range(len(self.topics)):
            if self.size <= self._budget:
                break
            topic, known = next(iter(self.topics.items()))
            if known.ring is not None and known.ring.entries:
                self.size -= _size(known.ring)
                known.ring.clear()
                known.older = None
            self.topics.move_to_end(topic)  # so that empty rings are not looked at again and again


def differ(one: int, other: int) -> bool:
    """Whether two nonces tell two publications apart; 0 tells nothing."""
    return bool(one and other and one != other)


def _size(ring: Ring) -> int:
    return ring.size + _ENTRY_COST * len(ring.entries)
