"""The histories of a single node: a ring for each topic, and one budget of bytes for all.

A message is kept until its topic has too many newer ones, its time is over, or the budget is used up: then
the topics that nothing was published to for longest lose their messages. Their counters stay, so that nobody
is told that nothing is missing when something is. A counter ends a long time after the last publication, if
nobody who has asked for positions is in the topic; or when counters alone use the budget up.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from sys import intern
from zlib import crc32

from rr_py_ws.config import HistoryRule
from rr_py_ws.core.history import KEY_LIFE, Page, Query, Receipt, Recoveries, read_ring
from rr_py_ws.core.history_rules import HistoryRules, counter_life
from rr_py_ws.core.ring import Entry, ReplayLimit, Ring, SharedAnswers
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.recovery import OFF

MESSAGE_COST, COUNTER_COST, KEY_COST = 180, 1010, 280
"""Bytes that a message, a counter and an idempotency key take beside payload, and name of the topic."""
_SHARDS = 4096
_SWEEP_INTERVAL = 0.1
"""Seconds between two looks for topics whose time is over, while something is published,"""
_EXPIRED_AT_ONCE = 100
"""and so many of them are dropped in one; so many keys, when another one is asked for."""
_MOST_ROUTES = 4096
_LONGEST_ROUTED = 128
_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class


class _Kept(Ring):
    """The ring of a topic.

    Attributes:
        rule: of the topic.
        used: when something was published to it, or somebody was seen in it who follows it.
        due: no message is too old before then.
    """

    __slots__ = ("_bytes", "_history", "_size", "due", "rule", "used")

    def __init__(self, history: MemoryHistory, epoch: str, rule: HistoryRule, used: float) -> None:
        super().__init__(epoch)
        self._history = history
        self._size = rule.size
        self._bytes = rule.bytes
        self.rule = rule
        self.used = used
        self.due = 0.0

    @property
    def next_position(self) -> Position:
        """What the next publication gets."""
        return f"{self.epoch}.{self.top + 1}"

    def publish(self, publication: Publication) -> None:
        """Keep a publication, and hand it on with its position and time."""
        topic, payload, exclude = publication[0], publication[1], publication[4]
        history, entries = self._history, self.entries
        self.used = now = history.clock() + history.beginning
        if history.newest is not self:
            history.renew(topic, self)
        # As `Ring.append`, and `_pop` of the oldest, in a third of the time: most messages need no more.
        self.top = offset = self.top + 1
        entries.append(_new(Entry, (offset, 0, now, payload, exclude)))
        more = len(payload)
        if len(entries) > self._size:
            more -= len(entries.popleft()[3])
            history.size += more
        else:
            history.messages += 1
            history.size += more + MESSAGE_COST
        self.size = size = self.size + more
        if (
            now >= self.due
            or now >= history.next_sweep
            or size > self._bytes
            or history.size > history.budget
        ):
            history.bound(topic, self, now)
        if topic in history.watched:  # what nobody gets needs no position
            # As `str(StreamPosition(...))`, which takes several times as long.
            publication = _new(Publication, (topic, payload, f"{self.epoch}.{offset}", now, exclude))
        history.on_publication(publication)


class MemoryHistory:
    """Implements the port `History` without anything outside this process.

    Args:
        rules: what is kept of which topic.
        budget: bytes of all messages, counters and keys.
        now: Unix seconds; never goes back.

    Attributes:
        size: bytes that are used of the budget.
        budget: as given.
        messages: that are kept.
        clock: tells the seconds since the beginning.
        beginning: Unix seconds.
        newest: what was published to last, if anything of it is kept.
        next_sweep: when to look again for topics whose time is over.
        routes: see `Broker`.
        watched: topics that somebody is in.
        on_publication: gets what is published.
    """

    def __init__(self, rules: HistoryRules, budget: int, now: Callable[[], float] | None = None) -> None:
        self._rules = rules
        self.budget = budget
        # Never goes back, whatever becomes of the system's time. No method: that would cost each message.
        self.clock = now or time.monotonic
        self.beginning = 0.0 if now else time.time() - time.monotonic()
        self.size = 0
        self._size_of_keys = 0
        self.messages = 0
        self._evicted = 0
        self._counters_lost = 0
        self._epoch = ""
        self._rings: dict[str, _Kept] = {}
        # In the order of the last publications: those with messages, and the bare counters.
        self._full: OrderedDict[str, _Kept] = OrderedDict()
        self._bare: OrderedDict[str, _Kept] = OrderedDict()
        # How many counters were lost of those topics whose names have checksums of one shard. It is a part of
        # the epoch, also of topics without a counter, which so need no memory.
        self._lost: Counter[int] = Counter()
        self.newest: _Kept | None = None  # the last one of `_full`
        self.next_sweep = 0.0
        self._answers = SharedAnswers()
        self._followed: set[str] = set()
        self.watched: set[str] = set()
        self.routes: dict[str, Callable[[Publication], None]] = {}
        self.on_publication: Callable[[Publication], None] = _nowhere
        self._keys: OrderedDict[tuple[str, str], tuple[float, Position | None]] = OrderedDict()

    def now(self) -> float:
        """Tell Unix seconds."""
        return self.clock() + self.beginning

    # What the broker does

    def keep(self, topic: str, rule: HistoryRule) -> _Kept:
        """Return the ring of a topic that something is about to be published to."""
        kept = self._rings.get(topic)
        if kept is None:
            kept = self._rings[topic] = _Kept(self, self._epoch_of(topic), rule, self.now())
            self._bare[topic] = kept
            self.size += COUNTER_COST + len(topic)
        return kept

    def add_route(self, topic: str, route: Callable[[Publication], None]) -> None:
        """Remember what takes the publications of a topic, until its counter ends."""
        if len(topic) <= _LONGEST_ROUTED:
            if len(self.routes) >= _MOST_ROUTES:
                self.routes.clear()
            self.routes[topic] = route

    def renew(self, topic: str, ring: _Kept) -> None:
        """A topic is the one that was published to last."""
        if topic in self._full:
            self._full.move_to_end(topic)
        else:
            del self._bare[topic]
            self._full[topic] = ring
        self.newest = ring

    def bound(self, topic: str, ring: _Kept, now: float) -> None:
        """Drop what is too much after something was published to a topic, and what is too old."""
        entries, rule = ring.entries, ring.rule
        oldest = now - rule.ttl
        while (ring.size > rule.bytes and len(entries) > 1) or entries[0].time <= oldest:
            self._pop(ring)
        ring.due = entries[0].time + rule.ttl
        if now >= self.next_sweep:
            self.next_sweep = now + _SWEEP_INTERVAL
            self._expire(now)
        if self.size > self.budget:
            if MESSAGE_COST + len(entries[-1].payload) > self.budget - COUNTER_COST - len(topic):
                # It would drop all others, and still be too large: who comes back across it is told.
                self._evicted += len(entries)
                self._drop(topic, ring)
            self._evict(ring)

    def known(self, topic: str, key: str) -> Receipt | None:
        """Return the receipt of what was published under a key; None when nothing was."""
        now = self.now()
        for _ in range(_EXPIRED_AT_ONCE):
            if not self._keys or next(iter(self._keys.values()))[0] > now:
                break
            self._forget_key()
        end, position = self._keys.get((topic, key), (now, None))
        return Receipt(position, duplicate=True) if end > now else None

    def remember(self, topic: str, key: str, position: Position | None) -> None:
        """Remember what was published under a key."""
        if self._keys.pop((topic, key), None) is None:  # else its time is over, and it was not forgotten yet
            self._count_key(topic, key, 1)
        self._keys[topic, key] = self.now() + KEY_LIFE, position
        while self.size > self.budget and len(self._keys) > 1 and self._size_of_keys > self.budget // 4:
            self._forget_key()
        if self.size > self.budget:
            self._evict(None)

    def entered(self, topics: Collection[str]) -> None:
        """Somebody enters topics."""
        if not self.watched.issuperset(topics):
            self.watched.update(map(intern, filter(self.keeps, topics)))

    def emptied(self, topic: str) -> None:
        """Nobody is in a topic any more."""
        self.watched.discard(topic)
        self._followed.discard(topic)

    # The port

    def keeps(self, topic: str) -> bool:
        """See `History.keeps`."""
        return self._rules.find(topic) is not None

    def recover(self, wishes: Mapping[str, Wish], limit: ReplayLimit) -> Callable[[], Recoveries]:
        """See `History.recover`."""
        if not self._followed.issuperset(wishes):
            self._followed.update(map(intern, filter(self.keeps, wishes)))
        return partial(self._recover, wishes, limit)

    def _recover(self, wishes: Mapping[str, Wish], limit: ReplayLimit) -> Recoveries:
        recoveries = {}
        for topic, wish in wishes.items():
            ring = self._look_at(topic) if topic in self._followed or self.keeps(topic) else None
            recoveries[topic] = OFF if ring is None else self._answers.recover(ring, topic, wish, limit)
        return recoveries

    def read(self, topic: str, query: Query) -> Page:
        """See `History.read`."""
        if not self.keeps(topic):
            return Page((), None, "off")
        return read_ring(self._look_at(topic), topic, query)

    def clear(self, topic: str) -> Position | None:
        """See `History.clear`."""
        if not self.keeps(topic):
            return None
        position = self._look_at(topic).position
        if topic in self._full:
            self._drop(topic, self._full[topic])
        return position

    def metrics(self, broker: str) -> Iterator[Sample]:
        """Yield what is kept, under the name of its broker."""
        for name, text, value in (
            ("history_bytes", "Memory of messages, counters and keys that are kept.", self.size),
            ("history_messages", "Messages that are kept.", self.messages),
            ("history_topics", "Topics with a counter.", len(self._rings)),
            ("history_keys", "Idempotency keys that are known.", len(self._keys)),
        ):
            yield gauge(name, text, {broker: value}, "broker")
        text = "Messages dropped because all histories took more than websockets.limits.history_memory."
        yield counter("history_evicted_messages", text, {broker: self._evicted}, "broker")
        text = (
            "Counters of topics that have ended; who comes back to one is told that messages may be missing."
        )
        yield counter("history_counters_lost", text, {broker: self._counters_lost}, "broker")

    # What is kept

    def _look_at(self, topic: str) -> Ring:
        """Return what is kept of a topic now, without what is too old; an empty ring of nothing published."""
        ring = self._rings.get(topic)
        if ring is None:
            return Ring(self._epoch_of(topic))
        entries, oldest = ring.entries, self.clock() + self.beginning - ring.rule.ttl
        while entries and entries[0][2] <= oldest:
            self._pop(ring)
        if not entries and topic in self._full:
            self._set_bare(topic, ring)
        return ring

    def _epoch_of(self, topic: str) -> str:
        # Named by the process that counts: a core that is started again has this object from the parent, too.
        self._epoch = self._epoch or secrets.token_urlsafe(8)
        checksum = _checksum(topic)
        lost = self._lost[checksum % _SHARDS]
        # Each topic has its own: a position of another one must not be taken for one of this.
        return f"{self._epoch}{checksum:08x}{lost:x}" if lost else f"{self._epoch}{checksum:08x}"

    def _pop(self, ring: _Kept) -> None:
        self.messages -= 1
        self.size -= MESSAGE_COST + len(ring.pop().payload)

    def _drop(self, topic: str, ring: _Kept) -> None:
        """Drop all messages of a topic."""
        self.messages -= len(ring.entries)
        self.size -= ring.size + MESSAGE_COST * len(ring.entries)
        ring.clear()
        self._set_bare(topic, ring)

    def _set_bare(self, topic: str, ring: _Kept) -> None:
        """Note that nothing but the counter of a topic is left."""
        del self._full[topic]
        self._bare[topic] = ring
        if ring is self.newest:
            self.newest = None

    def _expire(self, now: float) -> None:
        """Drop what is so old that nobody will get it, a little of it."""
        for _ in range(_EXPIRED_AT_ONCE):
            topic, ring = next(iter(self._full.items()))  # there is always the one that was published to
            if ring.used + ring.rule.ttl > now:
                break
            self._drop(topic, ring)
        for _ in range(_EXPIRED_AT_ONCE):
            topic, counter = next(iter(self._bare.items()), ("", None))
            if counter is None or counter.used + counter_life(counter.rule) > now:
                break
            if topic in self._followed:
                counter.used = now
                self._bare.move_to_end(topic)
            else:
                self._forget(topic)

    def _evict(self, published: _Kept | None) -> None:
        """Make room: drop messages of others, then their counters, then the oldest messages of this topic."""
        while self.size > self.budget:
            topic, ring = next(iter(self._full.items()), ("", None))
            if ring is not None and ring is not published:
                self._evicted += len(ring.entries)
                self._drop(topic, ring)
            elif self._bare:
                self._forget(next(iter(self._bare)))
            elif published is not None and len(published.entries) > 1:
                self._evicted += 1
                self._pop(published)
            else:
                break

    def _forget(self, topic: str) -> None:
        """End a counter: positions before now are of another epoch."""
        del self._bare[topic], self._rings[topic]
        self.routes.pop(topic, None)
        self._lost[_checksum(topic) % _SHARDS] += 1
        self._counters_lost += 1
        self.size -= COUNTER_COST + len(topic)

    def _forget_key(self) -> None:
        (topic, key), _ = self._keys.popitem(last=False)
        self._count_key(topic, key, -1)

    def _count_key(self, topic: str, key: str, sign: int) -> None:
        size = sign * (KEY_COST + len(topic) + len(key))
        self._size_of_keys += size
        self.size += size


def _nowhere(publication: Publication) -> None:
    """Nobody has been named who gets it."""


def _checksum(topic: str) -> int:
    return crc32(topic.encode("utf-8", "surrogatepass"))
