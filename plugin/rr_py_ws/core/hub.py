"""Which connections of this node are in which topic, and the fan-out of one turn of the event loop.

A publication is encoded once for each encoding in use and kept until the end of the turn. The flush then
joins what belongs together and writes once per connection: under load, one system call carries many messages.
Each connection gets its messages in the order of the publications, over all topics of the hub.

The hub never waits and calls nothing that waits, so it needs no lock. A subscriber that fails is told so and
skipped; nobody else notices.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import itemgetter, mul
from sys import intern

from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.cost import flush_cost
from rr_py_ws.core.exclusion import Exclusions, Group, Turn
from rr_py_ws.core.flush import Batch, Topics, flush
from rr_py_ws.core.hold import FEW
from rr_py_ws.core.ports import Subscriber
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.publication import Publication, Pushes
from rr_py_ws.wire.push import Encoding

_group_of, _frames_of = itemgetter(0), itemgetter(2)
"""Of an entry of a turn."""


class Hub:
    """The subscriptions of one broker on this node.

    Args:
        schedule: calls its argument once, after the current turn of the loop (`loop.call_soon`).
        backpressure: told how much there is to write, and to whom it was written.
        broker: name of its `broadcast` section.

    Attributes:
        subscriptions: pairs of a connection and a topic, now.
        topic_bytes: at most so much memory do the names of topics take; what is around them takes about 200
            bytes for each.
        published: messages so far, also those of topics that nobody is in.
        delivered: messages times connections, so far.
        delivered_bytes: the same in bytes of frames.
        flushes: turns so far that had something to write.
    """

    def __init__(
        self,
        schedule: Callable[[Callable[[], None]], object],
        backpressure: Backpressure | None = None,
        broker: str = "",
    ) -> None:
        self.subscriptions = 0
        self.topic_bytes = 0
        self.published = 0
        self.delivered = 0
        self.delivered_bytes = 0
        self.flushes = 0
        self._schedule = schedule
        self._backpressure = backpressure
        self._broker = broker
        # Nearly always there is one encoding, and a look-up for a publication.
        self._groups: dict[Encoding, dict[str, Group]] = {}
        self._count = 0
        self._joined: dict[Subscriber, set[str]] = {}
        # A list for each encoding: a connection has one encoding, so the order between two lists does not
        # matter, and messages of one topic stay neighbours, whatever encodings its subscribers have.
        self._turns: dict[Encoding, Turn] = {}
        self._exclusions: Exclusions | None = None
        self._queued = 0
        # What `_find_queued` has found, and how much of each turn it has looked at.
        self._queued_topics: dict[str, Group] = {}
        self._seen: dict[Encoding, int] = {}

    def __contains__(self, topic: str) -> bool:
        """Whether anybody on this node is in the topic."""
        return any(topic in groups for groups in self._groups.values())

    def __len__(self) -> int:
        """Return the number of topics with a subscriber."""
        return self._count

    def metrics(self, broker: str) -> Iterator[Sample]:
        """Yield what the hub has and has done, under the name of its broker."""
        for name, text, value in (
            ("topics", "Topics that somebody is in.", self._count),
            ("subscriptions", "Pairs of a connection and a topic.", self.subscriptions),
            ("topic_bytes", "Memory of the names of topics, at most.", self.topic_bytes),
        ):
            yield gauge(name, text, {broker: value}, "broker")
        for name, text, value in (
            ("published_messages", "Messages from the broker.", self.published),
            ("delivered_messages", "Messages given to connections.", self.delivered),
            ("delivered_bytes", "The same in bytes of frames.", self.delivered_bytes),
            ("flushes", "Loop turns in which something was delivered.", self.flushes),
        ):
            yield counter(name, text, {broker: value}, "broker")

    def subscribers(self, topic: str) -> int:
        """Return how many connections are in the topic."""
        return sum(map(len, self._groups_of(topic)))

    def count_with(self, subscriber: Subscriber, topics: Iterable[str]) -> int:
        """Return in how many topics a subscriber would be if it were in these, too."""
        joined = self._joined.get(subscriber, set())
        return len(joined) + len(set(topics) - joined)

    def subscribe(self, subscriber: Subscriber, topics: Collection[str]) -> list[str]:
        """Add a subscriber to topics and return those it was not in before.

        Messages published before this call do not reach it.
        """
        if self._turns:
            self._write_queued(subscriber, topics)
        # Interned, so that all who are in a topic share its name: half of the memory of a subscription.
        added = list(map(intern, topics))
        joined = self._joined.get(subscriber)
        if joined is None:
            if not added:
                return added
            joined = self._joined[subscriber] = set(added)
            if len(joined) < len(added):
                added = list(dict.fromkeys(added))
        else:
            added = [topic for topic in dict.fromkeys(added) if topic not in joined]
            joined.update(added)
        self._add(subscriber, subscriber.encoding, added)
        self.subscriptions += len(added)
        return added

    def _add(self, subscriber: Subscriber, encoding: Encoding, topics: Collection[str]) -> None:
        groups = self._groups.get(encoding)
        if groups is None:
            if not topics:
                return
            groups = self._groups[encoding] = {}
        others = len(self._groups) > 1
        find = groups.get
        for topic in topics:
            group = find(topic)
            if isinstance(group, dict):
                group[subscriber] = None
            elif group is None:
                if not (others and topic in self):
                    self._count += 1
                    self.topic_bytes += _name_size(topic)
                groups[topic] = [subscriber]
            else:
                groups[topic] = {group[0]: None, subscriber: None}

    def unsubscribe(self, subscriber: Subscriber, topics: Collection[str]) -> list[str]:
        """Remove a subscriber from topics and return those that nobody is in any more.

        Topics that it is not in are left alone. Messages published before this call still reach it.
        """
        self._write_queued(subscriber, topics)
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

    def regroup(self, subscriber: Subscriber, encoding: Encoding) -> None:
        """Count a subscriber to those of another encoding, which is about to become its own."""
        topics = self._joined.get(subscriber)
        if topics:
            self._write_queued(subscriber, ())
            self._take_out(subscriber, topics)
            self._add(subscriber, encoding, topics)

    def _write_queued(self, subscriber: Subscriber, topics: Collection[str]) -> None:
        """Write what is queued for topics that a subscriber is in, or is about to join or leave.

        The turn holds groups, not copies of them: a subscriber that is added now would get what was published
        before, one that is removed would miss it; and the reply to its command has its place behind what was
        published before. To end a turn early takes some of what turns save, so it is done only when it must
        be, and charged to the subscriber.
        """
        if not self._turns:
            return
        queued = self._find_queued()
        joined = self._joined.get(subscriber, ())
        if not queued.keys().isdisjoint(topics) or not queued.keys().isdisjoint(joined):
            subscriber.charge(flush_cost(sum(map(len, queued.values()))))
            self.flush()

    def _find_queued(self) -> dict[str, Group]:
        """Return the topics that something is queued for; looks only at what has come since the last time."""
        for encoding, turn in self._turns.items():
            seen = self._seen.get(encoding, 0)
            if len(turn) > seen:
                self._queued_topics |= {topic: group for group, topic, _ in turn[seen:]}
                self._seen[encoding] = len(turn)
        return self._queued_topics

    def _remove(self, subscriber: Subscriber, topics: Collection[str]) -> list[str]:
        self.subscriptions -= len(topics)
        return self._take_out(subscriber, topics)

    def _take_out(self, subscriber: Subscriber, topics: Collection[str]) -> list[str]:
        """Take a subscriber out of its groups; return the topics that nobody is in any more."""
        if not topics:
            return []
        emptied = []
        groups = self._groups[subscriber.encoding]
        for topic in topics:
            group = groups[topic]
            if isinstance(group, dict) and len(group) > 1:
                del group[subscriber]
                continue
            group.clear()  # a turn may hold it
            del groups[topic]
            if not (len(self._groups) > 1 and topic in self):
                self._count -= 1
                self.topic_bytes -= _name_size(topic)
                emptied.append(topic)
        if not groups:
            del self._groups[subscriber.encoding]
        return emptied

    def publish(self, publication: Publication) -> None:
        """Queue a message for everybody who is in its topic now; it is written when the turn ends."""
        self.published += 1
        topic = publication[0]
        turns = self._turns
        for encoding, groups in self._groups.items():
            group = groups.get(topic)
            if group is None:
                continue
            frame = encoding.push(publication)
            turn = turns.get(encoding)
            if turn is None:
                if not turns:
                    self._schedule(self.flush)
                turn = turns[encoding] = []
            if publication[4]:
                if self._exclusions is None:
                    self._exclusions = Exclusions()
                self._exclusions.add(encoding, turn, group, publication[4])
            turn.append((group, topic, frame))
            self._queued += len(frame)
        if self._backpressure is not None and self._queued > self._backpressure.turn:
            self._backpressure.on_queued()

    def tell_missed(self, topics: Iterable[str]) -> None:
        """Tell everybody who is in one of the topics that messages of it may have been missed before now."""
        self.flush()
        missed: dict[Subscriber, list[str]] = {}
        for topic in topics:
            for group in self._groups_of(topic):
                for subscriber in group:
                    missed.setdefault(subscriber, []).append(topic)
        for subscriber, its_topics in missed.items():
            subscriber.missed(its_topics)

    def flush(self) -> None:
        """Write what the turn has gathered."""
        turns = self._turns
        if not turns:
            return
        # New messages, of publishers that are read again during the flush, belong to the next turn.
        self._turns = {}
        if self._seen:
            self._seen, self._queued_topics = {}, {}
        self._queued = 0
        self.flushes += 1
        exclusions, self._exclusions = self._exclusions, None
        for encoding, turn in turns.items():
            for part in [turn] if exclusions is None else exclusions.split(encoding, turn):
                if part:  # nothing is left for who is left out of everything
                    self._write(part)
        if self._backpressure is not None:
            if self._backpressure.watching:
                self._tell_written(self._backpressure, list(turns.values()))
            if self._backpressure.paused:
                self._backpressure.on_flushed()

    def _tell_written(self, backpressure: Backpressure, turns: Collection[Turn]) -> None:
        """Tell how much was written for each topic that can be held; nearly always nobody wants to know.

        Whoever is behind makes every flush come here, so most topics must cost next to nothing: one with
        `FEW` receivers has a group with its share of them, smaller groups are not looked at.
        """
        least = FEW / len(turns)
        sizes: dict[str, int] = {}
        for turn in turns:
            for group, topic, frame in turn:
                if len(group) >= least:
                    sizes[topic] = sizes.get(topic, 0) + len(frame) * len(group)
        for topic, size in sizes.items():
            if groups := [dict.fromkeys(group).keys() for group in self._groups_of(topic)]:
                backpressure.on_written((self._broker, topic), groups, size)

    def _write(self, turn: Turn) -> None:
        """Write the messages of one encoding."""
        batches: Sequence[Batch] = turn
        if len(turn) == 1:
            [(group, _, frame)] = turn
            self.delivered += len(group)
            self.delivered_bytes += len(group) * len(frame)
        else:
            groups = list(map(_group_of, turn))
            sizes = list(map(len, groups))
            self.delivered += sum(sizes)
            self.delivered_bytes += sum(map(mul, sizes, map(len, map(_frames_of, turn))))
            if not _is_apart(groups, sizes):
                runs = _runs(turn)
                batches = runs if len(runs) == 1 else _batches(runs)
        shared: dict[int, Pushes] = {}
        for subscriber, place, taken in flush(batches):
            pushes = shared.get(place)
            if pushes is None:
                _, topics, joined = batches[place]
                pushes = shared[place] = Pushes(joined, _counted(topics))
            try:
                subscriber.push(pushes, taken)
            except Exception as error:
                subscriber.write_failed(error)

    def _groups_of(self, topic: str) -> list[Group]:
        return [group for groups in self._groups.values() if (group := groups.get(topic)) is not None]


def _name_size(topic: str) -> int:
    """Return how many bytes a name takes at most: Python keeps one to four for a character."""
    return len(topic) if topic.isascii() else 4 * len(topic)


def _is_apart(groups: Sequence[Group], sizes: Iterable[int]) -> bool:
    """Whether nobody is in two of the groups, so that there is nothing to join."""
    # Of a group that is there twice not even the first subscriber is looked at.
    return len(set(map(id, groups))) == len(groups) and len(set().union(*groups)) == sum(sizes)


def _counted(topics: Topics) -> Sequence[tuple[str, int]]:
    return ((topics, 1),) if isinstance(topics, str) else topics


def _runs(turn: Turn) -> list[Batch]:
    """Join consecutive messages to the same group."""
    runs: list[Batch] = []
    at, end = 0, len(turn)
    while at < end:
        group, topic, frame = turn[at]
        first = at
        at += 1
        while at < end and turn[at][0] is group:
            at += 1
        if at - first > 1:
            frame = b"".join([frame for _, _, frame in turn[first:at]])
        runs.append((group, ((topic, at - first),), frame))
    return runs


def _batches(runs: Sequence[Batch]) -> list[Batch]:
    """Join runs whose groups may overlap: each subscriber gets what is meant for it, in order, in one write.

    Each group is walked through once, however many runs it has. Subscribers of the same groups share what is
    joined for them: it may have to wait for all of them.
    """
    numbers_of: dict[int, list[int]] = {}
    groups: list[Iterable[Subscriber]] = []
    for number, (group, _, _) in enumerate(runs):
        numbers = numbers_of.get(id(group))
        if numbers is None:
            numbers_of[id(group)] = [number]
            groups.append(group)
        else:
            numbers.append(number)
    member_of: dict[Subscriber, list[list[int]]] = {}
    for group, numbers in zip(groups, numbers_of.values(), strict=True):
        for subscriber in group:
            lists = member_of.get(subscriber)
            if lists is None:
                member_of[subscriber] = [numbers]
            else:
                lists.append(numbers)
    alike: dict[tuple[int, ...], list[Subscriber]] = {}
    for subscriber, lists in member_of.items():
        alike.setdefault(tuple([numbers[0] for numbers in lists]), []).append(subscriber)
    batches: list[Batch] = []
    for subscribers in alike.values():
        lists = member_of[subscribers[0]]
        parts = [runs[number] for number in sorted([number for numbers in lists for number in numbers])]
        topics = [counted for _, topics, _ in parts for counted in _counted(topics)]
        batches.append((subscribers, topics, b"".join([frames for _, _, frames in parts])))
    return batches
