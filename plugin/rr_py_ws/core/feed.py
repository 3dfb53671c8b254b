"""What arrives of topics with a history that is kept elsewhere: in order, without holes and duplicates.

Such a history is in a store that all nodes share, and its publications come to each node over a feed that may
lose some. Of each topic a node keeps a ring of the last ones that it has handed over. A publication that does
not follow the newest of them tells that some were lost: they are read from the store and handed over in their
order, while what comes meanwhile waits. Only what the store does not have any more is told as a gap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any

from rr_py_ws.core.feed_recovery import FeedRecovery
from rr_py_ws.core.feed_rings import Arrival, FeedRings, FeedTopic, Store, differ
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import Entry, Ring
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication

_MOST_HEALED = 1000
"""Publications of a topic that are read to fill a hole; a larger one is a gap."""
_MOST_WAITING = 1000
"""Publications that wait while a hole is filled; with more, it is a gap."""
_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class


class Feeds:
    """The feeds of all topics of a node.

    Args:
        store: where the histories are.
        rules: which topics have one.
        on_publication: gets what is handed over; see `Broker.start`.
        on_gap: gets topics of which something is lost, before what comes later.
        end_epoch: gets a topic and an epoch of it that the store has to end.
        spawn: lets a coroutine go on by itself.
        budget: bytes of the rings.
        is_lossy: whether the feed may lose something without an interruption. Then nobody knows whether all
            had arrived of an epoch that has ended.

    Attributes:
        interruptions: how often the feed of any topic was interrupted.
        healed: publications that were lost on the feed and read from the store.
        gaps: how often something was lost for good.
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
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        budget: int = 64 * 1024 * 1024,
        *,
        is_lossy: bool = False,
    ) -> None:
        self._store = store
        self._on_publication = on_publication
        self._on_gap = on_gap
        self._end_epoch = end_epoch
        self._is_lossy = is_lossy
        self._spawn = spawn
        self._rings = FeedRings(store, rules, budget)
        self._recovery = FeedRecovery(store, rules, self._rings, self)
        self._unknown: set[str] = set()
        self.interruptions = 0
        self.healed = 0
        self.gaps = 0
        self.keeps = self._recovery.keeps
        self.recover = self._recovery.recover
        self.position = self._rings.position
        self.clear = self._rings.clear

    @property
    def size(self) -> int:
        """Bytes of the rings, now."""
        return self._rings.size

    # What arrives

    def receive(self, topic: str, arrival: Arrival) -> None:
        """Hand a publication over, now or when those before it are here."""
        known = self._rings.get(topic)
        self._rings.topics.move_to_end(topic)
        if known.waiting is None:
            self._take(topic, known, arrival)
            return
        known.waiting.append(arrival)
        if len(known.waiting) > _MOST_WAITING:
            self._give_up(topic, known)

    def forget(self, topics: Collection[str]) -> None:
        """Nobody is in these topics any more."""
        self._rings.forget(topics)
        self._unknown.difference_update(topics)

    def lose(self, topic: str) -> str:
        """The next publication is one that the store does not have; return the epoch that ends with it."""
        known = self._rings.topics.get(topic)
        if known is None or known.ring is None:
            return ""
        known.lost = True
        return known.ring.epoch

    def interrupt(self, topics: Iterable[str]) -> None:
        """The feed of these topics is interrupted: what is published now does not arrive."""
        self.interruptions += 1
        for topic in topics:
            known = self._rings.topics.get(topic)
            if known is None or known.ring is None:
                self._unknown.add(topic)
            else:
                known.doubtful = known.interrupted = True

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
            known = self._rings.topics.get(topic)
            if known is not None and known.ring is not None:
                self.look(topic, known)

    def _take(self, topic: str, known: FeedTopic, arrival: Arrival) -> None:
        ring = known.ring
        if not arrival.epoch:
            self._on_publication(Publication(topic, arrival.payload, exclude=arrival.exclude))
            return
        if ring is None:
            ring = known.ring = Ring(arrival.epoch, arrival.offset - 1, arrival.previous)
        if arrival.epoch != ring.epoch:
            # The counter was lost. What came before its loss has arrived, unless the feed was interrupted.
            is_back = arrival.epoch in known.ended
            if is_back or self._may_have_missed(known):
                self._tell_gap([topic])
            known.doubtful = False
            begin = (arrival.offset - 1, arrival.previous) if is_back else ()
            self._go_on(topic, known, Ring(arrival.epoch, *begin))
        elif arrival.offset <= ring.top:
            nonce = ring.nonce_at(arrival.offset)
            if nonce == arrival.nonce or not (nonce or known.doubtful):
                return  # it was read from the store before it has arrived
            # After a failover to a server that lagged, this offset is given to another publication.
            if self._may_have_missed(known):
                self._tell_gap([topic])
            known.doubtful = False
            self._rings.rebase(known, Ring(arrival.epoch, arrival.offset - 1, arrival.previous))
        elif arrival.offset == ring.top + 1 and differ(ring.nonce, arrival.previous):
            self._tell_gap([topic])
            known.doubtful = False
            self._rings.rebase(known, Ring(arrival.epoch, arrival.offset - 1, arrival.previous))
        assert known.ring is not None
        ring = known.ring
        if arrival.offset == ring.top + 1:
            known.doubtful = False
            self._hand_over(topic, ring, _entry(arrival))
        else:
            known.waiting = deque([arrival])
            self._spawn(self.heal(topic, known))

    def _hand_over(self, topic: str, ring: Ring, entry: Entry) -> None:
        self._rings.append(topic, ring, entry)
        self._on_publication(ring.publication(topic, entry))

    # Holes

    def look(self, topic: str, known: FeedTopic) -> None:
        """See `Holes.look`."""
        if known.waiting is None:
            known.waiting = deque()
            self._spawn(self.heal(topic, known))

    async def heal(self, topic: str, known: FeedTopic) -> None:
        """See `Holes.heal`: read what is missing and hand it over; then what has come meanwhile."""
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
        if known.waiting is None or self._rings.topics.get(topic) is not known:
            return  # given up, or nobody is left
        if stored is None or (came and came.epoch == stored.epoch and stored.top < came.offset):
            self._give_up(topic, known)  # the store does not have what is known to be missing
        else:
            self._fill(topic, known, ring, stored)
            self._take_waiting(topic, known)

    def _fill(self, topic: str, known: FeedTopic, ring: Ring, stored: Ring) -> None:
        """Hand over what the store has beyond the ring, and what has come, as far as the store goes."""
        assert known.waiting is not None
        waiting, known.waiting = known.waiting, deque()
        rest = [arrival for arrival in waiting if not arrival.epoch or _is_beyond(arrival, stored)]
        known.waiting.extend(rest)
        old: list[Entry] = []
        lost = self._may_have_missed(known)
        if stored.epoch != ring.epoch:  # the counter was lost
            old = [_entry(arrival) for arrival in waiting if _is_beyond(arrival, ring)]
            start = Ring(stored.epoch)
            if stored.epoch in known.ended:  # and is there again: what the store has was handed over
                start, lost = Ring(stored.epoch, stored.top, stored.nonce), True
        elif stored.top < ring.top:  # a failover to a server that lagged
            start = Ring(stored.epoch, stored.top, stored.nonce)
        elif differ(stored.nonce_at(ring.top), ring.nonce):  # the same, and it has gone on
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
            self._rings.rebase(known, Ring(stored.epoch, stored.top, stored.nonce))

    def _hand_over_all(self, topic: str, known: FeedTopic, ring: Ring, entries: Sequence[Entry]) -> Ring:
        """Hand over what comes behind a ring, and tell of each hole in it; return the ring as it is then."""
        if ring is not known.ring:
            self._go_on(topic, known, ring)
        for entry in entries:
            if entry.offset != ring.top + 1:
                self._tell_gap([topic])
                ring = Ring(ring.epoch, entry.offset - 1)
                self._rings.rebase(known, ring)
            self._hand_over(topic, ring, entry)
        return ring

    def _give_up(self, topic: str, known: FeedTopic) -> None:
        """Something is lost: go on with what has come."""
        self._tell_gap([topic])
        known.doubtful = False
        if known.waiting:
            first = next((arrival for arrival in known.waiting if arrival.epoch), None)
            if first is not None:
                self._go_on(topic, known, Ring(first.epoch, first.offset - 1, first.previous))
        self._take_waiting(topic, known)

    def _take_waiting(self, topic: str, known: FeedTopic) -> None:
        waiting, known.waiting = known.waiting or deque(), None
        while waiting:
            self._take(topic, known, waiting.popleft())
            if known.waiting is not None:  # there is another hole
                known.waiting.extend(waiting)
                return

    def _go_on(self, topic: str, known: FeedTopic, ring: Ring) -> None:
        """Go on with another ring; an epoch that has ended before must not be told of, and ends again."""
        self._rings.rebase(known, ring)
        if ring.epoch in known.ended:
            known.lost = True
            self._end_epoch(topic, ring.epoch)

    def _may_have_missed(self, known: FeedTopic) -> bool:
        """Whether something may be missing of an epoch though nothing is missing behind the newest."""
        return known.interrupted or self._is_lossy

    def _tell_gap(self, topics: Sequence[str]) -> None:
        if topics:
            self.gaps += len(topics)
            self._on_gap(topics)


def _entry(arrival: Arrival) -> Entry:
    payload, exclude, _, offset, nonce, _, time = arrival
    return _new(Entry, (offset, nonce, time, payload, exclude))


def _is_beyond(arrival: Arrival, ring: Ring) -> bool:
    """Whether a publication is of the same history as a ring, and newer than all that is in it."""
    return arrival.epoch == ring.epoch and arrival.offset > ring.top
