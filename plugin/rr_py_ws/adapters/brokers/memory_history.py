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
from collections.abc import Callable, Iterator, Mapping
from sys import intern
from zlib import crc32

from rr_py_ws.config import HistoryRule
from rr_py_ws.core.history import KEY_LIFE, Page, Query, Receipt, Recoveries, read_ring
from rr_py_ws.core.history_rules import HistoryRules, counter_life
from rr_py_ws.core.ring import Entry, ReplayLimit, Ring
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.recovery import OFF

MESSAGE_COST, COUNTER_COST, KEY_COST = 180, 950, 280
"""Bytes that a message, a counter and an idempotency key take beside payload, and name of the topic."""
_SHARDS = 4096
_SWEEP_INTERVAL = 0.1
"""Seconds between two looks for topics whose time is over, while something is published,"""
_EXPIRED_AT_ONCE = 100
"""and so many of them are dropped in one; so many keys, when another one is asked for."""
_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class


def steady_clock() -> Callable[[], float]:
    """Return a clock that tells Unix seconds and never goes back, whatever becomes of the system's."""
    beginning = time.time() - time.monotonic()
    return lambda: beginning + time.monotonic()


class _Kept(Ring):
    """The ring of a topic.

    Attributes:
        rule: of the topic.
        used: when something was published to it, or somebody was seen in it who follows it.
    """

    __slots__ = ("rule", "used")

    def __init__(self, epoch: str, rule: HistoryRule, used: float) -> None:
        super().__init__(epoch)
        self.rule = rule
        self.used = used


