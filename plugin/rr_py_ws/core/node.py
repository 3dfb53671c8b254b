"""Where brokers and hubs meet: one pair of them for each `broadcast` section.

A publication goes to the broker; what the broker hands back goes to the hub of the same section and so to
this node's subscribers. Memory and Redis take the same road. The name of a section selects it; any other name
(old clients send `memory`) means the default.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence

from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.hold import Hold, Topic
from rr_py_ws.core.hub import Hub
from rr_py_ws.core.ports import Broker, Subscriber
from rr_py_ws.errors import BrokerError
from rr_py_ws.metrics import Sample, gauge
from rr_py_ws.wire.publication import Position, Publication


class Node:
    """Implements the ports `Publisher`, `Holds` and `Subscriptions`.

    Args:
        brokers: section name -> broker; started and closed here.
        default: name of the section that other names mean.
        schedule: see `Hub`.
        backpressure: see `Hub`.

    Attributes:
        brokers: the same.
    """

    def __init__(
        self,
        brokers: Mapping[str, Broker],
        default: str,
        schedule: Callable[[Callable[[], None]], object],
        backpressure: Backpressure | None = None,
    ) -> None:
        self.brokers = dict(brokers)
        self._by_name = {**self.brokers, "": self.brokers[default]}  # what is nearly always asked for
        self._hubs = {name: Hub(schedule, backpressure, name) for name in brokers}
        self._backpressure = backpressure
        self._default = default

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
                raise BrokerError(f"broadcast.{name}: {error}") from error

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

    def hub(self, broker: str = "") -> Hub:
        """Return the hub of a section, or of the default one."""
        return self._hubs[self._section(broker)]

    def publish(self, broker: str, publication: Publication) -> Awaitable[Position | None] | Position | None:
        """See `Publisher.publish`."""
        chosen = self._by_name.get(broker) or self.brokers[self._section(broker)]
        return chosen.publish(publication)

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

    def join(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> Awaitable[None] | None:
        """See `Subscriptions.join`.

        The subscriber is in the hub before the broker is asked, so that nothing is lost in between; when the
        broker refuses, it is taken out again.
        """
        name = self._section(broker)
        added = self._hubs[name].subscribe(subscriber, topics)
        try:
            waiting = self.brokers[name].subscribe(topics)
        except BrokerError:
            self._leave(subscriber, name, added)
            raise
        return None if waiting is None else self._confirm(waiting, subscriber, name, added)

    def leave(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> None:
        """See `Subscriptions.leave`."""
        self._leave(subscriber, self._section(broker), topics)

    def leave_all(self, subscriber: Subscriber) -> None:
        """See `Subscriptions.leave_all`."""
        for name, hub in self._hubs.items():
            if emptied := hub.unsubscribe_all(subscriber):
                self.brokers[name].unsubscribe(emptied)

    def _section(self, broker: str) -> str:
        if broker in self.brokers:
            return broker
        name = broker.lower()  # the loader lower-cases the names of sections
        return name if name in self.brokers else self._default

    async def _confirm(
        self, waiting: Awaitable[None], subscriber: Subscriber, name: str, added: Sequence[str]
    ) -> None:
        """Wait for the broker; take the topics back when it fails, or when nobody waits any more."""
        try:
            await waiting
        except BaseException:
            self._leave(subscriber, name, added)
            raise

    def _leave(self, subscriber: Subscriber, name: str, topics: Sequence[str]) -> None:
        if emptied := self._hubs[name].unsubscribe(subscriber, topics):
            self.brokers[name].unsubscribe(emptied)
