"""What arrives of topics with a history that is kept elsewhere: in order, without holes and duplicates.

Such a history is in a store that all nodes share, and its publications come to each node over a feed that may
lose some. Of each topic a node keeps a ring of the last ones that it has handed over. A publication that does
not follow the newest of them tells that some were lost: they are read from the store and handed over in their
order, while what comes meanwhile waits. Only what the store does not have any more is told as a gap.

A client that joins with a position gets what the ring has; when that is not enough the newest publications
are read once, for all who come, and the ring keeps them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from rr_py_ws.core.history import Recoveries, Synchronize
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import Entry, ReplayLimit, Ring
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.position import StreamPosition, decode_position
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.recovery import OFF, Recovery

_MOST_HEALED = 1000
"""Publications of a topic that are read to fill a hole; a larger one is a gap."""
_MOST_WAITING = 1000
"""Publications that wait while a hole is filled; with more, it is a gap."""
_ENTRY_COST = 220


class Store(Protocol):
    """Where histories are kept. What it returns may be awaited by several."""

    def read(self, topic: str, after: int, limit: int) -> Awaitable[Ring]:
        """Read what came after an offset, at most so many of the newest.

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


class _Topic:
    """What a node knows of a topic.

    Attributes:
        ring: the last publications that were handed over; None before the first, or before somebody asked.
        waiting: what has come while a hole is being filled; None when none is.
        doubtful: whether something may have been lost without a trace since the last one was handed over.
        lost: whether a publication was handed over that the store does not have, so that its history must
            not be told any more.
        older: whether the store has more than the ring; None when nobody knows.
    """

    __slots__ = ("doubtful", "lost", "older", "ring", "waiting")

    def __init__(self) -> None:
        self.ring: Ring | None = None
        self.waiting: deque[Arrival] | None = None
        self.doubtful = False
        self.lost = False
        self.older: bool | None = None


