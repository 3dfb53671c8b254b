from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.config import Limits
from rr_py_ws.core.command_metrics import CommandMetrics
from rr_py_ws.core.hub import Hub
from rr_py_ws.core.ports import Subscriber
from rr_py_ws.core.session import Session
from rr_py_ws.core.session_context import SessionContext
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.framing.websocket import Opcode, server_frame
from rr_py_ws.wire.http import Request
from rr_py_ws.wire.publication import Publication, Pushes
from rr_py_ws.wire.push import STRING
from rr_py_ws.wire.verdict import ALLOWED, FAILED, Verdict

GRANT = object()


class Later:
    """What is answered when a test says so."""

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield)


class World:
    """Transport, authorizer and subscriptions of one session; `events` has what happened, in order.

    `verdicts` and `outcomes` are used up one by one; where they end, everything is allowed and done at once.
    An outcome is None for done, or an error, or `Later`.
    """

    id = "the connection"
    me = ""
    encoding = STRING
    descriptor = -1

    def __init__(
        self,
        counters: CommandMetrics | None = None,
        *,
        select_broker: bool = False,
        tell_of_gaps: bool = False,
        **limits: int,
    ) -> None:
        self.events: list[object] = []
        self.joined: set[str] = set()
        self.verdicts: deque[Verdict | Later] = deque()
        self.outcomes: deque[BrokerError | Later | None] = deque()
        self.leave_error: BrokerError | None = None
        self.waiting: deque[Coroutine[Any, Any, None]] = deque()
        self.cost = 0
        self.refused: list[tuple[str, ...]] = []
        self.counters = counters or CommandMetrics()
        context = SessionContext(
            self,
            Memberships(self),
            Limits(**limits),
            self.counters,
            select_broker=select_broker,
            tell_of_gaps=tell_of_gaps,
        )
        self.session = Session(self, GRANT, context)
        self.on_write: Callable[[bytes], None] = self.sent

    # Transport

    def write(self, data: bytes) -> None:
        self.on_write(data)

    def sent(self, frames: bytes) -> None:
        text = frames[frames.index(b"{") :]
        assert frames == server_frame(Opcode.TEXT, text)
        self.events.append(text.decode())

    def send(self, frames: bytes) -> int:
        """Only the hub calls this."""
        self.write(frames)
        return len(frames)

    def push(self, pushes: Pushes, taken: int) -> None:
        raise AssertionError("everything is taken")

    def missed(self, topics: Sequence[str]) -> None:
        assert self.session.missed(topics)

    def write_failed(self, error: Exception) -> None:
        raise AssertionError("only the hub calls this")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.waiting.append(work)
        work.send(None)

    def charge(self, cost: int) -> None:
        self.cost += cost

    def command_ignored(self, reason: str) -> None:
        self.events.append(("ignored", reason))

    def command_refused(self, reason: str) -> None:
        self.events.append(("over limit", reason))

    def join_refused(self, topics: Sequence[str], reason: str, verdict: Verdict | None) -> None:
        self.refused.append((*topics, reason))

    # Authorizer

    def connect(self, request: Request) -> Verdict | Awaitable[Verdict]:
        raise AssertionError("only handshakes ask this")

    def join(self, grant: object, topics: Sequence[str]) -> Verdict | Awaitable[Verdict]:
        assert grant is GRANT
        self.events.append(("asked", *topics))
        return self.verdicts.popleft() if self.verdicts else ALLOWED

    # The test's side

    def receive(self, *commands: object) -> None:
        for command in commands:
            self.session.receive_message(
                command if isinstance(command, bytes) else json.dumps(command).encode()
            )

    def answer(self, result: Any = None, error: Exception | None = None) -> None:
        """What is waited for is here."""
        work = self.waiting[0]
        try:
            _ = work.send(result) if error is None else work.throw(error)
        except StopIteration:
            self.waiting.remove(work)
            while self.session.handle_waiting():
                pass

    def end(self) -> None:
        """The connection is gone, and with it the task of the session."""
        self.session.close()
        while self.waiting:
            self.waiting.popleft().close()

    @property
    def replies(self) -> list[Any]:
        return [json.loads(event) for event in self.events if isinstance(event, str)]


