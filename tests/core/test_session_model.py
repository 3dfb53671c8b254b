"""Sessions against a model: two clients, two brokers, and everything may happen at any time."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rr_py_ws.config import Limits
from rr_py_ws.core.command_metrics import CommandMetrics
from rr_py_ws.core.node import Node
from rr_py_ws.core.session import Session
from rr_py_ws.core.session_context import SessionContext
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.http import Request
from rr_py_ws.wire.publication import Publication, Pushes
from rr_py_ws.wire.push import STRING
from rr_py_ws.wire.verdict import ALLOWED, FAILED, Verdict

LIMITS = Limits(max_topics=2, max_topics_per_command=3, max_topic_length=3, max_joins_waiting=1)
SECTIONS = ("main", "other")
VERDICTS = {"yes": ALLOWED, "no": Verdict(403), "failure": FAILED}

sections = st.sampled_from(SECTIONS)
topics = st.sampled_from(["a", "b", "c", "d"])
some_topics = (
    st.none() | st.lists(topics | st.just("long"), max_size=4) | st.lists(topics, min_size=1, max_size=2)
)
ids = st.none() | st.sampled_from([7, "x"])
numbers = st.sampled_from([0, 1])
commands = st.one_of(
    st.fixed_dictionaries(
        {
            "command": st.sampled_from(["join", "join", "leave"]),
            "topics": some_topics,
            "broker": sections,
            "id": ids,
        }
    ),
    st.fixed_dictionaries(
        {"command": st.sampled_from(["headers", "fly"]), "topics": some_topics, "broker": sections, "id": ids}
    ),
    st.sampled_from([b"{", b"[]", b'{"topics":1,"id":7}']).map(
        lambda junk: {"command": "junk", "topics": None, "id": 7 if b"7" in junk else None, "junk": junk}
    ),
)


class Later:
    """What is answered when the machine says so."""

    def __await__(self) -> Generator[None, Any, Any]:
        return (yield)


class World:
    """What authorizer and brokers answer now."""

    ready = True

    def __init__(self) -> None:
        self.decides = "yes"
        self.works = "now"

    def connect(self, request: Request) -> Verdict | Awaitable[Verdict]:
        return self.join(None, ())

    def join(self, grant: object, topics: Sequence[str]) -> Verdict | Awaitable[Verdict]:
        return Later() if self.decides == "later" else VERDICTS[self.decides]


class Broker:
    """Brings what is published to it at once."""

    ready = True
    routes = None

    def __init__(self, world: World) -> None:
        self._world = world

    async def start(self, on_publication: Callable[[Publication], None], on_gap: object) -> None:
        self.on_publication = on_publication

    def publish(self, publication: Publication) -> None:
        self.on_publication(publication)

    async def settle(self) -> None:
        """Nothing is on its way."""

    def subscribe(self, topics: Sequence[str]) -> Awaitable[None] | None:
        if self._world.works == "fails":
            raise BrokerError("no")
        return Later() if self._world.works == "later" else None

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Nobody looks."""

    async def close(self) -> None:
        """Nothing to do."""

    def metrics(self) -> tuple[()]:
        return ()