class Feeds:
    """The feeds of all topics of a node.

    Args:
        store: where the histories are.
        rules: which topics have one.
        on_publication: gets what is handed over; see `Broker.start`.
        on_gap: gets topics of which something is lost, before what comes later.
        spawn: lets a coroutine go on by itself.
        budget: bytes of the rings.

    Attributes:
        size: bytes of the rings, now.
        healed: publications that were lost on the feed and read from the store.
        gaps: how often something was lost for good.
    """

    def __init__(
        self,
        store: Store,
        rules: HistoryRules,
        on_publication: Callable[[Publication], None],
        on_gap: Callable[[Sequence[str]], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        budget: int = 64 * 1024 * 1024,
    ) -> None:
        self._store = store
        self._rules = rules
        self._on_publication = on_publication
        self._on_gap = on_gap
        self._spawn = spawn
        self._budget = budget
        self._topics: OrderedDict[str, _Topic] = OrderedDict()  # least recently used first
        self._reads: dict[str, Awaitable[Ring]] = {}
        self._unknown: set[str] = set()
        self._interruptions = 0
        self.size = 0
        self.healed = 0
        self.gaps = 0

    def keeps(self, topic: str) -> bool:
        """See `History.keeps`."""
        return self._rules.find(topic) is not None

    def position(self, topic: str) -> StreamPosition | None:
        """Return where the newest publication stands that was handed over; None when nobody knows."""
        known = self._topics.get(topic)
        ring = None if known is None else known.ring
        return None if ring is None else StreamPosition(ring.epoch, ring.top, ring.nonce)

    # What arrives

    def receive(self, topic: str, arrival: Arrival) -> None:
        """Hand a publication over, now or when those before it are here."""
        known = self._topics.get(topic)
        if known is None:
            known = self._topics[topic] = _Topic()
        self._topics.move_to_end(topic)
        if known.waiting is None:
            self._take(topic, known, arrival)
            return
        known.waiting.append(arrival)
        if len(known.waiting) > _MOST_WAITING:
            self._give_up(topic, known)

    def forget(self, topics: Collection[str]) -> None:
        """Nobody is in these topics any more."""
        for topic in topics:
            known = self._topics.pop(topic, None)
            if known is not None and known.ring is not None:
                self.size -= _size(known.ring)
            self._unknown.discard(topic)

    def lose(self, topic: str) -> str:
        """The next publication is one that the store does not have; return the epoch that ends with it."""
        known = self._topics.get(topic)
        if known is None or known.ring is None:
            return ""
        known.lost = True
        return known.ring.epoch

    def clear(self, topic: str, position: StreamPosition) -> None:
        """Drop what came up to a position: the store has done so."""
        known = self._topics.get(topic)
        if known is not None and known.ring is not None and known.ring.epoch == position.epoch:
            while known.ring.entries and known.ring.first <= position.offset:
                self._pop(known.ring)
            known.older = False

    def interrupt(self, topics: Iterable[str]) -> None:
        """The feed of these topics is interrupted: what is published now does not arrive."""
        self._interruptions += 1
        for topic in topics:
            known = self._topics.get(topic)
            if known is None or known.ring is None:
                self._unknown.add(topic)
            else:
                known.doubtful = True

    def resume(self, topics: Iterable[str]) -> None:
        """The feed of these topics is there again: find what was lost meanwhile."""
        topics = tuple(topics)
        # Of some nobody knows from where on.
        self._tell_gap([topic for topic in topics if topic in self._unknown])
        self._unknown.difference_update(topics)
        self.check(topics)

    def check(self, topics: Collection[str]) -> None:
        """Find out whether something was lost of these topics without a trace."""
        for topic in topics:
            known = self._topics.get(topic)
            if known is not None and known.ring is not None:
                self._look(topic, known)

    def _take(self, topic: str, known: _Topic, arrival: Arrival) -> None:
        ring = known.ring
        if not arrival.epoch:
            self._on_publication(Publication(topic, arrival.payload, exclude=arrival.exclude))
            return
        if ring is None:
            ring = known.ring = Ring(arrival.epoch, arrival.offset - 1, arrival.previous)
        if arrival.epoch != ring.epoch:
            # The counter was lost. What came before its loss has arrived, unless the feed was interrupted.
            if known.doubtful:
                self._tell_gap([topic])
            known.doubtful = False
            self._rebase(known, Ring(arrival.epoch))
        elif arrival.offset <= ring.top:
            nonce = ring.nonce_at(arrival.offset)
            if nonce == arrival.nonce or not (nonce or known.doubtful):
                return  # it was read from the store before it has arrived
            # After a failover to a server that lagged, this offset is given to another publication.
            if known.doubtful:
                self._tell_gap([topic])
            known.doubtful = False
            self._rebase(known, Ring(arrival.epoch, arrival.offset - 1, arrival.previous))
        elif arrival.offset == ring.top + 1 and _differ(ring.nonce, arrival.previous):
            self._tell_gap([topic])
            known.doubtful = False
            self._rebase(known, Ring(arrival.epoch, arrival.offset - 1, arrival.previous))
        assert known.ring is not None
        ring = known.ring
        if arrival.offset == ring.top + 1:
            known.doubtful = False
            self._hand_over(topic, ring, _entry(arrival))
        else:
            known.waiting = deque([arrival])
            self._spawn(self._heal(topic, known))

    def _hand_over(self, topic: str, ring: Ring, entry: Entry) -> None:
        self._append(topic, ring, entry)
        self._on_publication(ring.publication(topic, entry))

    # Holes

    def _look(self, topic: str, known: _Topic) -> None:
        if known.waiting is None:
            known.waiting = deque()
            self._spawn(self._heal(topic, known))

    async def _heal(self, topic: str, known: _Topic) -> None:
        """Read what is missing and hand it over; then what has come meanwhile."""
        ring = known.ring
        assert ring is not None and known.waiting is not None
        came = known.waiting[0] if known.waiting else None
        stored: Ring | None = None
        try:
            # With the newest one that is known: it may be another one, after a failover.
            stored = await self._store.read(topic, max(0, ring.top - 1), _MOST_HEALED)
            if stored.epoch != ring.epoch:
                await self._store.settle()  # what is left of the history before
                stored = await self._store.read(topic, 0, _MOST_HEALED)
        except BrokerError:
            stored = None
        if known.waiting is None or self._topics.get(topic) is not known:
            return  # given up, or nobody is left
        if stored is None or (came and came.epoch == stored.epoch and stored.top < came.offset):
            self._give_up(topic, known)  # the store does not have what is known to be missing
        else:
            self._fill(topic, known, ring, stored)
            self._take_waiting(topic, known)

    def _fill(self, topic: str, known: _Topic, ring: Ring, stored: Ring) -> None:
        """Hand over what the store has beyond the ring, and what has come, as far as the store goes."""
        assert known.waiting is not None
        waiting, known.waiting = known.waiting, deque()
        rest = [arrival for arrival in waiting if not arrival.epoch or _is_beyond(arrival, stored)]
        known.waiting.extend(rest)
        old: list[Entry] = []
        lost = known.doubtful
        if stored.epoch != ring.epoch:  # the counter was lost
            old = [_entry(arrival) for arrival in waiting if _is_beyond(arrival, ring)]
            start = Ring(stored.epoch)
        elif stored.top < ring.top:  # a failover to a server that lagged
            start = Ring(stored.epoch, stored.top, stored.nonce)
        elif _differ(stored.nonce_at(ring.top), ring.nonce):  # the same, and it has gone on
            start, lost = Ring(stored.epoch, ring.top - 1), True
        else:
            start, lost = ring, False
        found = {
            arrival.offset: _entry(arrival)
            for arrival in waiting
            if arrival.epoch == stored.epoch and start.top < arrival.offset <= stored.top
        }
        found |= {entry.offset: entry for entry in stored.after(start.top)}
        known.doubtful = False
        self.healed += len(found)
        self._hand_over_all(topic, known, ring, old)
        if lost:
            self._tell_gap([topic])
        ring = self._hand_over_all(topic, known, start, [found[offset] for offset in sorted(found)])
        if ring.top < stored.top:  # all that has come since is expired
            self._tell_gap([topic])
            self._rebase(known, Ring(stored.epoch, stored.top, stored.nonce))

    def _hand_over_all(self, topic: str, known: _Topic, ring: Ring, entries: Sequence[Entry]) -> Ring:
        """Hand over what comes behind a ring, and tell of each hole in it; return the ring as it is then."""
        if ring is not known.ring:
            self._rebase(known, ring)
        for entry in entries:
            if entry.offset != ring.top + 1:
                self._tell_gap([topic])
                ring = Ring(ring.epoch, entry.offset - 1)
                self._rebase(known, ring)
            self._hand_over(topic, ring, entry)
        return ring

    def _give_up(self, topic: str, known: _Topic) -> None:
        """Something is lost: go on with what has come."""
        self._tell_gap([topic])
        known.doubtful = False
        if known.waiting:
            first = next((arrival for arrival in known.waiting if arrival.epoch), None)
            if first is not None:
                self._rebase(known, Ring(first.epoch, first.offset - 1, first.previous))
        self._take_waiting(topic, known)

    def _take_waiting(self, topic: str, known: _Topic) -> None:
        waiting, known.waiting = known.waiting or deque(), None
        while waiting:
            self._take(topic, known, waiting.popleft())
            if known.waiting is not None:  # there is another hole
                known.waiting.extend(waiting)
                return

    def _tell_gap(self, topics: Sequence[str]) -> None:
        if topics:
            self.gaps += len(topics)
            self._on_gap(topics)

    # Joins with a position

    def recover(self, wishes: Mapping[str, Wish], limit: ReplayLimit) -> Synchronize | Awaitable[Synchronize]:
        """See `History.recover`."""
        unknown = [
            topic for topic, wish in wishes.items() if self.keeps(topic) and not self._has(topic, wish)
        ]
        if unknown:
            return self._recover_later(wishes, limit, unknown)
        began = self._interruptions
        return lambda: self._recoveries(wishes, limit, {}, began)

    async def _recover_later(
        self, wishes: Mapping[str, Wish], limit: ReplayLimit, unknown: Sequence[str]
    ) -> Synchronize:
        began = self._interruptions
        found = await self._read(unknown, limit.messages + 1)
        if any(self._is_behind(topic, wishes[topic]) for topic in unknown):
            await self._store.settle()
            for topic in unknown:
                known = self._topics.get(topic)
                if found[topic] is None or known is None or known.ring is None or known.waiting is not None:
                    continue
                if self._is_behind(topic, wishes[topic]):
                    known.waiting = deque()
                    await self._heal(topic, known)
        return lambda: self._recoveries(wishes, limit, found, began)

    async def _read(self, topics: Sequence[str], limit: int) -> dict[str, Ring | None]:
        """Read the newest of topics, once for all who want to know at this moment; None where it fails."""
        reads: dict[str, Awaitable[Ring]] = {}
        for topic in topics:
            reads[topic] = self._reads.get(topic) or self._store.read(topic, 0, limit)
            self._reads[topic] = reads[topic]
        found: dict[str, Ring | None] = {}
        try:
            for topic, read in reads.items():
                try:
                    found[topic] = await read
                except BrokerError:
                    found[topic] = None
        finally:
            for topic, read in reads.items():
                if self._reads.get(topic) is read:
                    del self._reads[topic]
        return found

    def _is_behind(self, topic: str, wish: Wish) -> bool:
        """Whether a client knows more of a topic than has arrived here; or nothing is known of it at all."""
        known = self._topics.get(topic)
        if known is None or known.ring is None or known.lost:
            return True
        return isinstance(wish, str) and known.ring.missing(decode_position(wish)) == "ahead"

    def _has(self, topic: str, wish: Wish) -> bool:
        """Whether the ring is enough for a wish."""
        known = self._topics.get(topic)
        if known is None or known.ring is None or known.doubtful or known.lost:
            return False
        ring = known.ring
        if isinstance(wish, int):
            return wish <= len(ring.entries) or ring.first == 1 or known.older is not None
        reason = ring.missing(decode_position(wish))
        return known.older is not None if reason == "trimmed" else reason not in ("epoch", "ahead")

    def _recoveries(
        self,
        wishes: Mapping[str, Wish],
        limit: ReplayLimit,
        found: Mapping[str, Ring | None],
        began: int,
    ) -> Recoveries:
        """Return what clients get now; `began` is how many interruptions there were when it was read."""
        recoveries = dict.fromkeys(wishes, OFF)
        for topic, wish in wishes.items():
            stored = found.get(topic)
            # What cannot be read now is off.
            if self.keeps(topic) and (stored is not None or topic not in found):
                recoveries[topic] = self._recovery(topic, wish, limit, stored, began)
        return recoveries

    def _recovery(
        self, topic: str, wish: Wish, limit: ReplayLimit, stored: Ring | None, began: int
    ) -> Recovery:
        known = self._topics.get(topic)
        if known is None:
            known = self._topics[topic] = _Topic()
        if known.ring is None and stored is not None:
            # All that the store had has arrived, so what comes now follows, unless the feed was interrupted.
            self._rebase(known, Ring(stored.epoch, stored.top, stored.nonce))
            if began != self._interruptions:
                known.doubtful = True
                self._look(topic, known)
        ring = known.ring
        if ring is None or known.lost:
            return OFF
        # While a hole is filled, the client gets what the ring has; the rest comes behind it.
        if stored is not None and self._extend(ring, stored):
            known.older = len(stored.entries) > limit.messages
        self._expire(topic, known)
        recovery = ring.recover(topic, wish, limit)
        is_short = isinstance(wish, int) and len(recovery.replay) < wish and not recovery.reason
        if known.older and (recovery.reason == "trimmed" or is_short):
            return recovery._replace(reason="limit")
        return recovery

    # Rings

    def _rebase(self, known: _Topic, ring: Ring) -> None:
        if known.ring is not None:
            self.size -= _size(known.ring)
        if known.ring is None or known.ring.epoch != ring.epoch:
            known.lost = False
        known.ring = ring
        known.older = None

    def _extend(self, ring: Ring, stored: Ring) -> bool:
        """Keep older publications that were read; return whether they belong to what the ring has."""
        if stored.epoch != ring.epoch or _differ(stored.nonce_at(ring.top), ring.nonce):
            return False
        older = [entry for entry in stored.entries if entry.offset < ring.first]
        if older and older[-1].offset == ring.first - 1:
            self.size += ring.extend_left(older, stored.before_first) + _ENTRY_COST * len(older)
        return True

    def _expire(self, topic: str, known: _Topic) -> None:
        """Drop what is too old."""
        rule, ring = self._rules.find(topic), known.ring
        if rule is None or ring is None:
            return
        oldest = self._store.now() - rule.ttl
        while ring.entries and ring.entries[0].time <= oldest:
            self._pop(ring)
            known.older = False  # what the store has before that is older

    def _pop(self, ring: Ring) -> None:
        self.size -= _ENTRY_COST + len(ring.pop().payload)

    def _append(self, topic: str, ring: Ring, entry: Entry) -> None:
        ring.append(entry)
        self.size += _ENTRY_COST + len(entry.payload)
        rule = self._rules.find(topic)
        while rule is None or len(ring.entries) > rule.size or ring.size > rule.bytes:
            if not ring.entries:
                break
            self._pop(ring)
        if self.size > self._budget:
            self._evict()

    def _evict(self) -> None:
        """Drop the rings of the topics that nothing came of for longest; the store has all that they have."""
        for known in self._topics.values():
            if self.size <= self._budget:
                break
            if known.ring is not None and known.ring.entries:
                self.size -= _size(known.ring)
                known.ring.clear()
                known.older = None


def _size(ring: Ring) -> int:
    return ring.size + _ENTRY_COST * len(ring.entries)


def _entry(arrival: Arrival) -> Entry:
    return Entry(arrival.offset, arrival.nonce, arrival.time, arrival.payload, arrival.exclude)


def _is_beyond(arrival: Arrival, ring: Ring) -> bool:
    """Whether a publication is of the same history as a ring, and newer than all that is in it."""
    return arrival.epoch == ring.epoch and arrival.offset > ring.top


def _differ(one: int, other: int) -> bool:
    """Whether two nonces tell two publications apart; 0 tells nothing."""
    return bool(one and other and one != other)
