"""The broker of a single node: a publication is accepted and delivered at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rr_py_ws.adapters.brokers.memory_history import MemoryHistory
from rr_py_ws.core.history import Receipt
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.errors import BrokerError
from rr_py_ws.metrics import Sample
from rr_py_ws.wire.publication import Publication

_BUDGET = 64 * 1024 * 1024


class MemoryBroker:
    """Implements the port `Broker` without anything outside this process.

    Nothing is kept of a topic without a history: without subscribers on this node it costs one dictionary
    look-up.

    Args:
        rules: which topics have a history.
        budget: bytes of all histories.
        name: of the section of `broadcast`, for metrics.
        now: see `MemoryHistory`.

    Attributes:
        publish: hands a publication on. While the broker runs and no topic can have a history, this is
            `on_publication` itself, so that publishing costs no call; look it up each time, for it changes
            with `start` and `close`.
        routes: see `Broker`; of topics without a history, too, which so cost one look-up more.
        history: see `MemoryHistory`.
    """

    def __init__(
        self,
        rules: HistoryRules | None = None,
        budget: int = _BUDGET,
        name: str = "",
        now: Callable[[], float] | None = None,
    ) -> None:
        self._rules = rules or HistoryRules()
        self._name = name
        self._on_publication: Callable[[Publication], None] = _not_running
        self.history = MemoryHistory(self._rules, budget, now)
        self.publish: Callable[[Publication], None] = _not_running
        self.routes = self.history.routes if self._rules else None

    @property
    def ready(self) -> bool:
        """Whether it runs."""
        return self._on_publication is not _not_running

    async def start(
        self, on_publication: Callable[[Publication], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        """Begin; nothing is ever missed, so `on_gap` is never called."""
        self._on_publication = self.history.on_publication = on_publication
        self.publish = self._publish if self._rules else on_publication

    def _publish(self, publication: Publication) -> None:
        """Publish to a topic that has no route yet."""
        topic = publication.topic
        rule = self._rules.find(topic)
        route = self._on_publication if rule is None else self.history.keep(topic, rule).publish
        self.history.add_route(topic, route)
        route(publication)

    def publish_once(self, publication: Publication, key: str = "", *, skip_history: bool = False) -> Receipt:
        """See `Broker.publish_once`."""
        topic, position = publication.topic, None
        if key and (receipt := self.history.known(topic, key)) is not None:
            return receipt
        rule = None if skip_history else self._rules.find(topic)
        if rule is None or not self.ready:
            self._on_publication(publication)
        else:
            kept = self.history.keep(topic, rule)
            position = kept.next_position
            kept.publish(publication)
        if key:
            self.history.remember(topic, key, position)
        return Receipt(position)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Return at once: what is published here arrives here."""
        if self.routes is not None:
            self.history.entered(topics)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Return at once."""
        if self.routes is not None:
            for topic in topics:
                self.history.emptied(topic)

    async def settle(self) -> None:
        """Return at once: nothing is ever on its way."""

    async def close(self) -> None:
        """End; further publications are refused."""
        self.publish = self._on_publication = self.history.on_publication = _not_running
        self.history.routes.clear()

    def metrics(self) -> Iterable[Sample]:
        """Tell of the histories, if there are any."""
        return self.history.metrics(self._name) if self._rules else ()


def _not_running(publication: Publication) -> None:
    raise BrokerError("the memory broker is not running")
