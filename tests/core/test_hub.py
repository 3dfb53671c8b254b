from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from rr_py_ws.core.hub import Hub
from rr_py_ws.core.registry import new_id
from rr_py_ws.wire.publication import Publication, Pushes
from rr_py_ws.wire.push import BINARY, JSON, STRING, Encoding
from support.turns import Turns

ENCODINGS = [STRING, JSON, BINARY]


class Recorder:
    """A subscriber that keeps what it is given; the next `failures` writes raise after that.

    Of what it is sent it takes `takes` bytes the fast way; everything when None.
    """

    def __init__(self, encoding: Encoding = STRING) -> None:
        self.id = new_id()
        self.me = ""
        self.encoding = encoding
        self.descriptor = -1
        self.writes: list[bytes] = []
        self.failures = 0
        self.takes: int | None = None
        self.errors: list[Exception] = []
        self.told: list[Sequence[str]] = []
        self.topics: list[str] = []
        self.cost = 0
        self.write: Callable[[bytes], None] = self.record

    def send(self, frames: bytes) -> int:
        if self.failures or self.takes == 0:
            raise BlockingIOError
        taken = frames[: self.takes]
        self.write(taken)
        return len(taken)

    def push(self, pushes: Pushes, taken: int) -> None:
        self.topics += [topic for topic, count in pushes.topics for _ in range(count)]
        self.write(pushes.frames[taken:])

    def record(self, frames: bytes) -> None:
        self.writes.append(frames)
        if self.failures:
            self.failures -= 1
            raise OSError("the write failed")

    def missed(self, topics: Sequence[str]) -> None:
        self.told.append(topics)

    def charge(self, cost: int) -> None:
        self.cost += cost

    def write_failed(self, error: Exception) -> None:
        self.errors.append(error)

    @property
    def received(self) -> bytes:
        return b"".join(self.writes)

    def frames(self, *messages: tuple[str, bytes]) -> bytes:
        """What these messages look like to this subscriber."""
        return b"".join(self.encoding.push(Publication(*message)) for message in messages)


def publish(hub: Hub, topic: str, payload: bytes, exclude: tuple[str, ...] = ()) -> None:
    hub.publish(Publication(topic, payload, exclude=exclude))


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def hub(turns: Turns) -> Hub:
    return Hub(turns.schedule)


