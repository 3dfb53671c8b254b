"""Who on this node is in which topic, and the fan-out of one loop turn.

A publish is encoded once for each encoding in use and kept until the end of the turn. The flush then joins
what belongs together and writes once per connection: under load, one system call carries many messages.
Order is that of the publishes, over all topics of the hub.

The hub never waits and calls nothing that waits, so it needs no lock. A subscriber whose write fails is told
and skipped; nobody else notices.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from rr_py_ws.core.backpressure import Brake
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.push import Encoding


class Subscriber(Protocol):
    """A connection, as the hub sees it. Compared by identity.

    Attributes:
        encoding: the form in which it gets pushes; fixed while it is subscribed.
        send: the fast way: like `os.write` it returns how many bytes it took; when it raises it took none.
        write: the way for what `send` did not take: it takes everything and never blocks. Both may be
            replaced between calls.
    """

    encoding: Encoding
    send: Callable[[bytes], int]
    write: Callable[[bytes | memoryview], None]

    def missed(self, topics: Sequence[str]) -> None:
        """Messages of these topics may have been lost on their way to this node. Does not fail."""

    def write_failed(self, error: Exception) -> None:
        """`write` raised; the subscriber should go away soon, but not during this call."""


_Group = dict[Subscriber, None]


@dataclass(slots=True)
class HubStats:
    """What a hub has done so far.

    Attributes:
        subscriptions: pairs of a connection and a topic, now.
        published: messages, also those of topics that nobody is in.
        delivered: messages times connections.
        delivered_bytes: the same in bytes of frames.
        flushes: turns that had something to write.
    """

    subscriptions: int = 0
    published: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    flushes: int = 0


class Hub:
    """The subscriptions of one broker on this node.

    Args:
        schedule: calls its argument once, after the current loop turn (`loop.call_soon`).
        brake: told how much there is to write, and to whom it was written; None: nobody is held.
    """

    def __init__(self, schedule: Callable[[Callable[[], None]], object], brake: Brake | None = None) -> None:
        self.stats = HubStats()
        self._schedule = schedule
        self._brake = brake
        self._topics: dict[str, dict[Encoding, _Group]] = {}
        self._joined: dict[Subscriber, set[str]] = {}
        self._turn: list[tuple[_Group, bytes]] = []
        self._gathered = 0

    def __contains__(self, topic: str) -> bool:
        """Whether anybody on this node is in the topic."""
        return topic in self._topics

    def __len__(self) -> int:
        """Return the number of topics with a subscriber."""
        return len(self._topics)

    def metrics(self, broker: str) -> Iterator[Sample]:
        """Tell what it has and has done, under the name of its broker."""
        for name, text, value in (
            ("topics", "Topics that somebody is in.", len(self._topics)),
            ("subscriptions", "Pairs of a connection and a topic.", self.stats.subscriptions),
        ):
            yield gauge(name, text, {broker: value}, "broker")
        for name, text, value in (
            ("published_messages", "Messages from the broker.", self.stats.published),
            ("delivered_messages", "Messages given to connections.", self.stats.delivered),
            ("delivered_bytes", "The same in bytes of frames.", self.stats.delivered_bytes),
            ("flushes", "Loop turns in which something was delivered.", self.stats.flushes),
        ):
            yield counter(name, text, {broker: value}, "broker")

    def subscribers(self, topic: str) -> int:
        """Return how many connections are in the topic."""
        return sum(map(len, self._topics.get(topic, {}).values()))

    def count_with(self, subscriber: Subscriber, topics: Iterable[str]) -> int:
        """Return in how many topics a subscriber would be if it were in these, too."""
        joined = self._joined.get(subscriber, set())
        return len(joined) + len(set(topics) - joined)

    def subscribe(self, subscriber: Subscriber, topics: Iterable[str]) -> list[str]:
        """Add a subscriber to topics and return those it was not in before.

        Messages published before this call do not reach it.
        """
        self.flush()
        encoding = subscriber.encoding
        joined = self._joined.setdefault(subscriber, set())
        added = []
        for topic in topics:
            if topic not in joined:
                joined.add(topic)
                added.append(topic)
                self._topics.setdefault(topic, {}).setdefault(encoding, {})[subscriber] = None
        if not joined:
            del self._joined[subscriber]
        self.stats.subscriptions += len(added)
        return added

    def unsubscribe(self, subscriber: Subscriber, topics: Iterable[str]) -> list[str]:
        """Remove a subscriber from topics and return those that nobody is in any more.

        Topics that it is not in are left alone. Messages published before this call still reach it.
        """
        self.flush()
        joined = self._joined.get(subscriber)
        if joined is None:
            return []
        left = joined.intersection(topics)
        joined -= left
        if not joined:
            del self._joined[subscriber]
        return self._remove(subscriber, left)

    def unsubscribe_all(self, subscriber: Subscriber) -> list[str]:
        """Remove a subscriber from everything and return the topics that nobody is in any more."""
        return self._remove(subscriber, self._joined.pop(subscriber, ()))

    def _remove(self, subscriber: Subscriber, topics: Collection[str]) -> list[str]:
        self.stats.subscriptions -= len(topics)
        emptied = []
        for topic in topics:
            groups = self._topics[topic]
            group = groups[subscriber.encoding]
            del group[subscriber]
            if not group:
                del groups[subscriber.encoding]
                if not groups:
                    del self._topics[topic]
                    emptied.append(topic)
        return emptied

    def publish(self, topic: str, payload: bytes) -> None:
        """Queue a message for everybody who is in the topic now; it is written when the turn ends."""
        self.stats.published += 1
        groups = self._topics.get(topic)
        if groups is None:
            return
        turn = self._turn
        if not turn:
            self._schedule(self.flush)
        for encoding, group in groups.items():
            frame = encoding.push(topic, payload)
            turn.append((group, frame))
            self._gathered += len(frame)
        if self._brake is not None and self._gathered > self._brake.turn:
            self._brake.gathered()

    def tell_missed(self, topics: Iterable[str]) -> None:
        """Tell everybody who is in one of the topics that messages of it may have been missed before now."""
        self.flush()
        missed: dict[Subscriber, list[str]] = {}
        for topic in topics:
            for group in self._topics.get(topic, {}).values():
                for subscriber in group:
                    missed.setdefault(subscriber, []).append(topic)
        for subscriber, its_topics in missed.items():
            subscriber.missed(its_topics)

    def flush(self) -> None:
        """Write what the turn has gathered."""
        turn = self._turn
        if not turn:
            return
        self._turn = []
        self._gathered = 0
        runs = [(group, self._join(group, frames)) for group, frames in _runs(turn)]
        self.stats.flushes += 1
        receivers: Collection[Subscriber]
        if len(runs) == 1:
            receivers, frames = runs[0]
            _send(receivers, frames)
        else:
            receivers = _send_interleaved(runs)
        if self._brake is not None:
            self._brake.written(receivers)

    def _join(self, group: _Group, frames: Sequence[bytes]) -> bytes:
        """Join the frames of a run, and count their deliveries: once for a run, not for a connection."""
        joined = frames[0] if len(frames) == 1 else b"".join(frames)
        self.stats.delivered += len(group) * len(frames)
        self.stats.delivered_bytes += len(group) * len(joined)
        return joined


def _runs(turn: Iterable[tuple[_Group, bytes]]) -> list[tuple[_Group, list[bytes]]]:
    """Gather consecutive frames for the same group."""
    runs: list[tuple[_Group, list[bytes]]] = []
    current: _Group | None = None
    frames: list[bytes] = []
    for group, frame in turn:
        if group is not current:
            current, frames = group, []
            runs.append((group, frames))
        frames.append(frame)
    return runs


def _send_interleaved(runs: Iterable[tuple[_Group, bytes]]) -> Collection[Subscriber]:
    """Send runs whose groups may overlap: each subscriber gets what is meant for it, in order, at once.

    Subscribers of the same groups share what is joined for them: it may have to wait for all of them.
    """
    pending: dict[Subscriber, list[bytes]] = {}
    for group, frames in runs:
        for subscriber in group:
            waiting = pending.get(subscriber)
            if waiting is None:
                pending[subscriber] = [frames]
            else:
                waiting.append(frames)
    joined: dict[tuple[int, ...], bytes] = {}
    for subscriber, parts in pending.items():
        if len(parts) == 1:
            _send((subscriber,), parts[0])
            continue
        key = tuple(map(id, parts))
        if key not in joined:
            joined[key] = b"".join(parts)
        _send((subscriber,), joined[key])
    return pending


def _send(subscribers: Iterable[Subscriber], frames: bytes) -> None:
    """Send; nearly all of the server's time is spent here."""
    size = len(frames)
    for subscriber in subscribers:
        send = subscriber.send
        try:
            taken = send(frames)
        except Exception:
            taken = 0  # the socket is full, or gone: `write` queues, or finds out
        if taken != size:
            try:
                subscriber.write(memoryview(frames)[taken:] if taken else frames)  # copy nothing
            except Exception as error:
                subscriber.write_failed(error)