class Peer:
    """The transport of a session, and what its client has received."""

    id = "a connection"
    me = ""
    encoding = STRING
    descriptor = -1

    def __init__(self, context: SessionContext) -> None:
        self.received: list[dict[str, Any]] = []
        self.work: Coroutine[Any, Any, None] | None = None
        self.session = Session(self, None, context)

    def write(self, frames: bytes) -> None:
        while frames:
            size, start = (frames[1], 2) if frames[1] < 126 else (int.from_bytes(frames[2:4]), 4)
            self.received.append(json.loads(frames[start : start + size]))
            frames = frames[start + size :]

    def send(self, frames: bytes) -> int:
        self.write(frames)
        return len(frames)

    def push(self, pushes: Pushes, taken: int) -> None:
        raise AssertionError("everything is taken")

    def missed(self, topics: Sequence[str]) -> None:
        self.session.missed(topics)

    def charge(self, cost: int) -> None: ...

    def write_failed(self, error: Exception) -> None:
        raise AssertionError(error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.work = work
        work.send(None)

    def answer(self, result: Any, error: Exception | None) -> None:
        """What the session waits for is here."""
        work = self.work
        assert work is not None
        try:
            _ = work.send(result) if error is None else work.throw(error)
        except StopIteration:
            self.work = None
            while self.session.handle_waiting():
                pass

    def end(self) -> None:
        """The connection is gone, and with it what it waits for."""
        self.session.close()
        if self.work is not None:
            self.work.close()
            self.work = None

    def command_ignored(self, reason: str) -> None:
        assert reason

    def command_refused(self, reason: str) -> None:
        assert reason

    def join_refused(self, topics: Sequence[str], reason: str, verdict: Verdict | None) -> None:
        assert reason


class Model:
    """What one client must have received, and what it is in."""

    def __init__(self) -> None:
        self.topics: set[tuple[str, str]] = set()
        self.queue: deque[dict[str, Any]] = deque()
        self.asked: dict[str, Any] | None = None
        self.joining: tuple[dict[str, Any], set[tuple[str, str]]] | None = None
        self.talks = False
        self.expected: list[dict[str, Any]] = []
        self.turn: dict[str, list[dict[str, Any]]] = {section: [] for section in SECTIONS}

    @property
    def busy(self) -> bool:
        return self.asked is not None or self.joining is not None

    def flush(self, section: str) -> None:
        self.expected += self.turn[section]
        self.turn[section] = []

    def reply(self, kind: str, command: dict[str, Any]) -> None:
        id = command["id"]
        if kind == "#error" and id is None:
            if not self.talks:
                return
            id = ""
        answer = {"topic": kind, "payload": command["topics"]}
        self.expected.append(answer if id is None else answer | {"id": id})


def over_limit(command: dict[str, Any]) -> bool:
    return len(command["topics"] or ()) > 3


def of(command: dict[str, Any]) -> set[tuple[str, str]]:
    """What a command names."""
    return {(command["broker"], topic) for topic in command["topics"] or ()}


class Sessions(RuleBasedStateMachine):
    """Each client gets one answer to each join and leave, in order, and the messages of what it is in."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.scheduled: list[Callable[[], None]] = []
        brokers = {name: Broker(self.world) for name in SECTIONS}
        self.node = Node(brokers, "main", self.scheduled.append)
        _run(self.node.start())
        self.counters = CommandMetrics()
        self.context = SessionContext(self.world, self.node, LIMITS, self.counters, select_broker=True)
        self.peers = [Peer(self.context), Peer(self.context)]
        self.models = [Model(), Model()]
        self.published = 0
        self.queued: dict[str, set[tuple[str, str]]] = {section: set() for section in SECTIONS}

    # What the outside does

    @rule(
        decides=st.sampled_from([*VERDICTS, "yes", "later"]),
        works=st.sampled_from(["now", "now", "later", "fails"]),
    )
    def change_mood(self, decides: str, works: str) -> None:
        self.world.decides, self.world.works = decides, works

    @rule(
        number=numbers,
        commands=st.lists(commands, min_size=1, max_size=6),
        slowly=st.sampled_from([False, False, True]),
    )
    def send(self, number: int, commands: list[dict[str, Any]], slowly: bool) -> None:
        """Send commands in a row; `slowly` says that PHP takes its time with the first join."""
        model, decides = self.models[number], self.world.decides
        if slowly:
            self.world.decides = "later"
        for command in commands:
            model.queue.append(command)
            self.go_on(model)
            message = command.get("junk") or json.dumps(command).encode()
            self.peers[number].session.receive_message(message)
        self.world.decides = decides

    @rule(topic=topics, section=sections)
    def publish(self, topic: str, section: str) -> None:
        self.published += 1
        self.node.publish(section, Publication(topic, str(self.published).encode()))
        for model in self.models:
            if (section, topic) in model.topics:
                model.turn[section].append({"topic": topic, "payload": str(self.published)})
                self.queued[section].add((section, topic))

    @rule(topic=topics, section=sections)
    def miss_messages(self, topic: str, section: str) -> None:
        self.node.hub(section).tell_missed([topic])
        self.flush(section)
        for model in self.models:
            if model.talks and (section, topic) in model.topics:
                model.expected.append({"topic": "#gap", "payload": [topic], "id": ""})

    @rule()
    def end_turn(self) -> None:
        scheduled, self.scheduled[:] = list(self.scheduled), []
        for flush in scheduled:
            flush()
            hub = getattr(flush, "__self__")  # noqa: B009
            self.flush(next(section for section in SECTIONS if self.node.hub(section) is hub))

    @rule(verdict=st.sampled_from([*VERDICTS.values(), None]))
    def php_answers(self, verdict: Verdict | None) -> None:
        number = next((number for number, model in enumerate(self.models) if model.asked), 0)
        model = self.models[number]
        if model.asked is None:
            return
        command, model.asked = model.asked, None
        self.decided(model, command, verdict is ALLOWED)
        self.go_on(model)
        self.peers[number].answer(verdict, None if verdict else OSError("the worker is gone"))

    @rule(number=numbers, works=st.booleans())
    def broker_answers(self, number: int, works: bool) -> None:
        model = self.models[number]
        if model.joining is None:
            return
        (command, added), model.joining = model.joining, None
        if not works:
            self.leave(model, command["broker"], added)
        model.reply("@join" if works else "#join", command)
        self.go_on(model)
        self.peers[number].answer(None, None if works else BrokerError("no"))

    @rule(number=numbers, stays=st.sampled_from([True, True, True, False]))
    def go_away_and_come_back(self, number: int, stays: bool) -> None:
        if stays:
            return
        self.peers[number].end()
        assert self.peers[number].session.commands_waiting == 0
        self.peers[number], self.models[number] = Peer(self.context), Model()

    # The model

    def go_on(self, model: Model) -> None:
        while model.queue and not model.busy:
            command = model.queue.popleft()
            model.talks |= command["id"] is not None
            match command["command"]:
                case "join":
                    self.join(model, command)
                case "leave" if over_limit(command):
                    model.reply("#leave", command)
                case "leave":
                    self.leave(model, command["broker"], of(command))
                    model.reply("@leave", command)
                case "fly" | "junk":
                    model.reply("#error", command)

    def join(self, model: Model, command: dict[str, Any]) -> None:
        if (
            over_limit(command)
            or "long" in (command["topics"] or ())
            or len(model.topics | of(command)) > 2
            or any(other.asked for other in self.models)
        ):
            model.reply("#join", command)
        elif self.world.decides == "later":
            model.asked = command
        else:
            self.decided(model, command, self.world.decides == "yes")

    def decided(self, model: Model, command: dict[str, Any], allowed: bool) -> None:
        if not allowed:
            model.reply("#join", command)
            return
        self.flush_for(model, command["broker"], of(command))
        if self.world.works == "fails":
            model.reply("#join", command)
            return
        added = of(command) - model.topics
        model.topics |= added
        if self.world.works == "later":
            model.joining = command, added
        else:
            model.reply("@join", command)

    def leave(self, model: Model, section: str, what: set[tuple[str, str]]) -> None:
        self.flush_for(model, section, what)
        model.topics -= what

    def flush_for(self, model: Model, section: str, named: set[tuple[str, str]]) -> None:
        """A turn ends early when a client names a topic of it, or is in one."""
        if self.queued[section] & (named | model.topics):
            self.flush(section)

    def flush(self, section: str) -> None:
        self.queued[section].clear()
        for model in self.models:
            model.flush(section)

    # What must be so at any time

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        for peer, model in zip(self.peers, self.models, strict=True):
            assert [frame | {"reason": ""} for frame in peer.received] == [
                frame | {"reason": ""} for frame in model.expected
            ]
            assert peer.session.commands_waiting == len(model.queue)
            assert (peer.work is not None) == model.busy
            count = self.node.count_with(peer, "main", ())
            assert count == len(model.topics) <= 2
        assert self.counters.joins_waiting == sum(model.asked is not None for model in self.models) <= 1

    @invariant()
    def reasons_are_told_to_who_sends_ids(self) -> None:
        for peer in self.peers:
            for frame in peer.received:
                refused = frame["topic"] in ("#join", "#leave", "#error")
                assert ("reason" in frame) == (refused and "id" in frame)

    def teardown(self) -> None:
        for peer in self.peers:
            peer.end()
        assert all(len(self.node.hub(section)) == 0 for section in SECTIONS)
        assert self.counters.joins_waiting == 0


def _run(steps: Coroutine[Any, Any, None]) -> None:
    """Run what does not wait."""
    try:
        steps.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    # The same in each run; the profile `random` takes others, and many more.
    max_examples=150 if settings.default.derandomize else 2000,
    stateful_step_count=40,
    deadline=None,
)