class TestSubscriptions:
    def test_subscribe_tells_what_is_new(self, hub: Hub) -> None:
        subscriber = Recorder()
        assert hub.subscribe(subscriber, ["a", "b", "a"]) == ["a", "b"]
        assert hub.subscribe(subscriber, ["b", "c"]) == ["c"]
        assert hub.subscribe(subscriber, []) == []
        assert hub.subscribe(Recorder(), ["a"]) == ["a"]

    def test_what_a_subscriber_would_be_in_is_counted_once(self, hub: Hub) -> None:
        subscriber = Recorder()
        assert hub.count_with(subscriber, []) == 0
        assert hub.count_with(subscriber, ["a", "a"]) == 1
        hub.subscribe(subscriber, ["a", "b"])
        assert hub.count_with(subscriber, ["b", "c", "c", "d"]) == 4
        assert hub.subscribers("c") == 0

    def test_unsubscribe_tells_what_nobody_is_in_any_more(self, hub: Hub) -> None:
        one, two = Recorder(), Recorder(JSON)
        hub.subscribe(one, ["a", "b", "c"])
        hub.subscribe(two, ["b"])
        assert sorted(hub.unsubscribe(one, ["a", "b", "a", "never joined"])) == ["a"]
        assert hub.unsubscribe(two, ["b"]) == ["b"]
        assert hub.unsubscribe(two, ["b"]) == []
        assert hub.unsubscribe_all(one) == ["c"]
        assert hub.unsubscribe_all(one) == []

    def test_counts(self, hub: Hub) -> None:
        for encoding in ENCODINGS:
            hub.subscribe(Recorder(encoding), ["a"])
        hub.subscribe(Recorder(), ["a", "b"])
        assert (hub.subscribers("a"), hub.subscribers("b"), hub.subscribers("c")) == (4, 1, 0)
        assert len(hub) == 2
        assert "a" in hub
        assert "c" not in hub

    def test_topics_are_case_sensitive(self, hub: Hub, turns: Turns) -> None:
        subscriber = Recorder()
        hub.subscribe(subscriber, ["News"])
        publish(hub, "news", b"1")
        turns.end()
        assert subscriber.writes == []

    def test_d4_the_leave_of_a_stranger_silences_nobody(self, hub: Hub, turns: Turns) -> None:
        """In RoadRunner's topic tree it removed all subscribers; any client could do that to any topic."""
        victims = [Recorder() for _ in range(3)]
        for victim in victims:
            hub.subscribe(victim, ["a"])
        stranger = Recorder()
        assert hub.unsubscribe(stranger, ["a"]) == []
        hub.subscribe(stranger, ["b"])
        assert hub.unsubscribe(stranger, ["a", "c"]) == []
        publish(hub, "a", b"1")
        turns.end()
        assert [victim.received for victim in victims] == [victim.frames(("a", b"1")) for victim in victims]

    def test_d4_who_left_does_not_come_back(self, hub: Hub, turns: Turns) -> None:
        """Removing a node with two children left a copy of it in RoadRunner's tree."""
        subscriber = Recorder()
        topics = ["m", "f", "t", "b", "h", "p", "w"]
        hub.subscribe(subscriber, topics)
        for topic in ["f", "m", "t"]:
            assert hub.unsubscribe(subscriber, [topic]) == [topic]
            publish(hub, topic, b"1")
        turns.end()
        assert subscriber.writes == []
        assert sorted(hub.unsubscribe_all(subscriber)) == ["b", "h", "p", "w"]
        assert len(hub) == 0

    def test_d4_leaving_the_empty_topic_changes_nothing_else(self, hub: Hub) -> None:
        subscriber = Recorder()
        hub.subscribe(subscriber, ["a"])
        assert hub.unsubscribe(subscriber, [""]) == []
        assert hub.unsubscribe(subscriber, ["a"]) == ["a"]
        assert len(hub) == 0

    @pytest.mark.parametrize(
        "leave",
        [
            lambda hub, subscriber: hub.unsubscribe_all(subscriber),
            lambda hub, subscriber: hub.unsubscribe(subscriber, ["b", "a"]),
            lambda hub, subscriber: (hub.unsubscribe_all(subscriber), hub.subscribe(subscriber, [])),
        ],
        ids=["gone", "left all", "joined nothing"],
    )
    def test_d2_a_connection_without_topics_leaves_nothing_behind(
        self, hub: Hub, turns: Turns, leave: Callable[[Hub, Recorder], object]
    ) -> None:
        subscriber = Recorder()
        gone = weakref.ref(subscriber)
        hub.subscribe(subscriber, ["a", "b"])
        publish(hub, "a", b"1")
        leave(hub, subscriber)
        turns.end()
        del subscriber
        gc.collect()
        assert gone() is None
        assert len(hub) == 0