class MemoryHistory:
    """Implements the port `History` without anything outside this process.

    Args:
        rules: what is kept of which topic.
        budget: bytes of all messages, counters and keys.
        now: Unix seconds; never goes back.

    Attributes:
        size: bytes that are used of the budget.
    """

    def __init__(self, rules: HistoryRules, budget: int, now: Callable[[], float] | None = None) -> None:
        self._rules = rules
        self._budget = budget
        self._now = now or steady_clock()
        self.size = 0
        self._size_of_keys = 0
        self._messages = 0
        self._evicted = 0
        self._counters_lost = 0
        self._epoch = secrets.token_urlsafe(8)
        self._rings: dict[str, _Kept] = {}
        # In the order of the last publications: those with messages, and the bare counters.
        self._full: OrderedDict[str, _Kept] = OrderedDict()
        self._bare: OrderedDict[str, _Kept] = OrderedDict()
        # How many counters were lost of those topics whose names have one checksum. It is a part of the
        # epoch, also of topics without a counter, which so need no memory.
        self._lost: Counter[int] = Counter()
        self._newest: _Kept | None = None  # the last one of `_full`
        self._next_sweep = 0.0
        self._followed: set[str] = set()
        self._keys: OrderedDict[tuple[str, str], tuple[float, Position | None]] = OrderedDict()

    # What the broker does

    def append(self, publication: Publication, rule: HistoryRule) -> Publication:
        """Keep a publication; return it with its position and time."""
        topic, payload, _, _, exclude = publication
        now = self._now()
        ring = self._rings.get(topic)
        if ring is None:
            ring = self._rings[topic] = _Kept(self._epoch_of(topic), rule, now)
            self.size += COUNTER_COST + len(topic)
        if ring is not self._newest:
            self._bare.pop(topic, None)
            self._full[topic] = self._newest = ring
            self._full.move_to_end(topic)
        # As `Ring.append`, and `_pop` of the oldest, in a third of the time: most messages need no more.
        ring.used = now
        ring.top = offset = ring.top + 1
        entries, size = ring.entries, len(payload)
        entries.append(_new(Entry, (offset, 0, now, payload, exclude)))
        if len(entries) > rule.size:
            size -= len(entries.popleft()[3])
            self.size += size
        else:
            self._messages += 1
            self.size += size + MESSAGE_COST
        ring.size += size
        if (
            now >= self._next_sweep
            or self.size > self._budget
            or ring.size > rule.bytes
            or entries[0][2] <= now - rule.ttl
        ):
            self._bound(topic, ring, rule, now)
        # As `str(StreamPosition(...))`, which takes several times as long.
        return _new(Publication, (topic, payload, f"{ring.epoch}.{offset}", now, exclude))

    def _bound(self, topic: str, ring: _Kept, rule: HistoryRule, now: float) -> None:
        """Drop what is too much after something was published to a topic, and what is too old."""
        entries, oldest = ring.entries, now - rule.ttl
        while (ring.size > rule.bytes and len(entries) > 1) or entries[0].time <= oldest:
            self._pop(ring)
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_INTERVAL
            self._expire(now)
        if self.size > self._budget:
            if MESSAGE_COST + len(entries[-1].payload) > self._budget - COUNTER_COST - len(topic):
                # It would drop all others, and still be too large: who comes back across it is told.
                self._evicted += len(entries)
                self._drop(topic, ring)
            self._evict(ring)

    def known(self, topic: str, key: str) -> Receipt | None:
        """Return the receipt of what was published under a key; None when nothing was."""
        now = self._now()
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
        self._keys[topic, key] = self._now() + KEY_LIFE, position
        while self.size > self._budget and len(self._keys) > 1 and self._size_of_keys > self._budget // 4:
            self._forget_key()
        if self.size > self._budget:
            self._evict(None)

    def emptied(self, topic: str) -> None:
        """Nobody is in a topic any more."""
        self._followed.discard(topic)

    # The port

    def keeps(self, topic: str) -> bool:
        """See `History.keeps`."""
        return self._rules.find(topic) is not None

    def recover(self, wishes: Mapping[str, Wish], limit: ReplayLimit) -> Callable[[], Recoveries]:
        """See `History.recover`."""

        def synchronize() -> Recoveries:
            return {
                topic: self._look_at(topic).recover(topic, wish, limit) if self.keeps(topic) else OFF
                for topic, wish in wishes.items()
            }

        self._followed.update(map(intern, filter(self.keeps, wishes)))
        return synchronize

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
            ("history_messages", "Messages that are kept.", self._messages),
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
        oldest = self._now() - ring.rule.ttl
        while ring.entries and ring.entries[0].time <= oldest:
            self._pop(ring)
        if not ring.entries and topic in self._full:
            self._set_bare(topic, ring)
        return ring

    def _epoch_of(self, topic: str) -> str:
        lost = self._lost[_shard(topic)]
        return f"{self._epoch}{lost:x}" if lost else self._epoch

    def _pop(self, ring: _Kept) -> None:
        self._messages -= 1
        self.size -= MESSAGE_COST + len(ring.pop().payload)

    def _drop(self, topic: str, ring: _Kept) -> None:
        """Drop all messages of a topic."""
        self._messages -= len(ring.entries)
        self.size -= ring.size + MESSAGE_COST * len(ring.entries)
        ring.clear()
        self._set_bare(topic, ring)

    def _set_bare(self, topic: str, ring: _Kept) -> None:
        """Note that nothing but the counter of a topic is left."""
        del self._full[topic]
        self._bare[topic] = ring
        if ring is self._newest:
            self._newest = None

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
        while self.size > self._budget:
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
        self._lost[_shard(topic)] += 1
        self._counters_lost += 1
        self.size -= COUNTER_COST + len(topic)

    def _forget_key(self) -> None:
        (topic, key), _ = self._keys.popitem(last=False)
        self._count_key(topic, key, -1)

    def _count_key(self, topic: str, key: str, sign: int) -> None:
        size = sign * (KEY_COST + len(topic) + len(key))
        self._size_of_keys += size
        self.size += size


def _shard(topic: str) -> int:
    return crc32(topic.encode("utf-8", "surrogatepass")) % _SHARDS