class Memberships:
    """The subscriptions of a `World`; a class of its own because `join` is also a method of authorizers."""

    def __init__(self, world: World) -> None:
        self.world = world

    def count_with(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> int:
        """A test says what was joined before."""
        assert subscriber is self.world
        return len(self.world.joined.union(topics))

    def join(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> Awaitable[None] | None:
        assert subscriber is self.world
        self.world.events.append(("joined", broker, *topics))
        outcome = self.world.outcomes.popleft() if self.world.outcomes else None
        if isinstance(outcome, BrokerError):
            raise outcome
        return outcome

    def leave(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> None:
        assert subscriber is self.world
        if self.world.leave_error is not None:
            raise self.world.leave_error
        self.world.events.append(("left", broker, *topics))

    def leave_all(self, subscriber: Subscriber) -> None:
        assert subscriber is self.world
        self.world.events.append(("left all",))


@pytest.fixture
def world() -> World:
    return World()


JOIN = {"command": "join", "topics": ["foo", "foo2"]}
LEAVE = {"command": "leave", "topics": ["foo"]}
NO = Verdict(403, (("X-Reason", "no"),), b"no")


class TestJoin:
    def test_d5_the_subscription_is_there_before_the_reply(self, world: World) -> None:
        """RoadRunner replied first; what was published in between was lost."""
        world.receive(JOIN)
        assert world.events == [
            ("asked", "foo", "foo2"),
            ("joined", "", "foo", "foo2"),
            '{"topic":"@join","payload":["foo","foo2"]}',
        ]

    def test_d5_also_when_php_and_the_broker_take_their_time(self, world: World) -> None:
        world.verdicts.append(Later())
        world.outcomes.append(Later())
        world.receive(JOIN)
        assert world.events == [("asked", "foo", "foo2")]
        world.answer(ALLOWED)
        assert world.events[1:] == [("joined", "", "foo", "foo2")]
        world.answer()
        assert world.events[2:] == ['{"topic":"@join","payload":["foo","foo2"]}']

    def test_d5_a_message_published_after_the_reply_arrives_after_it(self) -> None:
        """The same with a real hub: the reply is no sooner out than messages come."""
        world = World()
        turns: list[Callable[[], None]] = []
        hub = Hub(turns.append)

        class HubOnly(Memberships):
            def join(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> None:
                hub.subscribe(subscriber, topics)

        context = SessionContext(AllowAll(), HubOnly(world), Limits(), CommandMetrics())
        session = Session(world, None, context)
        hub.publish(Publication("foo", b"before"))
        session.receive_message(json.dumps(JOIN).encode())
        hub.publish(Publication("foo", b"after"))
        for turn in turns:
            turn()
        assert world.replies == [
            {"topic": "@join", "payload": ["foo", "foo2"]},
            {"topic": "foo", "payload": "after"},
        ]

    @pytest.mark.parametrize("status", [0, 101, 199, 201, 204, 400, 401, 403, 500])
    def test_only_200_allows(self, world: World, status: int) -> None:
        world.verdicts.append(Verdict(status))
        world.receive(JOIN)
        assert world.events == [("asked", "foo", "foo2"), '{"topic":"#join","payload":["foo","foo2"]}']

    def test_a_refusal_names_all_topics_and_joins_none(self, world: World) -> None:
        world.verdicts.append(Later())
        world.receive(JOIN)
        world.answer(NO)
        assert world.events[1:] == ['{"topic":"#join","payload":["foo","foo2"]}']

    def test_a_failure_of_the_authorizer_is_a_refusal(self, world: World) -> None:
        world.verdicts.append(Later())
        world.receive(JOIN | {"id": 1})
        world.answer(error=OSError("the worker is gone"))
        assert world.events[1:] == [
            '{"topic":"#join","payload":["foo","foo2"],"id":1,"reason":"PHP gave no answer"}'
        ]

    @pytest.mark.parametrize("when", ["now", "later"])
    def test_a_failure_of_the_broker_is_a_refusal(self, world: World, when: str) -> None:
        error = BrokerError("no connection")
        world.outcomes.append(error if when == "now" else Later())
        world.receive(JOIN | {"id": 1})
        if when == "later":
            world.answer(error=error)
        assert world.events[2:] == [
            '{"topic":"#join","payload":["foo","foo2"],"id":1,"reason":"no connection"}'
        ]

    @pytest.mark.parametrize(
        ("fields", "payload"), [({}, "null"), ({"topics": None}, "null"), ({"topics": []}, "[]")]
    )
    def test_d23_a_join_without_topics_is_refused_when_php_refuses(
        self, world: World, fields: dict[str, Any], payload: str
    ) -> None:
        """PHP is asked about the connection. RoadRunner asked too, and replied `@join` whatever it said."""
        world.verdicts.append(NO)
        world.receive({"command": "join", **fields})
        assert world.events == [("asked",), f'{{"topic":"#join","payload":{payload}}}']

    @pytest.mark.parametrize(("fields", "payload"), [({}, "null"), ({"topics": []}, "[]")])
    def test_a_join_without_topics_is_acknowledged_when_php_allows(
        self, world: World, fields: dict[str, Any], payload: str
    ) -> None:
        world.receive({"command": "join", **fields})
        assert world.events == [("asked",), ("joined", ""), f'{{"topic":"@join","payload":{payload}}}']

    def test_topics_are_replied_as_sent_and_php_is_asked_each_time(self, world: World) -> None:
        topics = ["b", "a", "b", ""]
        world.receive({"command": "join", "topics": topics}, {"command": "join", "topics": topics})
        assert world.events[:3] == world.events[3:]
        assert world.replies == [{"topic": "@join", "payload": topics}] * 2

    @pytest.mark.parametrize(("selects", "names"), [(True, ["other", "memory"]), (False, ["", ""])])
    def test_the_broker_that_a_client_names_counts_only_where_it_selects(
        self, selects: bool, names: list[str]
    ) -> None:
        """Point 9.5: RoadRunner 2.3.1 to 2.11 ignore it."""
        world = World(select_broker=selects)
        world.receive(JOIN | {"broker": "other"}, LEAVE | {"broker": "memory"})
        assert ("joined", names[0], "foo", "foo2") in world.events
        assert ("left", names[1], "foo") in world.events


class TestLeave:
    def test_needs_no_leave_of_php(self, world: World) -> None:
        world.receive(LEAVE)
        assert world.events == [("left", "", "foo"), '{"topic":"@leave","payload":["foo"]}']

    def test_after_a_refused_join_is_acknowledged(self, world: World) -> None:
        """This is what RoadRunner's own test observes."""
        world.verdicts.append(Verdict(401))
        world.receive(JOIN, LEAVE)
        assert [reply["topic"] for reply in world.replies] == ["#join", "@leave"]

    @pytest.mark.parametrize(("fields", "payload"), [({}, None), ({"topics": []}, [])])
    def test_without_topics_is_acknowledged(
        self, world: World, fields: dict[str, Any], payload: object
    ) -> None:
        world.receive({"command": "leave", **fields})
        assert world.events[0] == ("left", "")
        assert world.replies == [{"topic": "@leave", "payload": payload}]

    def test_that_fails_is_told(self, world: World) -> None:
        world.leave_error = BrokerError("no connection")
        world.receive(LEAVE, LEAVE | {"id": "x"})
        assert world.events == [
            '{"topic":"#leave","payload":["foo"]}',
            '{"topic":"#leave","payload":["foo"],"id":"x","reason":"no connection"}',
        ]


class TestOtherCommands:
    def test_headers_does_nothing(self, world: World) -> None:
        world.receive({"command": "headers"}, {"command": "headers", "topics": ["a"], "payload": "QQ=="})
        assert world.events == []

    @pytest.mark.parametrize("name", ["", "Join", "JOIN", "publish", "join ", "a\nb"])
    def test_an_unknown_one_is_dropped_as_roadrunner_drops_it(self, world: World, name: str) -> None:
        world.receive({"command": name, "topics": ["a"]})
        assert world.events == [("ignored", f"unknown command {name!r}")]

    @pytest.mark.parametrize(
        "message", [b"", b"hello", b"[]", b'{"command":5}', b'{"command":"join","topics":"a"}']
    )
    def test_an_undecodable_one_is_dropped_as_roadrunner_drops_it(self, world: World, message: bytes) -> None:
        world.receive(message)
        (event,) = world.events
        assert isinstance(event, tuple)
        assert event[0] == "ignored"
        world.receive(LEAVE)
        assert world.replies == [{"topic": "@leave", "payload": ["foo"]}]


class TestIds:
    def test_d25_replies_carry_the_id(self, world: World) -> None:
        world.receive(JOIN | {"id": 7}, LEAVE | {"id": "seven"})
        assert world.replies == [
            {"topic": "@join", "payload": ["foo", "foo2"], "id": 7},
            {"topic": "@leave", "payload": ["foo"], "id": "seven"},
        ]

    def test_d25_a_refusal_carries_a_reason(self, world: World) -> None:
        world.verdicts.append(NO)
        world.receive(JOIN | {"id": 7})
        assert world.replies == [
            {"topic": "#join", "payload": ["foo", "foo2"], "id": 7, "reason": "refused with status 403"}
        ]

    def test_d25_an_unknown_command_is_answered(self, world: World) -> None:
        world.receive({"command": "jion", "topics": ["a"], "id": 7})
        assert world.replies == [
            {"topic": "#error", "payload": ["a"], "id": 7, "reason": "unknown command 'jion'"}
        ]

    def test_d25_an_undecodable_command_is_answered_under_its_id(self, world: World) -> None:
        """Even when it is the first; once an earlier command with an id was needed to get answers."""
        world.receive({"command": "join", "topics": "foo", "id": 7})
        assert world.replies == [
            {"topic": "#error", "payload": None, "id": 7, "reason": "topics is not a list"}
        ]

    def test_d25_a_command_whose_id_cannot_be_read_is_answered_with_an_empty_one(self, world: World) -> None:
        world.receive({"command": "headers", "id": 1}, b"{", {"command": "jion"})
        assert [(reply["topic"], reply["id"]) for reply in world.replies] == [("#error", "")] * 2

    def test_a_gap_is_told_to_clients_that_ever_sent_an_id(self, world: World) -> None:
        """Point 9.7: the others are closed, by the transport."""
        assert not world.session.missed(["a"])
        world.receive({"command": "headers", "id": 1})
        assert world.session.missed(["a", "é"])
        assert world.events == ['{"topic":"#gap","payload":["a","é"],"id":""}']

    def test_a_gap_is_told_to_all_where_all_are_told(self) -> None:
        world = World(tell_of_gaps=True)
        assert world.session.missed(["a"])
        assert world.events == ['{"topic":"#gap","payload":["a"],"id":""}']

    def test_clients_that_never_sent_an_id_see_roadrunners_replies_only(self, world: World) -> None:
        world.verdicts.append(NO)
        world.receive(b"{", {"command": "jion"}, JOIN, JOIN, LEAVE)
        assert [list(reply) for reply in world.replies] == [["topic", "payload"]] * 3


class TestOrder:
    def test_commands_wait_for_the_one_before(self, world: World) -> None:
        world.verdicts.append(Later())
        world.receive(JOIN, LEAVE, {"command": "join", "topics": ["bar"]})
        assert world.events == [("asked", "foo", "foo2")]
        assert world.session.commands_waiting == 2
        world.answer(ALLOWED)
        assert [reply["topic"] for reply in world.replies] == ["@join", "@leave", "@join"]
        assert world.session.commands_waiting == 0

    def test_undecodable_commands_wait_too(self, world: World) -> None:
        """Only its place says what an answer without an id is about; these once overtook earlier ones."""
        world.verdicts.append(Later())
        world.receive(JOIN | {"id": 1}, b"{", {"command": "x", "id": 2}, LEAVE)
        assert world.session.commands_waiting == 3
        world.answer(NO)
        assert [(reply["topic"], reply.get("id")) for reply in world.replies] == [
            ("#join", 1),
            ("#error", ""),
            ("#error", 2),
            ("@leave", None),
        ]

    def test_one_question_at_a_time(self, world: World) -> None:
        world.verdicts.extend([Later(), Later()])
        world.receive(JOIN, JOIN, LEAVE)
        assert len(world.waiting) == 1
        world.answer(ALLOWED)
        assert len(world.waiting) == 1
        assert world.session.commands_waiting == 1
        world.receive(LEAVE)
        world.answer(NO)
        assert [reply["topic"] for reply in world.replies] == ["@join", "#join", "@leave", "@leave"]
        world.receive(LEAVE)
        assert len(world.replies) == 5

    @given(st.data())
    def test_every_command_is_answered_once_and_in_order(self, data: st.DataObject) -> None:
        """Whatever the answers are and whenever they come."""
        world = World()
        expected = []
        pending: list[tuple[Any, Exception | None]] = []  # answers to what is asked with `Later`, in order
        commands = data.draw(
            st.lists(st.sampled_from(["join", "leave", "headers", "unknown", "broken"]), max_size=8)
        )
        for number, command in enumerate(commands):
            world_answer = "@leave"
            if command == "join":
                allowed, works = data.draw(st.booleans()), data.draw(st.booleans())
                verdict, error = (ALLOWED if allowed else NO), (None if works else BrokerError("no"))
                world_answer = "@join" if allowed and works else "#join"
                if data.draw(st.booleans()):
                    world.verdicts.append(Later())
                    pending.append((verdict, None))
                else:
                    world.verdicts.append(verdict)
                if allowed and data.draw(st.booleans()):
                    world.outcomes.append(Later())
                    pending.append((None, error))
                elif allowed:
                    world.outcomes.append(error)
            if command in ("join", "leave"):
                expected.append((world_answer, number))
            elif command != "headers":
                expected.append(("#error", number))
            broken = {"topics": 1} if command == "broken" else {}
            world.receive({"command": command, "id": number} | broken)
            assert len(world.waiting) <= 1
            while data.draw(st.booleans()) and world.waiting:
                world.answer(*pending.pop(0))
        while world.waiting:
            world.answer(*pending.pop(0))
        assert [(reply["topic"], reply["id"]) for reply in world.replies] == expected
        assert world.session.commands_waiting == 0
        assert not pending


class TestAuthorizerThatRaises:
    """An authorizer must not raise; when one does, the answer is a refusal, and the session goes on."""

    def test_at_once(self) -> None:
        world = World()

        class Raising:
            def connect(self, request: Request) -> Verdict:
                raise AssertionError("only handshakes ask this")

            def join(self, grant: object, topics: Sequence[str]) -> Verdict:
                raise ZeroDivisionError("a mistake")

        context = SessionContext(Raising(), Memberships(world), Limits(), world.counters)
        world.session = Session(world, GRANT, context)
        world.receive(JOIN, LEAVE)
        assert [reply["topic"] for reply in world.replies] == ["#join", "@leave"]

    def test_later(self, world: World) -> None:
        world.verdicts.append(Later())
        world.receive(JOIN, LEAVE)
        world.answer(error=ZeroDivisionError("a mistake"))
        assert [reply["topic"] for reply in world.replies] == ["#join", "@leave"]
        assert world.counters.joins_refused["unanswered"] == 1


class TestLimits:
    """What a limit refuses is answered as any refusal, and neither PHP nor the broker hears of it."""

    def test_too_many_topics_in_a_join(self) -> None:
        world = World(max_topics_per_command=2)
        world.receive(JOIN, {"command": "join", "topics": ["a", "a", "b"]})
        assert world.events[3:] == [
            ("over limit", "more than 2 topics in a command"),
            '{"topic":"#join","payload":["a","a","b"]}',
        ]

    def test_too_many_topics_in_a_leave(self) -> None:
        world = World(max_topics_per_command=2)
        world.receive({"command": "leave", "topics": ["a", "b"]}, {"command": "leave", "topics": ["a"] * 3})
        assert world.events[2:] == [
            ("over limit", "more than 2 topics in a command"),
            '{"topic":"#leave","payload":["a","a","a"]}',
        ]

    @pytest.mark.parametrize(("limit", "longest"), [(2, 1024), (1024, 1024), (1500, 1500)])
    def test_a_very_long_list_is_not_sent_back(self, limit: int, longest: int) -> None:
        """One client had the server write 21,800 names, fifteen times a second; nobody else had a turn."""
        for count in (longest, longest + 1):
            world, topics = World(max_topics_per_command=limit, max_topics=1), ["a", "b"] * count
            del topics[count:]
            for name in ("join", "leave", "fly"):
                world.receive({"command": name, "topics": topics, "id": name})
            sent_back = topics if count == longest else []
            assert [reply["payload"] for reply in world.replies] == [sent_back] * 3

    @pytest.mark.parametrize("topic", ["12345", "éé1", "\udcff\udcff345", "1€€", "12😀"])
    def test_a_topic_is_measured_in_the_bytes_that_were_sent(self, topic: str) -> None:
        sent = topic.encode("utf-8", "surrogateescape")
        for limit, answer in ((len(sent), "@join"), (len(sent) - 1, "#join")):
            world = World(max_topic_length=limit)
            world.receive(b'{"command":"join","topics":["","%b"]}' % sent)
            assert [reply["topic"] for reply in world.replies] == [answer]

    def test_a_topic_that_is_too_long_may_be_left(self) -> None:
        """It could not be joined, so nothing is lost by a look."""
        world = World(max_topic_length=1)
        world.receive({"command": "leave", "topics": ["long"]})
        assert world.replies == [{"topic": "@leave", "payload": ["long"]}]

    def test_too_many_topics_of_a_client(self) -> None:
        """Topics that it is in, and repeated ones, count once."""
        world = World(max_topics=3)
        world.joined = {"a", "b"}
        world.receive({"command": "join", "topics": ["a", "b", "c", "c"]})
        world.receive({"command": "join", "topics": ["c", "d"]})
        assert world.events[3:] == [
            ("over limit", "more than 3 topics"),
            '{"topic":"#join","payload":["c","d"]}',
        ]

    def test_too_many_joins_of_all_clients_wait(self) -> None:
        counters = CommandMetrics()
        worlds = [World(counters, max_joins_waiting=2) for _ in range(4)]
        for world in worlds:
            world.verdicts.append(Later())
            world.receive(JOIN)
        assert [len(world.waiting) for world in worlds] == [1, 1, 0, 0]
        assert counters.joins_waiting == 2
        assert worlds[2].replies == worlds[3].replies == [{"topic": "#join", "payload": ["foo", "foo2"]}]
        worlds[0].answer(ALLOWED)
        assert counters.joins_waiting == 1
        worlds[2].receive(JOIN)
        assert len(worlds[2].waiting) == 1

    @pytest.mark.parametrize("verdict", [ALLOWED, NO, None], ids=["yes", "no", "failure"])
    def test_a_join_waits_until_it_is_answered(self, verdict: Verdict | None) -> None:
        world = World(max_joins_waiting=1)
        world.verdicts.append(Later())
        world.receive(JOIN)
        world.answer(verdict, None if verdict else OSError("gone"))
        assert world.counters.joins_waiting == 0

    def test_a_join_that_waits_for_the_broker_does_not_wait_for_php(self) -> None:
        world = World(max_joins_waiting=1)
        world.outcomes.append(Later())
        world.receive(JOIN)
        assert (len(world.waiting), world.counters.joins_waiting) == (1, 0)

    def test_a_join_of_a_client_that_is_gone_does_not_wait(self) -> None:
        world = World(max_joins_waiting=1)
        world.verdicts.append(Later())
        world.receive(JOIN)
        world.end()
        assert world.counters.joins_waiting == 0

    def test_the_reason_is_told_to_clients_that_send_an_id(self) -> None:
        world = World(max_topics=2, max_topics_per_command=3, max_topic_length=4, max_joins_waiting=0)
        commands = [["a", "b", "c"], ["a", "b", "c", "d"], ["12345"], ["a"]]
        world.receive(*({"command": "join", "topics": topics, "id": 1} for topics in commands))
        world.receive({"command": "leave", "topics": ["a"] * 4, "id": 1})
        assert [reply["reason"] for reply in world.replies] == [
            "more than 2 topics",
            "more than 3 topics in a command",
            "a topic of more than 4 bytes",
            "too many joins wait for an answer, try again later",
            "more than 3 topics in a command",
        ]


class TestStats:
    def test_words_of_others_are_for_the_log_only(self) -> None:
        """Point 11: Redis' own text, with the name of its user, reached the browser."""
        world = World()
        world.outcomes += [BrokerError("redis refuses the subscription", "NOPERM user app")]
        world.receive({"command": "join", "topics": ["a"], "id": 1})
        world.outcomes.append(Later())
        world.receive({"command": "join", "topics": ["b"], "id": 2})
        world.answer(error=OSError("/var/run/redis.sock is gone"))
        reasons = [reply["reason"] for reply in world.replies]
        assert reasons == ["redis refuses the subscription", "the broker failed"]
        assert world.refused == [
            ("a", "redis refuses the subscription: NOPERM user app"),
            ("b", "/var/run/redis.sock is gone"),
        ]

    def test_a_join_that_php_refused_leaves_a_trace(self) -> None:
        """Point 12: nobody could tell from the log who was turned away."""
        world = World()
        world.verdicts += [Verdict(403, body=b"no"), FAILED]
        world.receive({"command": "join", "topics": ["a", "b"]}, {"command": "join", "topics": ["c"]})
        assert world.refused == [("a", "b", "refused with status 403"), ("c", "PHP gave no answer")]

    def test_refusals_are_counted_by_their_reason(self) -> None:
        world = World(max_topics=2, max_topics_per_command=3, max_topic_length=4)
        world.verdicts.extend([ALLOWED, NO, FAILED])
        world.outcomes.append(BrokerError("no connection"))
        world.receive(JOIN, JOIN, JOIN)
        for topics in (["a", "b", "c"], ["a", "b", "c", "d"], ["12345"]):
            world.receive({"command": "join", "topics": topics})
        world.receive({"command": "leave", "topics": ["a"] * 4})
        world.leave_error = BrokerError("no connection")
        world.receive(LEAVE)
        assert world.counters.joins_refused == {
            "authorization": 1,
            "unanswered": 1,
            "broker": 1,
            "topics": 1,
            "topics_per_command": 1,
            "topic_length": 1,
            "joins_waiting": 0,
        }
        assert world.counters.leaves_refused == {"broker": 1, "topics_per_command": 1}

    def test_the_reason_of_a_verdict_is_told(self, world: World) -> None:
        world.verdicts.append(Verdict(400, reason="a topic has a comma"))
        world.receive(JOIN | {"id": 1})
        assert world.replies[0]["reason"] == "a topic has a comma"
        assert world.counters.joins_refused["authorization"] == 1


class TestClose:
    def test_d2_leaves_everything(self, world: World) -> None:
        world.receive(JOIN)
        world.session.close()
        assert world.events[-1] == ("left all",)

    def test_drops_what_waits(self, world: World) -> None:
        world.verdicts.append(Later())
        world.receive(JOIN, LEAVE, JOIN)
        world.session.close()
        assert world.session.commands_waiting == 0
        assert world.events == [("asked", "foo", "foo2"), ("left all",)]

    @pytest.mark.parametrize("waits_for", ["php", "broker"])
    def test_a_verdict_that_comes_in_the_same_moment_joins_nothing(
        self, world: World, waits_for: str
    ) -> None:
        """The answer was there, and the connection went before the session looked at it."""
        (world.verdicts if waits_for == "php" else world.outcomes).append(Later())
        world.receive(JOIN)
        world.session.close()
        world.answer(ALLOWED)
        assert world.events[-1] == ("left all",)
        assert not world.waiting

    def test_in_the_middle_of_what_waited_ends_it(self, world: World) -> None:
        """A write may show that the connection is gone."""
        world.verdicts.append(Later())
        world.receive(JOIN, LEAVE, LEAVE)

        def write(frames: bytes) -> None:
            world.sent(frames)
            if len(world.replies) == 2:
                world.session.close()

        world.on_write = write
        world.answer(ALLOWED)
        assert [reply["topic"] for reply in world.replies] == ["@join", "@leave"]
