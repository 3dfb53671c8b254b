"""What arrives of topics with a history that is kept elsewhere: in order, without holes and duplicates.

Such a history is in a store that all nodes share, and its publications come to each node over a feed that may
lose some. Of each topic a node keeps a ring of the last ones that it has handed over. A publication that does
not follow the newest of them tells that some were lost: they are read from the store and handed over in their
order, while what comes meanwhile waits. Only what the store does not have any more is told as a gap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any

from rr_py_ws.core.feed_merge import Merged, merge
from rr_py_ws.core.feed_order import FeedOrder, before
from rr_py_ws.core.feed_recovery import FeedRecovery
from rr_py_ws.core.feed_rings import Arrival, FeedRings, FeedTopic, Store
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import Ring
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication

_MOST_HEALED = 1000
"""Publications of a topic that are read to fill a hole; a larger one is a gap."""
_MOST_WAITING = 1000
"""Publications that wait while a hole is filled; with more, it is a gap."""


class Feeds:
    """The feeds of all topics of a node.

    Args:
        store: where the histories are.
        rules: which topics have one.
        on_publication: gets what is handed over; see `Broker.start`.
        on_gap: gets topics of which something is lost, before what comes later.
        end_epoch: gets a topic and an epoch of it that the store has to end.
        spawn: lets a coroutine go on by itself; returns what is done when that has ended. Several may await
            it, and each of them may be cancelled.
        budget: bytes of the rings.
        is_lossy: whether the feed may lose something without an interruption. Then nobody knows whether all
            had arrived of an epoch that has ended.

    Attributes:
        changes: how often the feed of any topic was interrupted, or was there again.
        healed: publications that were lost on the feed and read from the store.
        keeps: see `History.keeps`.
        recover: see `History.recover`.
        position: where the newest publication of a topic stands that was handed over; None when nobody knows.
        clear: drops what came up to a position: the store has done so.
    """

    def __init__(
        self,
        store: Store,
        rules: HistoryRules,
        on_publication: Callable[[Publication], None],
        on_gap: Callable[[Sequence[str]], None],
        end_epoch: Callable[[str, str], None],
        spawn: Callable[[Coroutine[Any, Any, None]], Awaitable[object]],
        budget: int = 64 * 1024 * 1024,
        *,
        is_lossy: bool = False,
    ) -> None:
        self._store = store
        self._spawn = spawn
        self._rings = FeedRings(store, rules, budget)
        self._order = FeedOrder(self._rings, on_publication, on_gap, end_epoch, is_lossy=is_lossy)
        self._take = self._order.take
        self._recovery = FeedRecovery(store, rules, self._rings, self)
        self._unknown: set[str] = set()
        self.changes = 0
        self.healed = 0
        self.keeps = self._recovery.keeps
        self.recover = self._recovery.recover
        self.position = self._rings.position
        self.clear = self._rings.clear

    @property
    def size(self) -> int:
        """Bytes of the rings, now."""
        return self._rings.size

    @property
    def gaps(self) -> int:
        """How often something was lost for good."""
        return self._order.gaps

    # What arrives

    def receive(self, topic: str, arrival: Arrival) -> None:
        """Hand a publication over, now or when those before it are here."""
        known = self._rings.get(topic)
        self._rings.topics.move_to_end(topic)
        if known.waiting is None:
            if not self._take(topic, known, arrival):
                self._read(topic, known, arrival)
            return
        known.waiting.append(arrival)
        if len(known.waiting) > _MOST_WAITING:
            waiting, known.waiting = known.waiting, None
            self._go_without(topic, known, waiting)

    def forget(self, topics: Collection[str]) -> None:
        """Nobody is in these topics any more."""
        self._rings.forget(topics)
        self._recovery.forget(topics)
        self._unknown.difference_update(topics)

    def lose(self, topic: str) -> str:
        """The next publication is one that the store does not have; return the epoch that ends with it."""
        known = self._rings.get(topic)
        known.lost = True
        return "" if known.ring is None else known.ring.epoch

    def interrupt(self, topics: Iterable[str]) -> None:
        """The feed of these topics is interrupted: what is published now does not arrive."""
        self.changes += 1
        topics = tuple(topics)
        self._recovery.forget(topics)
        for topic in topics:
            known = self._rings.topics.get(topic)
            if known is None or known.ring is None or known.ring.top == known.unproven:
                self._unknown.add(topic)
            if known is not None:
                known.doubtful = known.interrupted = True

    def doubt(self) -> None:
        """There may be another server: nobody knows what it lacks of the epochs that there are."""
        for known in self._rings.topics.values():
            known.interrupted = True

    def resume(self, topics: Iterable[str]) -> None:
        """The feed of these topics is there again: find what was lost meanwhile."""
        self.changes += 1
        topics = tuple(topics)
        # Of some nobody knows from where on.
        self._order.tell_gap([topic for topic in topics if topic in self._unknown])
        self._unknown.difference_update(topics)
        self.check(topics)

    def check(self, topics: Collection[str]) -> None:
        """Find out whether something was lost of these topics without a trace."""
        for topic in topics:
            known = self._rings.topics.get(topic)
            if known is not None and known.ring is not None:
                self.look(topic, known)

    def is_doubtful(self, topic: str) -> bool:
        """Whether something may be missing of a topic that could not be looked for."""
        known = self._rings.topics.get(topic)
        return known is not None and known.doubtful

    # Holes

    def begin(self, topic: str, known: FeedTopic, ring: Ring) -> None:
        """See `Holes.begin`."""
        is_away = topic in self._unknown
        if is_away:  # who is in the topic must hear of what is missing before what comes behind the ring
            self._unknown.discard(topic)
            self._order.tell_gap([topic])
        self._order.begin(topic, known, ring)
        if is_away:
            known.doubtful = known.interrupted = True

    def look(self, topic: str, known: FeedTopic) -> Awaitable[object]:
        """See `Holes.look`."""
        if known.waiting is None:
            self._read(topic, known)
        else:
            known.again = True
        assert known.reading is not None
        return known.reading

    def _read(self, topic: str, known: FeedTopic, *waiting: Arrival) -> None:
        """Read the store; what comes meanwhile waits."""
        known.waiting = deque(waiting)
        known.reading = self._spawn(self._fill(topic, known, known.waiting))

    async def _fill(self, topic: str, known: FeedTopic, waiting: deque[Arrival]) -> None:
        """Hand over what the store has, and what is waiting; again as long as somebody asks meanwhile."""
        while True:
            known.again = False
            assert known.ring is not None
            asked, after = len(waiting), max(0, known.ring.top - 1)
            stored: Ring | None
            try:
                # With the newest one that is known: it may be another one, after a failover.
                stored = await self._store.read(topic, after, _MOST_HEALED)
                if stored.epoch != known.ring.epoch:
                    await self._store.settle()  # what is left of the history before
                    asked = len(waiting)
                    stored = await self._store.read(topic, 0, _MOST_HEALED)
            except BrokerError:
                stored = None
            if known.waiting is not waiting or self._rings.topics.get(topic) is not known:
                return  # given up, or nobody is left
            if stored is None:
                known.waiting, known.doubtful = None, True
                self._go_without(topic, known, waiting)
            elif merged := merge(known.ring, known.ended, stored, tuple(waiting), asked):
                known.waiting = None
                self._go_on(topic, known, merged, stored)
            else:
                continue
            if known.waiting is not None or not known.again:
                return  # what waits now has begun to be read just now
            known.waiting = waiting = deque()

    def _go_on(self, topic: str, known: FeedTopic, merged: Merged, stored: Ring) -> None:
        """Hand over what was found, behind what came before, and then what has come besides."""
        self._order.hand_over_all(topic, known, merged.before)
        known.doubtful = False
        if merged.has_gone_back:
            self._order.turn_back(topic, known, merged.ring)
            known.again = True  # something of it may have come
        else:
            is_proven = merged.ring is known.ring and known.ring.top != known.unproven
            if merged.ring is not known.ring:
                if self._order.may_have_missed(known, stored.epoch):
                    self._order.tell_gap([topic])
                self._rings.rebase(known, merged.ring)
            self.healed += len(merged.found)
            self._order.hand_over_all(topic, known, merged.found)
            assert known.ring is not None
            if known.ring.top < stored.top:  # all that has come since is expired
                self._order.tell_gap([topic])
                self._rings.rebase(known, Ring(stored.epoch, stored.top, stored.nonce))
            if not is_proven:
                known.unproven = known.ring.top
        self._take_all(topic, known, deque(merged.rest))

    def _go_without(self, topic: str, known: FeedTopic, waiting: deque[Arrival]) -> None:
        """Nobody can tell what is missing: go on with what has come."""
        first, ring = next((arrival for arrival in waiting if arrival.epoch), None), known.ring
        if first and ring and first.epoch == ring.epoch and first.offset > ring.top + 1:
            self._order.tell_gap([topic])
            self._rings.rebase(known, before(first))
        self._take_all(topic, known, waiting)

    def _take_all(self, topic: str, known: FeedTopic, waiting: deque[Arrival]) -> None:
        while waiting:
            arrival = waiting.popleft()
            if not self._take(topic, known, arrival, waited=True):
                self._read(topic, known, arrival, *waiting)  # there is another hole
                return
