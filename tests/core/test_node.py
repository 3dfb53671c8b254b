from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.config import HistoryRule
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.node import Node
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication, Pushes
from rr_py_ws.wire.push import STRING


class Recorder:
    id = "a connection"
    me = ""
    encoding = STRING
    descriptor = -1

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.write: Callable[[bytes], None] = self.received.append

    def send(self, frames: bytes) -> int:
        self.write(frames)
        return len(frames)

    def push(self, pushes: Pushes, taken: int) -> None:
        raise AssertionError("everything is taken")

    def missed(self, topics: Sequence[str]) -> None:
        self.received.append(f"missed: {', '.join(topics)}".encode())

    def charge(self, cost: int) -> None: ...

    def write_failed(self, error: Exception) -> None:
        raise AssertionError(error)


def push(*messages: tuple[str, bytes]) -> list[bytes]:
    """What one turn brings."""
    return [b"".join(STRING.push(Publication(*message)) for message in messages)]


class ScriptedBroker:
    """Notes what it is asked; of its answers, None is yes at once, an error is raised, a future given out.

    What is published can be told to come back by calling `on_publication`, as a network broker would.
    """

    routes = None

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.answers: deque[BrokerError | Awaitable[None] | None] = deque()
        self.on_publication: Callable[[Publication], None] | None = None
        self.on_gap: Callable[[Sequence[str]], None] = lambda topics: None
        self.start_error: BrokerError | None = None

    def _answer(self, *call: object) -> Any:
        self.calls.append(call)
        answer = self.answers.popleft() if self.answers else None
        if isinstance(answer, BrokerError):
            raise answer
        return answer

    async def start(
        self, on_publication: Callable[[Publication], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        if self.start_error is not None:
            raise self.start_error
        self.on_publication, self.on_gap = on_publication, on_gap
        self.calls.append(("start",))

    def publish(self, publication: Publication) -> Awaitable[None] | None:
        return self._answer("publish", publication.topic, publication.payload)

    def subscribe(self, topics: Sequence[str]) -> Awaitable[None] | None:
        return self._answer("subscribe", *topics)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        self.calls.append(("unsubscribe", *sorted(topics)))

    async def settle(self) -> None:
        self.calls.append(("settle",))

    async def close(self) -> None:
        self.calls.append(("close",))


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker()


@pytest.fixture
async def node(broker: ScriptedBroker) -> Node:
    made = Node({"default": broker}, "default", asyncio.get_running_loop().call_soon)
    await made.start()
    broker.calls.clear()
    return made


@pytest.fixture
async def memory() -> AsyncIterator[Node]:
    """Two sections, both in memory."""
    schedule = asyncio.get_running_loop().call_soon
    made = Node({"default": MemoryBroker(), "other": MemoryBroker()}, "default", schedule)
    await made.start()
    yield made
    await made.close()


def later() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


class TestFromPublishToSubscriber:
    async def test_a_published_message_arrives_in_the_next_turn(self, memory: Node) -> None:
        subscriber = Recorder()
        assert memory.join(subscriber, "", ["foo"]) is None
        assert memory.publish("", Publication("foo", b"1")) is None
        assert subscriber.received == []
        await asyncio.sleep(0)
        assert subscriber.received == push(("foo", b"1"))

    @pytest.mark.parametrize("has_rules", [False, True])
    async def test_a_broker_that_was_looked_up_is_asked_each_time(self, has_rules: bool) -> None:
        """Also before it starts, when it has ended, and when it has forgotten where topics go."""
        rules = HistoryRules([HistoryRule(topics=["kept.*"], size=1, ttl=60.0)] if has_rules else [])
        broker, subscriber = MemoryBroker(rules), Recorder()
        node = Node({"default": broker}, "default", asyncio.get_running_loop().call_soon)
        publish = node.publisher("")
        with pytest.raises(BrokerError):
            publish(Publication("foo", b"before"))
        await node.start()
        topics = ["foo", "kept.1", "long" * 100]
        node.join(subscriber, "", topics)
        for payload in (b"1", b"2", b"3"):
            for topic in topics:
                assert publish(Publication(topic, payload)) is None
            if payload == b"2":
                broker.history.routes.clear()
        await asyncio.sleep(0)
        messages = [(topic, payload) for payload in (b"1", b"2", b"3") for topic in topics]
        assert subscriber.received == push(*messages)
        history = broker.history.recover({"kept.1": 9}, ReplayLimit(9, 9))()["kept.1"]
        assert [found.payload for found in history.replay] == ([b"3"] if has_rules else [])
        await node.close()
        with pytest.raises(BrokerError):
            publish(Publication("foo", b"after"))

    async def test_d9_messages_arrive_in_publish_order_over_all_topics(self, memory: Node) -> None:
        subscriber = Recorder()
        memory.join(subscriber, "", ["a", "b"])
        messages = [("ab"[number % 3 == 0], b"%d" % number) for number in range(300)]
        for topic, payload in messages:
            memory.publish("", Publication(topic, payload))
        await asyncio.sleep(0)
        assert subscriber.received == push(*messages)

    @pytest.mark.parametrize(
        ("joined", "published", "elsewhere"),
        [
            ("other", "other", "default"),
            ("Other", "OTHER", "default"),
            ("default", "", "other"),
            ("", "memory", "other"),
            ("no such", "Default", "other"),
        ],
    )
    async def test_a_name_selects_its_section_and_any_other_name_the_default(
        self, memory: Node, joined: str, published: str, elsewhere: str
    ) -> None:
        subscriber, stranger = Recorder(), Recorder()
        memory.join(subscriber, joined, ["a"])
        memory.join(stranger, elsewhere, ["a"])
        memory.publish(published, Publication("a", b"1"))
        await asyncio.sleep(0)
        assert (subscriber.received, stranger.received) == (push(("a", b"1")), [])

    async def test_leaving_one_section_leaves_the_other_alone(self, memory: Node) -> None:
        subscriber = Recorder()
        memory.join(subscriber, "default", ["a"])
        memory.join(subscriber, "other", ["a"])
        memory.leave(subscriber, "default", ["a", "never joined"])
        assert "a" not in memory.hub()
        assert "a" in memory.hub("other")

    async def test_the_topics_of_a_connection_are_counted_over_sections(self, memory: Node) -> None:
        subscriber = Recorder()
        memory.join(subscriber, "default", ["a", "b"])
        memory.join(subscriber, "other", ["a"])
        assert memory.count_with(subscriber, "default", ["b", "c"]) == 4
        assert memory.count_with(subscriber, "OTHER", ["b", "c"]) == 5
        assert memory.count_with(Recorder(), "other", ["b", "b"]) == 1

    async def test_d2_a_connection_that_is_gone_is_in_no_section_any_more(self, memory: Node) -> None:
        gone, stays = Recorder(), Recorder()
        for section in ("default", "other"):
            memory.join(gone, section, ["a", "b"])
            memory.join(stays, section, ["a"])
        memory.leave_all(gone)
        memory.leave_all(gone)
        memory.publish("", Publication("a", b"1"))
        await asyncio.sleep(0)
        assert gone.received == []
        assert stays.received == push(("a", b"1"))
        assert [len(memory.hub(section)) for section in ("default", "other")] == [1, 1]

    async def test_a_message_that_the_broker_brings_from_elsewhere_is_delivered(
        self, node: Node, broker: ScriptedBroker
    ) -> None:
        subscriber = Recorder()
        node.join(subscriber, "", ["a"])
        assert broker.on_publication is not None
        broker.on_publication(Publication("a", b"from another node"))
        node.flush()
        assert subscriber.received == push(("a", b"from another node"))

    async def test_what_the_broker_may_have_missed_is_told_to_those_who_are_in_the_topics(
        self, node: Node, broker: ScriptedBroker
    ) -> None:
        subscriber = Recorder()
        node.join(subscriber, "", ["a"])
        broker.on_gap(["a", "b"])
        assert subscriber.received == [b"missed: a"]

    async def test_a_publish_is_delivered_by_the_broker_only(
        self, node: Node, broker: ScriptedBroker
    ) -> None:
        """Redis sends a message back to the node that published it; nobody shall get it twice."""
        subscriber = Recorder()
        node.join(subscriber, "", ["a"])
        node.publish("", Publication("a", b"1"))
        node.flush()
        assert broker.calls[-1] == ("publish", "a", b"1")
        assert subscriber.received == []


class TestPublishAnswers:
    async def test_the_broker_may_answer_later(self, node: Node, broker: ScriptedBroker) -> None:
        answer = later()
        broker.answers.append(answer)
        waiting = node.publish("", Publication("a", b"1"))
        assert waiting is answer
        answer.set_result(None)

    async def test_a_refusal_of_the_only_topic_is_raised(self, node: Node, broker: ScriptedBroker) -> None:
        broker.answers.append(BrokerError("no connection"))
        with pytest.raises(BrokerError, match="no connection"):
            node.publish("", Publication("a", b"1"))


class TestJoin:
    async def test_the_broker_is_told_of_every_join_and_of_the_last_leave(
        self, node: Node, broker: ScriptedBroker
    ) -> None:
        one, two = Recorder(), Recorder()
        node.join(one, "", ["a", "b"])
        node.join(two, "", ["a"])
        node.join(one, "", ["a"])
        node.leave(one, "", ["a"])
        node.leave(one, "", ["a", "c"])
        node.leave_all(two)
        node.leave_all(one)
        node.leave_all(one)
        assert broker.calls == [
            ("subscribe", "a", "b"),
            ("subscribe", "a"),
            ("subscribe", "a"),
            ("unsubscribe", "a"),
            ("unsubscribe", "b"),
        ]

    async def test_a_refusal_now_leaves_what_was_joined_before(
        self, node: Node, broker: ScriptedBroker
    ) -> None:
        subscriber = Recorder()
        node.join(subscriber, "", ["a"])
        broker.answers.append(BrokerError("no connection"))
        with pytest.raises(BrokerError, match="no connection"):
            node.join(subscriber, "", ["a", "b"])
        assert "a" in node.hub()
        assert "b" not in node.hub()
        assert broker.calls[-1] == ("unsubscribe", "b")

    async def test_messages_reach_the_subscriber_when_the_answer_is_here(
        self, node: Node, broker: ScriptedBroker
    ) -> None:
        """Redis may deliver the first message together with its answer to SUBSCRIBE."""
        subscriber, answer = Recorder(), later()
        broker.answers.append(answer)
        waiting = node.join(subscriber, "", ["a"])
        assert waiting is not None
        answer.set_result(None)
        assert broker.on_publication is not None
        broker.on_publication(Publication("a", b"1"))
        await waiting
        node.flush()
        assert subscriber.received == push(("a", b"1"))

    @pytest.mark.parametrize("end", ["refused", "cancelled"])
    async def test_a_join_that_comes_to_nothing_is_taken_back(
        self, node: Node, broker: ScriptedBroker, end: str
    ) -> None:
        subscriber, other, answer = Recorder(), Recorder(), later()
        node.join(subscriber, "", ["before"])
        broker.answers.append(answer)
        waiting = node.join(subscriber, "", ["before", "a", "b"])
        node.join(other, "", ["b"])
        assert waiting is not None
        task = asyncio.ensure_future(waiting)
        await asyncio.sleep(0)
        if end == "refused":
            answer.set_exception(BrokerError("no connection"))
            with pytest.raises(BrokerError, match="no connection"):
                await task
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        hub = node.hub()
        assert [hub.subscribers(topic) for topic in ("before", "a", "b")] == [1, 0, 1]
        assert broker.calls[-1] == ("unsubscribe", "a")

    async def test_a_connection_that_went_away_meanwhile_stays_away(
        self, node: Node, broker: ScriptedBroker
    ) -> None:
        subscriber, answer = Recorder(), later()
        broker.answers.append(answer)
        waiting = node.join(subscriber, "", ["a"])
        assert waiting is not None
        node.leave_all(subscriber)
        answer.set_exception(BrokerError("no connection"))
        with pytest.raises(BrokerError):
            await waiting
        assert len(node.hub()) == 0
        assert broker.calls == [("subscribe", "a"), ("unsubscribe", "a")]


class TestLife:
    async def test_start_and_close_reach_every_broker(self) -> None:
        brokers = {"one": ScriptedBroker(), "two": ScriptedBroker()}
        node = Node(brokers, "one", asyncio.get_running_loop().call_soon)
        await node.start()
        await node.close()
        assert [broker.calls for broker in brokers.values()] == [[("start",), ("close",)]] * 2

    async def test_a_broker_that_cannot_start_is_named(self) -> None:
        brokers = {"one": ScriptedBroker(), "two": ScriptedBroker()}
        brokers["two"].start_error = BrokerError("connection refused")
        node = Node(brokers, "one", asyncio.get_running_loop().call_soon)
        with pytest.raises(BrokerError, match=r"^broadcast\.two: connection refused$"):
            await node.start()
        await node.close()
        assert brokers["one"].calls == [("start",), ("close",)]

    async def test_what_is_queued_is_written_before_brokers_are_closed(self) -> None:
        node = Node({"a": MemoryBroker()}, "a", asyncio.get_running_loop().call_soon)
        await node.start()
        subscriber = Recorder()
        node.join(subscriber, "", ["foo"])
        node.publish("", Publication("foo", b"1"))
        await node.close()
        assert subscriber.received == push(("foo", b"1"))
        with pytest.raises(BrokerError):
            node.publish("", Publication("foo", b"2"))
