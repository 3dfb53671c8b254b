"""The hub of a core process: its subscribers are listener processes, few, and each in many topics.

What the hub for clients gains by groups and encodings would cost more than it brings here: a publication is
appended to what each of its listeners gets in this turn, which is encoded in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import Encoding


class Receiver(Protocol):
    """A listener, as the hub of one broker sees it. Compared by identity."""

    def forward(self, publications: Sequence[Publication]) -> None:
        """Write what has come in a turn, in order; nothing of it is kept. Does not fail."""

    def missed(self, topics: Sequence[str]) -> None:
        """See `Subscriber.missed`."""


class Forwarder:
    """The subscriptions of listeners to one broker; has the methods of `Hub` that a node needs.

    Args:
        schedule: see `Hub`.
        backpressure: told when much is queued.
        broker: see `Hub`.
    """

    def __init__(
        self,
        schedule: Callable[[Callable[[], None]], object],
        backpressure: Backpressure | None,
        broker: str,
    ) -> None:
        self._schedule = schedule
        self._backpressure = backpressure
        self._topics: dict[str, dict[Receiver, list[Publication]]] = {}
        self._joined: dict[Receiver, set[str]] = {}
        # What each gets in this turn. The lists live as long as the receivers: topics refer to them, too.
        self._turns: dict[Receiver, list[Publication]] = {}
        self._queued = 0
        self._is_scheduled = False
        self._published = 0

    def __contains__(self, topic: str) -> bool:
        """Whether any listener wants the topic."""
        return topic in self._topics

    def metrics(self, broker: str) -> Iterator[Sample]:
        """Yield what is counted for the whole server; the rest is counted by listeners."""
        yield gauge("topics", "Topics that somebody is in.", {broker: len(self._topics)}, "broker")
        text = "Messages from the broker."
        yield counter("published_messages", text, {broker: self._published}, "broker")

    def count_with(self, subscriber: Receiver, topics: Iterable[str]) -> int:
        """See `Hub.count_with`."""
        joined = self._joined.get(subscriber, set())
        return len(joined) + len(set(topics) - joined)

    def subscribe(self, subscriber: Receiver, topics: Collection[str]) -> list[str]:
        """See `Hub.subscribe`."""
        joined = self._joined.setdefault(subscriber, set())
        turn = self._turns.setdefault(subscriber, [])
        added = [topic for topic in dict.fromkeys(topics) if topic not in joined]
        joined.update(added)
        for topic in added:
            self._topics.setdefault(topic, {})[subscriber] = turn
        return added

    def unsubscribe(self, subscriber: Receiver, topics: Collection[str]) -> list[str]:
        """See `Hub.unsubscribe`."""
        joined = self._joined.get(subscriber, set())
        left = joined.intersection(topics)
        joined -= left
        return self._remove(subscriber, left)

    def unsubscribe_all(self, subscriber: Receiver) -> list[str]:
        """Forget a listener; what is queued for it is not written."""
        self._turns.pop(subscriber, None)
        return self._remove(subscriber, self._joined.pop(subscriber, set()))

    def regroup(self, subscriber: Receiver, encoding: Encoding) -> None:
        """Do nothing: there is one encoding."""

    def _remove(self, subscriber: Receiver, topics: Iterable[str]) -> list[str]:
        emptied = []
        for topic in topics:
            receivers = self._topics[topic]
            del receivers[subscriber]
            if not receivers:
                del self._topics[topic]
                emptied.append(topic)
        return emptied

    def publish(self, publication: Publication) -> None:
        """Queue a publication for the listeners that want its topic now."""
        self._published += 1
        topic = publication[0]
        receivers = self._topics.get(topic)
        if receivers is None:
            return
        if not self._is_scheduled:
            self._is_scheduled = True
            self._schedule(self.flush)
        for turn in receivers.values():
            turn.append(publication)
        self._queued += len(topic) + len(publication[1])
        if self._backpressure is not None and self._queued > self._backpressure.turn:
            self._backpressure.on_queued()

    def tell_missed(self, topics: Iterable[str]) -> None:
        """See `Hub.tell_missed`."""
        self.flush()
        missed: dict[Receiver, list[str]] = {}
        for topic in topics:
            for receiver in self._topics.get(topic, ()):
                missed.setdefault(receiver, []).append(topic)
        for receiver, its_topics in missed.items():
            receiver.missed(its_topics)

    def flush(self) -> None:
        """Write what the turn has gathered."""
        self._is_scheduled = False
        if not self._queued:
            return
        self._queued = 0
        for receiver, turn in self._turns.items():
            if turn:
                receiver.forward(turn)
                turn.clear()
        if self._backpressure is not None:
            self._backpressure.on_flushed()