class TestDelivery:
    def test_a_publish_to_nobody_schedules_nothing(self, hub: Hub, turns: Turns) -> None:
        publish(hub, "a", b"1")
        assert turns.scheduled == []

    def test_d9_messages_arrive_in_publish_order(self, hub: Hub, turns: Turns) -> None:
        """RoadRunner gave them to ten goroutines; neighbours could swap."""
        subscribers = [Recorder(encoding) for encoding in ENCODINGS]
        for subscriber in subscribers:
            hub.subscribe(subscriber, ["a", "b", "c"])
        messages = [("abacba"[number % 6], b"%d" % number) for number in range(300)]
        for number, message in enumerate(messages):
            publish(hub, *message)
            if number % 50 == 49:
                turns.end()
        for subscriber in subscribers:
            assert subscriber.received == subscriber.frames(*messages)

    def test_a_message_published_before_the_join_does_not_arrive(self, hub: Hub, turns: Turns) -> None:
        early, late = Recorder(), Recorder()
        hub.subscribe(early, ["a"])
        publish(hub, "a", b"1")
        hub.subscribe(late, ["a"])
        publish(hub, "a", b"2")
        turns.end()
        assert early.received == early.frames(("a", b"1"), ("a", b"2"))
        assert late.received == late.frames(("a", b"2"))

    def test_a_message_published_before_the_leave_arrives_before_its_reply(
        self, hub: Hub, turns: Turns
    ) -> None:
        subscriber = Recorder()
        hub.subscribe(subscriber, ["a"])
        publish(hub, "a", b"1")
        hub.unsubscribe(subscriber, ["a"])
        assert subscriber.received == subscriber.frames(("a", b"1"))
        publish(hub, "a", b"2")
        turns.end()
        assert len(subscriber.writes) == 1

    def test_turns_end_early_only_for_topics_that_somebody_joins_or_leaves(
        self, hub: Hub, turns: Turns
    ) -> None:
        """A client that joined and left without end had every message written by itself."""
        crowd = [Recorder() for _ in range(64)]
        for subscriber in crowd:
            hub.subscribe(subscriber, ["a"])
        restless = Recorder()
        for _ in range(3):
            publish(hub, "a", b"1")
            hub.subscribe(restless, ["b"])
            hub.unsubscribe(restless, ["b"])
        assert (crowd[0].writes, restless.cost) == ([], 0)
        hub.subscribe(restless, ["a"])
        assert (len(crowd[0].writes), restless.cost) == (1, 2)
        turns.end()
        assert len(crowd[0].writes) == 1

    def test_a_turn_that_ends_early_costs_no_more_than_a_few_commands(self, hub: Hub, turns: Turns) -> None:
        """A client that joins a busy server is not to be read more slowly for that."""
        crowd = [Recorder() for _ in range(2000)]
        for subscriber in crowd:
            hub.subscribe(subscriber, ["a"])
        late = Recorder()
        publish(hub, "a", b"1")
        hub.subscribe(late, ["a"])
        assert late.cost == 16

    def test_a_turn_that_ends_early_is_paid_by_whom_it_is_for(self, hub: Hub, turns: Turns) -> None:
        """A reply has its place behind what was published before, so also its own topics end the turn."""
        crowd = [Recorder() for _ in range(63)]
        restless = Recorder()
        for subscriber in (*crowd, restless):
            hub.subscribe(subscriber, ["a"])
        for cost in (2, 4, 6):
            publish(hub, "a", b"1")
            hub.subscribe(restless, ["b"])
            assert restless.cost == cost
        assert {subscriber.cost for subscriber in crowd} == {0}

    def test_what_waits_for_a_connection_that_is_gone_is_dropped(self, hub: Hub, turns: Turns) -> None:
        gone, other = Recorder(), Recorder()
        hub.subscribe(gone, ["a"])
        hub.subscribe(other, ["a"])
        publish(hub, "a", b"1")
        hub.unsubscribe_all(gone)
        turns.end()
        assert gone.writes == []
        assert other.received == other.frames(("a", b"1"))

    def test_one_turn_is_one_write_for_each_connection(self, hub: Hub, turns: Turns) -> None:
        one, all_three = Recorder(), Recorder(BINARY)
        hub.subscribe(one, ["a"])
        hub.subscribe(all_three, ["a", "b", "c"])
        for topic in "aabca":
            publish(hub, topic, b"1")
        assert len(turns.scheduled) == 1
        turns.end()
        assert (len(one.writes), len(all_three.writes)) == (1, 1)

    @pytest.mark.parametrize("topics", ["a", "ab", "aab"])
    def test_d26_a_message_is_encoded_once_and_the_bytes_are_shared(
        self, hub: Hub, turns: Turns, topics: str
    ) -> None:
        """RoadRunner encoded it again for each connection."""
        encoded: list[str] = []

        def push(publication: Publication) -> bytes:
            encoded.append(publication.topic)
            return publication.topic.encode() + publication.payload

        encoding = Encoding("counting", push)
        subscribers = [Recorder(encoding) for _ in range(5)]
        for subscriber, extra in zip(subscribers, ["", "", "", "b", "b"], strict=True):
            hub.subscribe(subscriber, ["a", *extra])
        for topic in topics:
            publish(hub, topic, b"payload")
        turns.end()
        assert encoded == list(topics)
        assert subscribers[0].writes[0] is subscribers[1].writes[0] is subscribers[2].writes[0]

    @pytest.mark.parametrize("topics", ["a", "ab"], ids=["one run", "several runs"])
    def test_d10_a_failing_write_costs_nobody_else_a_message(
        self, hub: Hub, turns: Turns, topics: str
    ) -> None:
        """RoadRunner emptied the list of receivers at the first one that failed."""
        subscribers = [Recorder() for _ in range(10)]
        for subscriber in subscribers:
            hub.subscribe(subscriber, ["a", "b"])
        dead = subscribers[4]
        dead.failures = 100
        for turn in range(20):
            for topic in topics:
                publish(hub, topic, b"%d" % turn)
            turns.end()
        expected = dead.frames(*((topic, b"%d" % turn) for turn in range(20) for topic in topics))
        assert all(subscriber.received == expected for subscriber in subscribers)
        assert [str(error) for error in dead.errors] == ["the write failed"] * 20
        assert not any(subscriber.errors for subscriber in subscribers if subscriber is not dead)

    def test_a_flush_is_counted_when_it_writes(self, hub: Hub, turns: Turns) -> None:
        publish(hub, "a", b"to nobody")
        turns.end()
        hub.flush()
        assert hub.flushes == 0
        hub.subscribe(Recorder(), ["a"])
        publish(hub, "a", b"1")
        publish(hub, "a", b"2")
        turns.end()
        turns.end()
        assert hub.flushes == 1

    @pytest.mark.parametrize("takes", [0, 1, 10])
    @pytest.mark.parametrize("topics", ["a", "ab"], ids=["one run", "several runs"])
    def test_what_the_fast_way_does_not_take_goes_the_other_way(
        self, hub: Hub, turns: Turns, topics: str, takes: int
    ) -> None:
        full, other = Recorder(), Recorder()
        full.takes = takes
        for subscriber in (full, other):
            hub.subscribe(subscriber, ["a", "b"])
        for topic in topics:
            publish(hub, topic, b"payload")
        turns.end()
        assert full.received == other.received == full.frames(*((topic, b"payload") for topic in topics))
        assert [len(frames) for frames in full.writes[:-1]] == ([takes] if takes else [])
        assert len(other.writes) == 1

    def test_a_write_callable_may_be_replaced_at_any_time(self, hub: Hub, turns: Turns) -> None:
        """This is how a slow receiver's messages are led into a queue."""
        subscriber = Recorder()
        hub.subscribe(subscriber, ["a"])
        publish(hub, "a", b"1")
        queued: list[bytes] = []
        subscriber.write = queued.append
        turns.end()
        assert subscriber.writes == []
        assert queued == [subscriber.frames(("a", b"1"))]

    @pytest.mark.parametrize("takes", [0, 1])
    @pytest.mark.parametrize("topics", ["a", "aa", "aba"], ids=["one", "one run", "several runs"])
    def test_what_is_not_taken_comes_with_its_topics(
        self, hub: Hub, turns: Turns, topics: str, takes: int
    ) -> None:
        """A send queue that drops has to say of which topics; frames are never read back."""
        full = Recorder()
        full.takes = takes
        hub.subscribe(full, ["a", "b"])
        for topic in topics:
            publish(hub, topic, b"payload")
        turns.end()
        assert full.topics == list(topics)

    def test_who_is_excluded_gets_everything_else(self, hub: Hub, turns: Turns) -> None:
        sender, other = Recorder(), Recorder(JSON)
        for subscriber in (sender, other):
            hub.subscribe(subscriber, ["a"])
        publish(hub, "a", b"1")
        publish(hub, "a", b"2", exclude=(sender.id,))
        publish(hub, "a", b"3", exclude=("nobody",))
        turns.end()
        assert sender.received == sender.frames(("a", b"1"), ("a", b"3"))
        assert other.received == other.frames(("a", b"1"), ("a", b"2"), ("a", b"3"))

    def test_senders_that_do_not_get_their_own_take_no_run_apart(self, hub: Hub, turns: Turns) -> None:
        """A group of its own for each such message: 512 of them to 1,000 clients took a second."""
        senders, others = [Recorder() for _ in range(20)], [Recorder() for _ in range(3)]
        for subscriber in (*senders, *others):
            hub.subscribe(subscriber, ["a", "b"])
        messages = [("ab"[number % 2], b"%d" % number) for number in range(20)]
        for sender, message in zip(senders, messages, strict=True):
            publish(hub, *message, exclude=(sender.id,))
        turns.end()
        assert all(other.writes == [other.frames(*messages)] for other in others)
        assert others[0].writes[0] is others[1].writes[0]
        for sender, message in zip(senders, messages, strict=True):
            assert sender.writes == [sender.frames(*[one for one in messages if one != message])]
        assert hub.delivered == 20 * 22

    def test_one_client_of_another_encoding_takes_no_run_apart(self, hub: Hub, turns: Turns) -> None:
        """With one list for all encodings each message became a run of its own: 28 times the cost."""
        many, other = [Recorder() for _ in range(3)], Recorder(JSON)
        for subscriber in (*many, other):
            hub.subscribe(subscriber, ["a"])
        for number in range(5):
            publish(hub, "a", b"%d" % number)
        turns.end()
        expected = [("a", b"%d" % number) for number in range(5)]
        assert all(subscriber.writes == [subscriber.frames(*expected)] for subscriber in (*many, other))
        assert many[0].writes[0] is many[1].writes[0]  # joined once for all of them, not for each

    def test_a_message_published_during_a_flush_comes_with_the_next(self, hub: Hub, turns: Turns) -> None:
        subscriber = Recorder()

        def echo(frames: bytes) -> None:
            subscriber.record(frames)
            if len(subscriber.writes) == 1:
                publish(hub, "a", b"2")

        subscriber.write = echo
        hub.subscribe(subscriber, ["a"])
        publish(hub, "a", b"1")
        turns.end()
        assert subscriber.received == subscriber.frames(("a", b"1"))
        turns.end()
        assert subscriber.received == subscriber.frames(("a", b"1"), ("a", b"2"))


