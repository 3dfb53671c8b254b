"""A broker of one node of the model: the feeds are the real ones, what they stand on is the test's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rr_py_ws.adapters.brokers.redis.newest import Newest
from rr_py_ws.adapters.brokers.redis.owed import Debt, Owed
from rr_py_ws.config import HistoryRule
from rr_py_ws.core.feed import Feeds
from rr_py_ws.core.feed_rings import Arrival
from rr_py_ws.core.history import Receipt
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import ReplayLimit, Ring
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.publication import Publication
from support.feed_store import KEPT, PLAIN, TOPICS, SharedStore
from support.feed_world import Later, World

RULES = HistoryRules([HistoryRule(topics=TOPICS, size=KEPT, ttl=60.0)])


class FeedBroker:
    """A broker of one node: the feeds over a feed that loses what the machine wants it to lose."""

    routes = None

    def __init__(self, world: World, store: SharedStore, *, is_lossy: bool) -> None:
        self.world, self.store = world, store
        self.is_lossy = is_lossy
        self.subscribed: set[str] = set()
        self.on_its_way: deque[tuple[str, Arrival | None]] = deque()  # None: the next one is not kept
        self.handed_over: dict[str, set[str]] = {}
        self.owed = Owed()
        self.connection = 0
        self.interrupted = False
        self.brings_nothing = False
        self.ready = True
        self.history = self

    async def start(
        self, on_publication: Callable[[Publication], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        self.on_publication = on_publication

        def hand_over(publication: Publication) -> None:
            self.handed_over.setdefault(publication.topic, set()).add(publication.payload.decode())
            on_publication(publication)

        self.feeds = Feeds(
            self,
            RULES,
            hand_over,
            on_gap,
            self.end_epoch,
            self.world.spawn,
            is_lossy=self.is_lossy,
        )
        self.newest = Newest(self.feeds.position)

    def subscribe(self, topics: Sequence[str]) -> Later | None:
        if self.subscribed.issuperset(topics):
            return None

        def happen() -> None:
            if self.interrupted:
                raise BrokerError("not connected")
            self.subscribed.update(topics)

        return self.world.later(happen)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        self.subscribed.difference_update(topics)
        for topic in topics:
            self.handed_over.pop(topic, None)
        # Also when it is subscribed again: what comes before the confirmation counts as of no history.
        self.on_its_way = deque(found for found in self.on_its_way if found[0] not in topics)
        self.feeds.forget(topics)

    # The store

    def read(self, topic: str, after: int, limit: int) -> Later:
        known, debt, connection = self.newest.known(topic), self.owed.find(topic), self.connection

        def happen() -> Ring:
            ring = self.store.read(topic, after, limit, known, debt.epoch if debt else "")
            if connection == self.connection:
                self.named(topic, ring, debt)
            return ring

        return self.world.later(happen)

    def now(self) -> float:
        return 0.0

    def end_epoch(self, topic: str, epoch: str) -> None:
        is_being_paid = topic in self.owed.topics
        self.owed.add(topic, epoch)
        if not is_being_paid:
            self.world.spawn(self.pay(topic))

    async def pay(self, topic: str) -> None:
        while topic in self.owed.topics:
            with suppress(BrokerError):
                await self.read(topic, 0, 0)

    def named(self, topic: str, ring: Ring, debt: Debt | None) -> None:
        """The store has named its newest position."""
        self.newest.see(topic, ring.position.encode())
        self.owed.settle(topic, debt)

    def append(self, topic: str, exclude: tuple[str, ...] = ()) -> Arrival:
        """Publish something through this node."""
        debt, known = self.owed.find(topic), self.newest.unverified(topic)
        arrival = self.store.append(topic, known, debt.epoch if debt else "", exclude)
        self.named(topic, self.store.rings[topic], debt)
        return arrival

    def settle(self) -> Later:
        return self.world.later(self.deliver_all)

    # The history

    def keeps(self, topic: str) -> bool:
        return self.feeds.keeps(topic)

    def recover(self, wishes: Mapping[str, Wish], limit: ReplayLimit) -> Any:
        return self.feeds.recover(wishes, limit)

    def clear(self, topic: str) -> None: ...

    # The feed

    def send(self, topic: str, *arrivals: Arrival | None) -> None:
        if topic in self.subscribed and not (self.interrupted or self.brings_nothing):
            self.on_its_way.extend((topic, arrival) for arrival in arrivals)

    def deliver_all(self) -> None:
        while self.on_its_way:
            self.deliver()

    def deliver(self) -> None:
        topic, arrival = self.on_its_way.popleft()
        if topic not in self.subscribed:
            return
        if arrival is not None and topic == PLAIN:
            self.on_publication(Publication(topic, arrival.payload))
        elif arrival is None:
            self.end_epoch(topic, self.feeds.lose(topic))
        else:
            self.feeds.receive(topic, arrival)

    def interrupt(self) -> None:
        self.on_its_way.clear()
        self.interrupted = True
        self.feeds.interrupt(self.subscribed - {PLAIN})

    def resume(self) -> None:
        self.interrupted = False
        self.feeds.resume(sorted(self.subscribed - {PLAIN}))
        self.brings_nothing = False

    def reconnect(self) -> None:
        """There is another server, and the subscription may learn of it later."""
        self.connection += 1
        self.newest.connected()
        self.brings_nothing = True
        self.feeds.doubt()

    # What no client needs here

    def publish(self, publication: Publication) -> None: ...
    def publish_once(self, publication: Publication, key: str = "", *, skip_history: bool = False) -> Receipt:
        return Receipt()

    async def settled(self) -> None: ...
    async def close(self) -> None: ...
    def metrics(self) -> tuple[()]:
        return ()
