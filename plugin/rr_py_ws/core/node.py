"""Where brokers and hubs meet: one channel for each `broadcast` section.

A publish goes to the broker; what the broker hands back goes to the hub of the same section and so to this
node's subscribers. Memory and Redis take the same road. The name of a section selects it; any other name
(old clients send `memory`) means the default.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from rr_py_ws.core.backpressure import Brake
from rr_py_ws.core.hub import Hub, Subscriber
from rr_py_ws.core.ports import Broker
from rr_py_ws.errors import BrokerError
from rr_py_ws.metrics import Sample, gauge


class Node:
    """Implements the ports `Publisher` and `Subscriptions`.

    Args:
        brokers: section name -> broker; started and closed here.
        default: name of the section that other names mean.
        schedule: see `Hub`.
        brake: see `Hub`; told by receivers through here.
    """

    def __init__(
        self,
        brokers: Mapping[str, Broker],
        default: str,
        schedule: Callable[[Callable[[], None]], object],
        brake: Brake | None = None,
    ) -> None:
        self._brokers = dict(brokers)
        self._hubs = {name: Hub(schedule, brake) for name in brokers}
        self._brake = brake
        self._default = default

    async def start(self) -> None:
        """Start every broker.

        Raises:
            BrokerError: one cannot start; the text names its section.
        """
        for name, broker in self._brokers.items():
            try:
                hub = self._hubs[name]
                await broker.start(hub.publish, hub.tell_missed)
            except BrokerError as error:
                raise BrokerError(f"broadcast.{name}: {error}") from error

    async def settle(self) -> None:
        """Wait for all that the brokers have accepted from this node, and write it."""
        await asyncio.gather(*(broker.settle() for broker in self._brokers.values()))
        self.flush()

    async def close(self) -> None:
        """Write what is queued and close every broker."""
        self.flush()
        for broker in self._brokers.values():
            await broker.close()

    def ready(self, broker: str) -> bool:
        """Whether the broker of a section would take a message now."""
        return self._brokers[broker].ready

    def metrics(self) -> Iterator[Sample]:
        """See `metrics.MetricSource`."""
        if self._brake is not None:
            yield from self._brake.metrics()
        for name, broker in self._brokers.items():
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
        return self._hubs[self._name(broker)]

    def publish(self, broker: str, topics: Sequence[str], payload: bytes) -> Awaitable[None] | None:
        """See `Publisher.publish`."""
        publish = self._brokers[self._name(broker)].publish
        if len(topics) == 1 and topics[0]:
            return publish(topics[0], payload)
        later: list[Awaitable[None]] = []
        try:
            for topic in filter(None, topics):
                waiting = publish(topic, payload)
                if waiting is not None:
                    later.append(waiting)
        except BrokerError as error:
            if not later:
                raise
            return _all(later, error)
        return _all(later) if later else None

    def count_with(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> int:
        """See `Subscriptions.count_with`."""
        chosen = self.hub(broker)
        return sum(hub.count_with(subscriber, topics if hub is chosen else ()) for hub in self._hubs.values())

    def join(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> Awaitable[None] | None:
        """See `Subscriptions.join`."""
        name = self._name(broker)
        added = self._hubs[name].subscribe(subscriber, topics)
        try:
            waiting = self._brokers[name].subscribe(topics)
        except BrokerError:
            self._leave(subscriber, name, added)
            raise
        return None if waiting is None else self._confirm(waiting, subscriber, name, added)

    def leave(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> None:
        """See `Subscriptions.leave`."""
        self._leave(subscriber, self._name(broker), topics)

    def leave_all(self, subscriber: Subscriber) -> None:
        """See `Subscriptions.leave_all`."""
        for name, hub in self._hubs.items():
            self._unsubscribe(name, hub.unsubscribe_all(subscriber))

    def fell_behind(self, subscriber: Subscriber) -> None:
        """See `Subscriptions.fell_behind`."""
        if self._brake is not None:
            self._brake.fell_behind(subscriber)

    def caught_up(self, subscriber: Subscriber) -> None:
        """See `Subscriptions.caught_up`."""
        if self._brake is not None:
            self._brake.caught_up(subscriber)

    def _name(self, broker: str) -> str:
        if not broker or broker in self._brokers:
            return broker or self._default
        name = broker.lower()  # the loader lower-cases the names of sections
        return name if name in self._brokers else self._default

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
        self._unsubscribe(name, self._hubs[name].unsubscribe(subscriber, topics))

    def _unsubscribe(self, name: str, emptied: Sequence[str]) -> None:
        if emptied:
            self._brokers[name].unsubscribe(emptied)


async def _all(waiting: Sequence[Awaitable[None]], error: BrokerError | None = None) -> None:
    """Wait for all; then raise the first error, if any. What was accepted stays published."""
    for result in (*await asyncio.gather(*waiting, return_exceptions=True), error):
        if isinstance(result, BaseException):
            raise result
