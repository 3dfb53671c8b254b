"""What is handed over of a topic: in order, each once; and what is told where something is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rr_py_ws.core.feed_merge import has_ended
from rr_py_ws.core.feed_rings import Arrival, FeedRings, FeedTopic, differ
from rr_py_ws.core.ring import Entry, Ring
from rr_py_ws.wire.position import tells_loss
from rr_py_ws.wire.publication import Publication

_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class


class FeedOrder:
    """Hands over what follows.

    Args:
        rings: what was handed over.
        on_publication: see `Feeds`.
        on_gap: see `Feeds`.
        end_epoch: see `Feeds`.
        is_lossy: see `Feeds`.

    Attributes:
        gaps: how often something was lost for good.
    """

    def __init__(
        self,
        rings: FeedRings,
        on_publication: Callable[[Publication], None],
        on_gap: Callable[[Sequence[str]], None],
        end_epoch: Callable[[str, str], None],
        *,
        is_lossy: bool,
    ) -> None:
        self._rings = rings
        self._on_publication = on_publication
        self._on_gap = on_gap
        self._end_epoch = end_epoch
        self._is_lossy = is_lossy
        self.gaps = 0

    def take(self, topic: str, known: FeedTopic, arrival: Arrival, *, waited: bool = False) -> bool:
        """Hand a publication over; False when the store has to be asked whether it is new, and follows.

        Args:
            topic: of which.
            known: what is known of it.
            arrival: what has come.
            waited: whether it has come some time ago.
        """
        ring = known.ring
        if not arrival.epoch:
            self._on_publication(Publication(topic, arrival.payload, exclude=arrival.exclude))
            return True
        if ring is None:
            self.begin(topic, known, before(arrival))
        elif arrival.epoch != ring.epoch:
            self._change_epoch(topic, known, arrival)
            known.interrupted = known.interrupted and waited  # what has waited may be older than that
        elif arrival.offset <= ring.top:
            nonce = ring.nonce_at(arrival.offset)
            if nonce == arrival.nonce or not (nonce or known.doubtful):
                return True  # it was read from the store before it has arrived
            # After a failover to a server that lagged, this offset is given to another publication; or this
            # one was on its way since before it. The store knows, if it can be asked.
            if not waited:
                return False
            self.turn_back(topic, known, before(arrival))
        elif arrival.offset == ring.top + 1 and differ(ring.nonce, arrival.previous):
            self.turn_back(topic, known, before(arrival))
        ring = known.ring
        assert ring is not None
        if arrival.offset != ring.top + 1:
            return False
        known.doubtful = False
        self._hand_over(topic, ring, arrival)
        return True

    def _change_epoch(self, topic: str, known: FeedTopic, arrival: Arrival) -> None:
        """The epoch has ended. All of it has arrived, unless something may have been missed."""
        assert known.ring is not None
        if has_ended(arrival.epoch, known.ring, known.ended):
            self.turn_back(topic, known, before(arrival))
        else:
            if self.may_have_missed(known, "" if known.lost else arrival.epoch):
                self.tell_gap([topic])
            known.doubtful = False
            self._rings.rebase(known, Ring(arrival.epoch))

    def begin(self, topic: str, known: FeedTopic, ring: Ring) -> None:
        """Go on behind the first ring of a topic."""
        self._rings.rebase(known, ring)
        # It was known before nobody was in the topic; or it was read before something came that is not kept.
        if ring.epoch in known.ended or known.lost:
            self._distrust(topic, known)

    def _distrust(self, topic: str, known: FeedTopic) -> None:
        """The epoch must not be told of any more, and has to end."""
        assert known.ring is not None
        known.lost = True
        self._end_epoch(topic, known.ring.epoch)

    def turn_back(self, topic: str, known: FeedTopic, ring: Ring) -> None:
        """What was handed over is not in the store any more: go on behind another ring.

        Who has left meanwhile would not learn of it, so the epoch must not be told of any more, and ends.
        """
        self.tell_gap([topic])
        known.doubtful = False
        self._rings.rebase(known, ring)
        self._distrust(topic, known)

    def _hand_over(self, topic: str, ring: Ring, arrival: Arrival) -> None:
        payload, exclude, _, offset, nonce, _, time = arrival
        entry = _new(Entry, (offset, nonce, time, payload, exclude))
        self._rings.append(topic, ring, entry)
        self._on_publication(ring.publication(topic, entry))

    def hand_over_all(self, topic: str, known: FeedTopic, arrivals: Iterable[Arrival]) -> None:
        """Hand over what follows the ring, and tell of each hole in it."""
        for arrival in arrivals:
            assert known.ring is not None
            if not arrival.epoch:
                self.take(topic, known, arrival)
                continue
            if arrival.epoch != known.ring.epoch:
                self._change_epoch(topic, known, arrival)
            ring = known.ring
            if arrival.offset > ring.top:
                if arrival.offset != ring.top + 1 or differ(ring.nonce, arrival.previous):
                    self.tell_gap([topic])
                    ring = before(arrival)
                    self._rings.rebase(known, ring)
                self._hand_over(topic, ring, arrival)

    def may_have_missed(self, known: FeedTopic, epoch: str) -> bool:
        """Whether something may be missing of an epoch that ends, though nothing is behind the newest."""
        return known.interrupted or self._is_lossy or tells_loss(epoch)

    def tell_gap(self, topics: Sequence[str]) -> None:
        """Something is missing of these topics, before what is handed over next."""
        if topics:
            self.gaps += len(topics)
            self._on_gap(topics)


def before(arrival: Arrival) -> Ring:
    """Return the ring that a publication is the first of."""
    return Ring(arrival.epoch, arrival.offset - 1, arrival.previous)
