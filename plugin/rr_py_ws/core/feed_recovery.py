"""What clients get that join with a position in a history that is kept elsewhere.

That is what the node's ring has. When it is not enough, the newest publications are read once, for all who
want to know them at that moment, and the ring keeps them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from rr_py_ws.core.feed_rings import FeedRings, FeedTopic, Store
from rr_py_ws.core.history import Recoveries, Synchronize
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import ReplayLimit, Ring, SharedAnswers
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.position import decode_position
from rr_py_ws.wire.recovery import OFF, Recovery


class Holes(Protocol):
    """What finds and fills holes in what arrives."""

    @property
    def changes(self) -> int:
        """How often the feed of any topic was interrupted, or was there again."""

    def look(self, topic: str, known: FeedTopic) -> Awaitable[object]:
        """Hand over what is missing behind a ring; return what is done when the store has been read."""

    def begin(self, topic: str, known: FeedTopic, ring: Ring) -> None:
        """Go on behind the first ring of a topic."""


class FeedRecovery:
    """Answers wishes.

    Args:
        store: where the histories are.
        rules: which topics have one.
        rings: what the node has of them.
        holes: those of the feed.
    """

    def __init__(self, store: Store, rules: HistoryRules, rings: FeedRings, holes: Holes) -> None:
        self._store = store
        self._rules = rules
        self._rings = rings
        self._holes = holes
        self._answers = SharedAnswers()
        self._reads: dict[str, Awaitable[Ring]] = {}

    def keeps(self, topic: str) -> bool:
        """See `History.keeps`."""
        return self._rules.find(topic) is not None

    def recover(self, wishes: Mapping[str, Wish], limit: ReplayLimit) -> Synchronize | Awaitable[Synchronize]:
        """See `History.recover`."""
        unknown = [
            topic for topic, wish in wishes.items() if not self._has(topic, wish, limit) and self.keeps(topic)
        ]
        if unknown:
            return self._recover_later(wishes, limit, unknown)
        return partial(self._recoveries, wishes, limit, {}, self._holes.changes)

    async def _recover_later(
        self, wishes: Mapping[str, Wish], limit: ReplayLimit, unknown: Sequence[str]
    ) -> Synchronize:
        began = self._holes.changes
        found = await self._read(unknown, limit.messages + 1)
        if any(self._is_behind(topic, wishes[topic], found[topic]) for topic in unknown):
            await self._store.settle()
            for topic in unknown:
                known = self._rings.topics.get(topic)
                if found[topic] is None or known is None or known.ring is None:
                    continue
                if self._is_behind(topic, wishes[topic], found[topic]):
                    await self._holes.look(topic, known)
        return partial(self._recoveries, wishes, limit, found, began)

    def forget(self, topics: Iterable[str]) -> None:
        """Who asks for these topics from now on must not be answered with what is being read."""
        for topic in topics:
            self._reads.pop(topic, None)

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

    def _is_behind(self, topic: str, wish: Wish, stored: Ring | None) -> bool:
        """Whether a client or the store knows more than has arrived here; or nothing is known at all."""
        known = self._rings.topics.get(topic)
        if known is None or known.ring is None or known.lost or known.doubtful:
            return True
        if stored is not None and stored.epoch != known.ring.epoch:
            return True  # nothing has come of the new epoch yet; the client may be at its beginning
        return isinstance(wish, str) and known.ring.missing(decode_position(wish)) == "ahead"

    def _has(self, topic: str, wish: Wish, limit: ReplayLimit) -> bool:
        """Whether the ring is enough for a wish."""
        known = self._rings.topics.get(topic)
        if known is None or known.ring is None or known.doubtful or known.lost:
            return False
        ring = known.ring
        if isinstance(wish, int):
            return wish <= len(ring.entries) or ring.first == 1 or known.older is not None
        reason = self._answers.recover(ring, topic, wish, limit).reason  # which is asked for next
        return known.older is not None if reason == "trimmed" else reason not in ("epoch", "ahead")

    def _recoveries(
        self,
        wishes: Mapping[str, Wish],
        limit: ReplayLimit,
        found: Mapping[str, Ring | None],
        began: int,
    ) -> Recoveries:
        """Return what clients get now; `began`: how often the feed had changed when the store was asked."""
        recoveries = {}
        for topic, wish in wishes.items():
            stored = found.get(topic)
            # What cannot be read now is off.
            is_off = stored is None and topic in found
            recoveries[topic] = OFF if is_off else self._recovery(topic, wish, limit, stored, began)
        return recoveries

    def _recovery(
        self, topic: str, wish: Wish, limit: ReplayLimit, stored: Ring | None, began: int
    ) -> Recovery:
        known = self._rings.topics.get(topic)
        if known is None:
            if not self.keeps(topic):
                return OFF
            known = self._rings.get(topic)
        if known.ring is None and stored is not None:
            # All that the store had has arrived, so what comes now follows, unless the feed was interrupted.
            self._holes.begin(topic, known, Ring(stored.epoch, stored.top, stored.nonce))
            if began != self._holes.changes:
                known.doubtful = known.interrupted = True
                self._holes.look(topic, known)
        ring = known.ring
        if ring is None or known.lost:
            return OFF
        # While a hole is filled, the client gets what the ring has; the rest comes behind it.
        if stored is not None and self._rings.extend(ring, stored):
            known.older = len(stored.entries) > limit.messages
        self._rings.expire(known)
        recovery = self._answers.recover(ring, topic, wish, limit)
        if known.older:
            is_short = isinstance(wish, int) and len(recovery.replay) < wish and not recovery.reason
            if is_short or recovery.reason == "trimmed":
                return recovery._replace(reason="limit")
        return recovery