TOPICS = st.sampled_from(["a", "b", "c", ""])


class HubAgainstModel(RuleBasedStateMachine):
    """Whatever happens in whatever order, each subscriber gets what was published while it was subscribed.

    The model is a set of subscribers for each topic, and for each subscriber the frames it must have got;
    `turn` holds those of them that need not be written before the turn ends.
    """

    subscribers = Bundle("subscribers")

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns()
        self.hub = Hub(self.turns.schedule)
        self.topics: dict[str, set[Recorder]] = {}
        self.expected: dict[Recorder, list[bytes]] = {}
        self.turn: dict[Recorder, list[bytes]] = {}
        self.queued: set[str] = set()
        self.failed: dict[Recorder, int] = {}
        self.published = 0

    def model_flush(self) -> None:
        for subscriber, frames in self.turn.items():
            self.expected[subscriber] += frames
            if subscriber.failures:
                self.failed[subscriber] += 1
        self.turn = {}
        self.queued = set()

    def model_change(self, subscriber: Recorder, topics: list[str]) -> None:
        """Who joins or leaves ends the turn, if it has something for these topics or for its own."""
        own = {topic for topic, members in self.topics.items() if subscriber in members}
        if self.queued & own.union(topics):
            self.model_flush()

    def model_remove(self, subscriber: Recorder, topics: set[str]) -> set[str]:
        """Return the topics that are empty now."""
        left = {topic for topic in topics if subscriber in self.topics.get(topic, ())}
        for topic in left:
            self.topics[topic].remove(subscriber)
        emptied = {topic for topic in left if not self.topics[topic]}
        for topic in emptied:
            del self.topics[topic]
        return emptied

    @rule(target=subscribers, encodings=st.lists(st.sampled_from(ENCODINGS), min_size=1, max_size=3))
    def connect(self, encodings: list[Encoding]) -> object:
        created = [Recorder(encoding) for encoding in encodings]
        for subscriber in created:
            self.expected[subscriber] = []
            self.failed[subscriber] = 0
        return multiple(*created)

    @rule(subscriber=subscribers, topics=st.lists(TOPICS, max_size=4))
    def subscribe(self, subscriber: Recorder, topics: list[str]) -> None:
        self.model_change(subscriber, topics)
        new = [topic for topic in dict.fromkeys(topics) if subscriber not in self.topics.get(topic, ())]
        for topic in new:
            self.topics.setdefault(topic, set()).add(subscriber)
        assert self.hub.subscribe(subscriber, topics) == new

    @rule(subscriber=subscribers, topics=st.lists(TOPICS, max_size=4))
    def unsubscribe(self, subscriber: Recorder, topics: list[str]) -> None:
        self.model_change(subscriber, topics)
        emptied = self.model_remove(subscriber, set(topics))
        assert sorted(self.hub.unsubscribe(subscriber, topics)) == sorted(emptied)

    @rule(subscriber=subscribers)
    def disconnect(self, subscriber: Recorder) -> None:
        self.turn.pop(subscriber, None)
        emptied = self.model_remove(subscriber, set(self.topics))
        assert sorted(self.hub.unsubscribe_all(subscriber)) == sorted(emptied)

    @rule(subscriber=subscribers, name=st.sampled_from(["", "one", "two"]))
    def take_a_name(self, subscriber: Recorder, name: str) -> None:
        self.model_flush()
        self.turns.end()
        subscriber.me = name

    @rule(topics=st.lists(TOPICS, min_size=1, max_size=4))
    def publish_to(self, topics: list[str]) -> None:
        self.publish_to_all_but(topics, ())

    def publish_to_all_but(self, topics: list[str], exclude: Sequence[str]) -> None:
        for topic in topics:
            self.published += 1
            payload = b"%d" % self.published
            if topic in self.topics:
                self.queued.add(topic)
            for subscriber in self.topics.get(topic, ()):
                if subscriber.me not in exclude and subscriber.id not in exclude:
                    self.turn.setdefault(subscriber, []).append(
                        subscriber.encoding.push(Publication(topic, payload))
                    )
            publish(self.hub, topic, payload, tuple(exclude))

    @rule(
        excluded=subscribers,
        topics=st.lists(TOPICS, min_size=1, max_size=5),
        names=st.lists(st.sampled_from(["one", "two", "nobody"]), max_size=2),
    )
    def publish_to_others(self, excluded: Recorder, topics: list[str], names: list[str]) -> None:
        self.publish_to_all_but(topics, [excluded.id, *names])

    @rule(subscriber=subscribers, count=st.integers(1, 3))
    def break_down(self, subscriber: Recorder, count: int) -> None:
        subscriber.failures = count

    @rule()
    def flush(self) -> None:
        self.model_flush()
        self.hub.flush()

    @rule()
    def end_turn(self) -> None:
        self.model_flush()
        self.turns.end()

    @invariant()
    def everybody_has_what_is_theirs(self) -> None:
        for subscriber, frames in self.expected.items():
            assert subscriber.received == b"".join(frames)
            assert len(subscriber.errors) == self.failed[subscriber]

    @invariant()
    def the_hub_counts_as_the_model_does(self) -> None:
        assert self.hub.topic_bytes == sum(map(len, self.topics))
        assert len(self.hub) == len(self.topics)
        for topic in ["a", "b", "c", ""]:
            assert (topic in self.hub) == (topic in self.topics)
            assert self.hub.subscribers(topic) == len(self.topics.get(topic, ()))
        assert self.hub.subscriptions == sum(map(len, self.topics.values()))

    @invariant()
    def what_it_has_done_is_counted(self) -> None:
        stats = self.hub
        assert stats.published == self.published
        assert stats.delivered == sum(map(len, self.expected.values()))
        assert stats.delivered_bytes == sum(len(subscriber.received) for subscriber in self.expected)

    @invariant()
    def what_waits_is_written_when_the_turn_ends(self) -> None:
        assert self.turns.scheduled or not self.turn

    def teardown(self) -> None:
        self.end_turn()
        self.everybody_has_what_is_theirs()


