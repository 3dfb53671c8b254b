"""Publishers, topics and receivers against a model: who is held, for what, and for how long.

Everything between the bytes of a publisher and the writes to a receiver is real, sockets and clock are not.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.rpc.connection import RPCConnection
from rr_py_ws.adapters.rpc.partial_frames import PartialFrames, Pause
from rr_py_ws.adapters.rpc.unread import UnreadReplies
from rr_py_ws.config import Limits
from rr_py_ws.core import backpressure, hold, hub
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.hold import LONGEST, REST
from rr_py_ws.core.node import Node
from rr_py_ws.wire.goridge import Flag, FrameDecoder
from rr_py_ws.wire.publication import Publication, Pushes
from rr_py_ws.wire.push import Encoding
from rr_py_ws.wire.rpc import encode_request
from support.clock import Clock
from support.rpc_peer import node_registry

FEW = 2
WORK = 50_000
RECEIVERS, PUBLISHERS = 6, 3
TOPICS = ["a", "b", "c"]
ENCODINGS = [Encoding("", lambda publication: publication.payload) for _ in range(2)]

topics = st.sampled_from(TOPICS)
numbers = st.integers(0, RECEIVERS - 1)
some = st.sets(numbers, min_size=FEW)


class Receiver:
    """A subscriber whose socket takes everything until it stands still."""

    def __init__(self, backpressure: Backpressure, encoding: Encoding) -> None:
        self.id = str(id(self))
        self.encoding = encoding
        self.descriptor = -1
        self.reads = True
        self.behind = False
        self._backpressure = backpressure

    def send(self, frames: bytes) -> int:
        return len(frames) if self.reads else 0

    def push(self, pushes: Pushes, taken: int) -> None:
        if not self.behind:
            self.behind = True
            self._backpressure.fell_behind(self)

    def catch_up(self) -> None:
        if self.behind:
            self.behind = False
            self._backpressure.caught_up(self)

    def missed(self, topics: object) -> None: ...

    def write_failed(self, error: Exception) -> None:
        raise error


class Socket:
    """The transport of a publisher, and its other end: the calls that it has sent, and their answers."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.answered: list[int] = []
        self.reading = True
        self.closed = False
        self._arrived = b""
        self._decoder = FrameDecoder()

    def send(self, number: int, method: str, names: list[str]) -> None:
        """Call: publish the number of the publisher and of the call."""
        payload = [*f"{number}:{len(self.calls)}:".encode(), *bytes(20)]
        body = json.dumps({"messages": [{"topics": names, "payload": payload}]}).encode()
        self._arrived += encode_request(len(self.calls), method, body, Flag.JSON)
        self.calls.append(names)

    def deliver(self, connection: RPCConnection) -> None:
        if self.reading and self._arrived and not self.closed:
            arrived, self._arrived = self._arrived, b""
            connection.data_received(arrived)

    # What a connection asks of its transport

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        self._decoder.receive_data(data)
        while (frame := self._decoder.next_frame()) is not None:
            assert not frame.flags & Flag.ERROR
            self.answered.append(frame.options[0])

    def close(self) -> None:
        self.closed = True

    abort = close


class BackpressureAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for module in (backpressure, hold, hub):
            self.patch.setattr(module, "FEW", FEW)
        self.patch.setattr(hold, "WORK", WORK)
        self.clock = Clock()
        self.backpressure = Backpressure(self.clock.call_later, self.clock.time, 200, lambda *report: None)
        self.backpressure.publishers.append(self.pause)
        broker = MemoryBroker()
        self.node = Node(
            {"main": broker}, "main", lambda call: self.clock.call_later(0, call), self.backpressure
        )
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.node.start())
        self.hub_publish, broker.publish = broker.publish, self.publish
        self.registry = node_registry(self.node)
        self.receivers = [Receiver(self.backpressure, ENCODINGS[number % 2]) for number in range(RECEIVERS)]
        self.joined: dict[str, set[Receiver]] = {topic: set() for topic in TOPICS}
        self.published: list[tuple[str, str]] = []
        self.sent: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.any_held = 0.0
        self.receivers_ever = RECEIVERS
        self.loop.run_until_complete(self.connect())

    async def connect(self) -> None:
        self.sockets = [Socket() for _ in range(PUBLISHERS)]
        frames = PartialFrames(1 << 20, 30, self.registry.counters)
        self.connections = [
            RPCConnection(
                self.registry,
                Limits(),
                frames,
                UnreadReplies(1 << 30, self.registry.counters),
                lambda _: None,
                lambda _: None,
            )
            for _ in self.sockets
        ]
        for connection, socket in zip(self.connections, self.sockets, strict=True):
            connection.connection_made(cast(Any, socket))

    def pause(self, paused: bool) -> None:
        for connection in self.connections:
            connection.pause(Pause.BACKPRESSURE, paused)

    def publish(self, publication: Publication) -> None:
        self.published.append((publication.topic, publication.payload.rpartition(b":")[0].decode()))
        receivers = self.joined[publication.topic]
        self.sent[publication.topic] += len(publication.payload) * len(receivers)
        self.hub_publish(publication)

    def count(self, seconds: float) -> None:
        for _, topic in self.backpressure.held:
            self.held[topic] += seconds
        self.any_held += seconds * bool(self.backpressure.held)

    def pass_time(self, seconds: float = 0.0) -> None:
        async def turn() -> None:
            self.clock.sleep(seconds, self.count)
            for socket, connection in zip(self.sockets, self.connections, strict=True):
                socket.deliver(connection)
            self.clock.sleep(0)
            await asyncio.sleep(0)

        for _ in range(1 + sum(len(socket.calls) for socket in self.sockets)):
            before = len(self.published), self.backpressure.paused
            self.loop.run_until_complete(turn())
            seconds = 0.0
            if before == (len(self.published), self.backpressure.paused):
                break

    @initialize(a=some, b=some)
    def begin(self, a: set[int], b: set[int]) -> None:
        self.join(a, "a")
        self.join(b, "b")

    @rule(who=some, topic=topics)
    def join(self, who: set[int], topic: str) -> None:
        for number in who:
            self.node.join(self.receivers[number], "", [topic])
            self.joined[topic].add(self.receivers[number])

    @rule(number=numbers)
    def leave(self, number: int) -> None:
        """And come back as somebody else."""
        receiver = self.receivers[number]
        self.node.leave_all(receiver)
        self.backpressure.forget(receiver)
        for members in self.joined.values():
            members.discard(receiver)
        self.receivers[number] = Receiver(self.backpressure, receiver.encoding)
        self.receivers_ever += 1
        self.pass_time()

    @rule(who=some)
    def stand_still(self, who: set[int]) -> None:
        for number in who:
            self.receivers[number].reads = False

    @rule(number=numbers)
    def read(self, number: int) -> None:
        self.receivers[number].reads = True
        self.receivers[number].catch_up()
        self.pass_time()

    @rule(who=some, topic=topics, seconds=st.sampled_from([0.1, 1.0, 1.9]))
    def gulp(self, who: set[int], topic: str, seconds: float) -> None:
        """Stand still, read just before it is too late, and so on."""
        self.join(who, topic)
        self.stand_still(who)
        for _ in range(6):
            self.call({0, 1}, [topic], "Publish", 1)
            self.pass_time(seconds)
            for number in who:
                self.receivers[number].catch_up()
            self.pass_time()

    @rule(who=st.sets(numbers, min_size=FEW, max_size=FEW), seconds=st.sampled_from([0.1, 1.0, 1.9]))
    def gulp_everywhere(self, who: set[int], seconds: float) -> None:
        """In one topic after another; the last one of them takes longer."""
        for topic in TOPICS:
            self.join(who, topic)
        for turn in range(9):
            self.stand_still(who)
            self.call({0}, [TOPICS[turn % 3]], "Publish", 1)
            self.pass_time(0.01)
            *others, last = sorted(who, key=lambda number: (number + turn) % RECEIVERS)
            for number in others:
                self.read(number)
            self.pass_time(seconds)
            self.read(last)

    @rule(
        publishers=st.sets(st.integers(0, PUBLISHERS - 1), min_size=1),
        names=st.lists(topics, min_size=1, max_size=2),
        method=st.sampled_from(["Publish", "PublishAsync"]),
        times=st.sampled_from([1, 2, 20]),
    )
    def call(self, publishers: set[int], names: list[str], method: str, times: int) -> None:
        for publisher in publishers:
            for _ in range(times):
                self.sockets[publisher].send(publisher, f"broadcast.{method}", names)
        self.pass_time()

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, LONGEST, REST]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @precondition(lambda self: any(connection._held for connection in self.connections))
    @rule()
    def stop(self) -> None:
        """What is held is carried out, and then the next process takes over."""
        begun = {
            number: len(socket.answered) + bool(connection._held)
            for number, (socket, connection) in enumerate(zip(self.sockets, self.connections, strict=True))
        }

        async def end() -> None:
            for connection in self.connections:
                connection.end()
            self.clock.sleep(0, self.count)

        self.loop.run_until_complete(end())
        for number, socket in enumerate(self.sockets):
            assert socket.closed
            assert socket.answered == list(range(begun[number]))
        assert self.registry.counters.held == 0
        self.check_order()
        self.published = []
        self.loop.run_until_complete(self.connect())

    @invariant()
    def a_publisher_is_held_only_for_a_topic_that_its_next_call_is_for(self) -> None:
        for socket, connection in zip(self.sockets, self.connections, strict=True):
            waiting = socket.calls[len(socket.answered) :]
            if connection._held is not None:
                assert connection.paused & Pause.HELD
                assert any(("main", topic) in self.backpressure.held for topic in waiting[0])
            else:
                assert not waiting
        held = sum(connection._held is not None for connection in self.connections)
        assert self.registry.counters.held == held

    @invariant()
    def a_topic_holds_only_for_receivers_that_are_behind(self) -> None:
        for held in self.backpressure.held.values():
            assert held.awaited
            assert all(cast(Receiver, receiver).behind for receiver in held.awaited)

    @invariant()
    def a_topic_holds_for_its_share_of_the_time(self) -> None:
        for topic, held in self.held.items():
            earned = self.sent[topic] / WORK
            assert held <= LONGEST + self.clock.now * LONGEST / REST + earned + 1e-6

    @invariant()
    def receivers_hold_for_their_share_of_the_time(self) -> None:
        """In all topics together: who publishes to one after another waits for no longer."""
        own = 2 * LONGEST + self.clock.now * LONGEST / REST
        earned = self.sent.total() / WORK
        assert self.any_held <= self.receivers_ever / FEW * own + earned + 1e-6

    @invariant()
    def check_order(self) -> None:
        """Every call once, whole, and in the order of its publisher."""
        for number, socket in enumerate(self.sockets):
            calls = [
                (topic, f"{number}:{sequence}")
                for sequence, names in enumerate(socket.calls[: len(socket.answered)])
                for topic in names
            ]
            assert socket.answered == list(range(len(socket.answered)))
            assert [entry for entry in self.published if entry[1].startswith(f"{number}:")] == calls

    def teardown(self) -> None:
        """When everybody reads again, or has left, nothing is left."""
        for number in range(RECEIVERS):
            self.receivers[number].reads = True
            self.receivers[number].catch_up()
            self.backpressure.forget(self.receivers[number])
        self.pass_time()
        assert not self.backpressure.held
        assert all(socket.answered == list(range(len(socket.calls))) for socket in self.sockets)
        self.pass_time(REST)
        assert not self.backpressure.watching
        assert not self.clock.calls
        self.loop.run_until_complete(self.node.close())
        self.loop.close()
        self.patch.undo()


TestBackpressureAgainstModel = BackpressureAgainstModel.TestCase
TestBackpressureAgainstModel.settings = settings(max_examples=40, stateful_step_count=25)
