"""Where brokers and hubs meet: one pair of them for each `broadcast` section.

A publication goes to the broker; what the broker hands back goes to the hub of the same section and so to
this node's subscribers. Memory and Redis take the same road. The name of a section selects it; any other name
means the default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.history import History, Receipt, Recoveries, Synchronize
from rr_py_ws.core.hold import Hold, Topic
from rr_py_ws.core.hub import Hub
from rr_py_ws.core.ports import Broker, Publish, Subscriber
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.errors import BrokerError
from rr_py_ws.metrics import Sample, gauge
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import Encoding
from rr_py_ws.wire.recovery import OFF

Schedule = Callable[[Callable[[], None]], object]
"""Calls its argument once, after the current turn of the loop."""


class Fanout(Protocol):
    """Who is in which topic of a broker, and gets what is published: a `Hub`, or what takes its place."""

    def __contains__(self, topic: str) -> bool: ...

    def metrics(self, broker: str) -> Iterator[Sample]:
        """See `Hub.metrics`."""

    def count_with(self, subscriber: Any, topics: Iterable[str]) -> int:
        """See `Hub.count_with`."""

    def subscribe(self, subscriber: Any, topics: Collection[str]) -> list[str]:
        """See `Hub.subscribe`."""

    def unsubscribe(self, subscriber: Any, topics: Collection[str]) -> list[str]:
        """See `Hub.unsubscribe`."""

    def unsubscribe_all(self, subscriber: Any) -> list[str]:
        """See `Hub.unsubscribe_all`."""

    def regroup(self, subscriber: Any, encoding: Encoding) -> None:
        """See `Hub.regroup`."""

    def publish(self, publication: Publication) -> None:
        """See `Hub.publish`."""

    def tell_missed(self, topics: Iterable[str]) -> None:
        """See `Hub.tell_missed`."""

    def flush(self) -> None:
        """See `Hub.flush`."""


MakeHub = Callable[[Schedule, Backpressure | None, str], Fanout]


class Node:
    """Implements the ports `Publisher`, `Holds` and `Subscriptions`.

    Args:
        brokers: section name -> broker; started and closed here.
        default: name of the section that other names mean.
        schedule: see `Hub`.
        backpressure: see `Hub`.
        make_hub: makes a hub of `schedule`, `backpressure` and the name of a section.

    Attributes:
        brokers: the same.
    """

    def __init__(
        self,
        brokers: Mapping[str, Broker],
        default: str,
        schedule: Schedule,
        backpressure: Backpressure | None = None,
        make_hub: MakeHub = Hub,
    ) -> None:
        self.brokers = dict(brokers)
        self._sections = {**{name: name for name in brokers}, "": default}
        self._publishers = {name: _publish_to(broker) for name, broker in brokers.items()}
        self._publishers[""] = self._publishers[default]  # what is nearly always asked for
        self._hubs = {name: make_hub(schedule, backpressure, name) for name in brokers}
        self._backpressure = backpressure
        self._default = default
        # Who is about to enter topics, and how many are about to enter each.
        self._entering: dict[object, tuple[str, Sequence[str]]] = {}
        self._entered: dict[str, Counter[str]] = {name: Counter() for name in brokers}

    async def start(self) -> None:
        """Start every broker.

        Raises:
            BrokerError: one cannot start; the text names its section.
        """
        for name, broker in self.brokers.items():
            hub = self._hubs[name]
            try:
                await broker.start(hub.publish, hub.tell_missed)
            except BrokerError as error:
                raise error.within(f"broadcast.{name}") from error

    async def close(self) -> None:
        """Write what is queued and close every broker."""
        self.flush()
        for broker in self.brokers.values():
            await broker.close()

    def ready(self, broker: str) -> bool:
        """Whether the broker of a section would take a publication now."""
        return self.brokers[broker].ready

    def metrics(self) -> Iterator[Sample]:
        """Yield the samples of backpressure, hubs and brokers."""
        if self._backpressure is not None:
            yield from self._backpressure.metrics()
        for name, broker in self.brokers.items():
            ready = {name: int(broker.ready)}
            yield gauge("broker_ready", "Whether the broker would take a message.", ready, "broker")
            yield from self._hubs[name].metrics(name)
            yield from broker.metrics()

    def flush(self) -> None:
        """Write what is queued for this node's subscribers."""
        for hub in self._hubs.values():
            hub.flush()

    def hub(self, broker: str = "") -> Fanout:
        """Return the hub of a section, or of the default one."""
        return self._hubs[self._section(broker)]

    def publish(self, broker: str, publication: Publication) -> Awaitable[None] | None:
        """See `Publisher.publish`."""
        return self.publisher(broker)(publication)

    def publisher(self, broker: str) -> Publish:
        """See `Publisher.publisher`."""
        return self._publishers.get(broker) or self._publishers[self._section(broker)]

    def is_heard(self, broker: str, topics: Iterable[str]) -> bool:
        """See `Publisher.is_heard`."""
        hub = self.hub(broker)
        return any(topic in hub for topic in topics)

    def publish_once(
        self, broker: str, publication: Publication, key: str = "", *, skip_history: bool = False
    ) -> Receipt | Awaitable[Receipt]:
        """See `Publisher.publish_once`."""
        chosen = self.brokers[self._section(broker)]
        return chosen.publish_once(publication, key, skip_history=skip_history)

    def history(self, broker: str) -> History | None:
        """See `Publisher.history`."""
        return self.brokers[self._section(broker)].history

    @property
    def held(self) -> Collection[Topic]:
        """See `Holds.held`."""
        return () if self._backpressure is None else self._backpressure.held

    def find_hold(self, broker: str, topics: Iterable[str]) -> Hold | None:
        """See `Holds.find_hold`."""
        if self._backpressure is None:
            return None
        section, held = self._section(broker), self._backpressure.held
        return next((held[section, topic] for topic in topics if (section, topic) in held), None)

    def count_with(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> int:
        """See `Subscriptions.count_with`."""
        chosen = self._hubs[self._section(broker)]
        return sum(hub.count_with(subscriber, topics if hub is chosen else ()) for hub in self._hubs.values())

    def join(self, subscriber: object, broker: str, topics: Sequence[str]) -> Awaitable[None] | None:
        """See `Subscriptions.join`.

        The subscriber is in the hub before the broker is asked, so that nothing is lost in between; when the
        broker refuses, it is taken out again.
        """
        name = self._sections.get(broker) or self._section(broker)
        added = self._hubs[name].subscribe(subscriber, topics)
        try:
            waiting = self.brokers[name].subscribe(topics)
        except BrokerError:
            self._leave(subscriber, name, added)
            raise
        return None if waiting is None else self._confirm(waiting, subscriber, name, added)

    def join_with_history(
        self,
        subscriber: Subscriber,
        broker: str,
        topics: Sequence[str],
        wishes: Mapping[str, Wish],
        limit: ReplayLimit,
    ) -> Recoveries | Awaitable[Recoveries]:
        """See `Subscriptions.join_with_history`.

        The subscriber is in the hub only when its answer can be written: what comes before is in the history.
        """
        name = self._sections.get(broker) or self._section(broker)
        waiting = self.brokers[name].subscribe(topics)
        finding = self._find(name, wishes, limit) if waiting is None else None
        if callable(finding):  # cheaper to find out than whether it can be awaited
            return self._enter(subscriber, name, topics, finding)
        self._entering[subscriber] = name, topics
        self._entered[name].update(topics)
        return self._enter_later(subscriber, name, topics, wishes, limit, waiting, finding)

    def leave(self, subscriber: object, broker: str, topics: Sequence[str]) -> None:
        """See `Subscriptions.leave`."""
        self._leave(subscriber, self._section(broker), topics)

    def leave_all(self, subscriber: object) -> None:
        """See `Subscriptions.leave_all`."""
        self._enter_no_longer(subscriber)
        for name, hub in self._hubs.items():
            self._unsubscribe(name, hub.unsubscribe_all(subscriber))

    def _section(self, broker: str) -> str:
        if broker in self.brokers:
            return broker
        name = broker.lower()  # the loader lower-cases the names of sections
        return name if name in self.brokers else self._default

    async def _confirm(
        self, waiting: Awaitable[None], subscriber: object, name: str, added: Sequence[str]
    ) -> None:
        """Wait for the broker; take the topics back when it fails, or when nobody waits any more."""
        try:
            await waiting
        except BaseException:
            self._leave(subscriber, name, added)
            raise

    def _leave(self, subscriber: object, name: str, topics: Sequence[str]) -> None:
        self._unsubscribe(name, self._hubs[name].unsubscribe(subscriber, topics))

    def _unsubscribe(self, name: str, emptied: Iterable[str]) -> None:
        """Give up topics that nobody is in, unless somebody is about to enter them."""
        entered = self._entered[name]
        if left := [topic for topic in emptied if topic not in entered]:
            self.brokers[name].unsubscribe(left)

    # Joins with history

    def _find(
        self, name: str, wishes: Mapping[str, Wish], limit: ReplayLimit
    ) -> Synchronize | Awaitable[Synchronize]:
        history = self.brokers[name].history
        if history is not None:
            return history.recover(wishes, limit)
        return lambda: dict.fromkeys(wishes, OFF)

    async def _enter_later(
        self,
        subscriber: Subscriber,
        name: str,
        topics: Sequence[str],
        wishes: Mapping[str, Wish],
        limit: ReplayLimit,
        waiting: Awaitable[None] | None,
        finding: Synchronize | Awaitable[Synchronize] | None,
    ) -> Recoveries:
        try:
            if waiting is not None:
                await waiting
            if finding is None:
                finding = self._find(name, wishes, limit)
            if isinstance(finding, Awaitable):
                finding = await finding
            return self._enter(subscriber, name, topics, finding)
        finally:
            self._enter_no_longer(subscriber)

    def _enter(
        self, subscriber: Subscriber, name: str, topics: Sequence[str], synchronize: Synchronize
    ) -> Recoveries:
        encoding = subscriber.encoding.positioned
        if encoding is not None:
            for hub in self._hubs.values():
                hub.regroup(subscriber, encoding)
            subscriber.encoding = encoding
        self._hubs[name].subscribe(subscriber, topics)
        return synchronize()

    def _enter_no_longer(self, subscriber: object) -> None:
        """The subscriber is in the topics, or will not be."""
        name, topics = self._entering.pop(subscriber, ("", ()))
        if topics:
            entered = self._entered[name]
            entered.subtract(topics)
            for topic in topics:
                if entered[topic] <= 0:
                    del entered[topic]
            self._unsubscribe(
                name, [topic for topic in dict.fromkeys(topics) if topic not in self._hubs[name]]
            )


def _publish_to(broker: Broker) -> Publish:
    """Make what hands publications to a broker; nearly all come this way, so no call is left that can be."""
    routes = broker.routes
    if routes is None:
        return lambda publication: broker.publish(publication)  # which changes as the broker starts

    def publish(publication: Publication) -> Awaitable[None] | None:
        try:
            route = routes[publication[0]]  # nearly always there; `get` takes half as much again
        except KeyError:
            return broker.publish(publication)
        return route(publication)

    return publish