TestHubAgainstModel = HubAgainstModel.TestCase
TestHubAgainstModel.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


class TestMissed:
    def test_everybody_in_one_of_the_topics_is_told_once_of_those_it_is_in(self, hub: Hub) -> None:
        one, two, other = Recorder(), Recorder(JSON), Recorder()
        hub.subscribe(one, ["a", "b", "c"])
        hub.subscribe(two, ["b"])
        hub.subscribe(other, ["c"])
        hub.tell_missed(["a", "b", "nobody is here"])
        assert (one.told, two.told, other.told) == ([["a", "b"]], [["b"]], [])

    def test_it_comes_after_what_was_published_before(self, hub: Hub) -> None:
        subscriber = Recorder()
        hub.subscribe(subscriber, ["a"])
        publish(hub, "a", b"1")
        hub.tell_missed(["a"])
        assert subscriber.received == subscriber.frames(("a", b"1"))
        assert subscriber.told == [["a"]]


def test_all_who_are_in_a_topic_share_its_name() -> None:
    """Each would keep the copy that came with its command: half of the memory of a subscription."""
    hub = Hub(lambda flush: None)
    [one] = hub.subscribe(Recorder(), ["".join(["ne", "ws"])])
    [other] = hub.subscribe(Recorder(), ["".join(["n", "ews"])])
    assert one is other
