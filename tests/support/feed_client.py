"""A client of the model, which checks each message that it gets."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.config import Limits
from rr_py_ws.core.command_metrics import CommandMetrics
from rr_py_ws.core.node import Node
from rr_py_ws.core.replay import Replay
from rr_py_ws.core.session import Session
from rr_py_ws.core.session_context import SessionContext
from rr_py_ws.wire.publication import Pushes
from rr_py_ws.wire.push import STRING
from rr_py_ws.wire.recovery import Missed
from support.feed_broker import FeedBroker
from support.feed_store import PLAIN, SharedStore
from support.feed_world import Later, World


class Memory(dict[str, str]):
    """What an application keeps while it has no connection: the position of each topic, and who it is."""

    def __init__(self, me: str) -> None:
        super().__init__()
        self.me = me


class Client:
    """A connection, and the application behind it, which checks each message that it gets."""

    encoding = STRING
    descriptor = -1
    is_undisturbed = False
    """Whether nothing fails, so that all topics together are in order."""

    def __init__(self, node: Node, world: World, store: SharedStore, memory: Memory) -> None:
        self.id = f"client {id(self)}"
        self.world, self.store, self.node = world, store, node
        self.broker: FeedBroker = node.brokers[""]  # type: ignore[assignment]
        self.memory, self.me = memory, memory.me
        self.had, self.skipped = store.had_by(memory)
        self.unkept: set[str] = set()
        self.newest = 0  # of all topics
        self.is_replayed = False
        self.foreign_of: dict[str, int] = {}  # the newest that was published past the store
        self.next: dict[str, int] = {}  # what comes next, where that is known
        self.last: dict[str, int] = {}
        self.began: dict[str, int] = {}  # what came next when a join without a wish was answered
        self.joined: set[str] = set()
        self.has_wishes = True
        self.closed = False
        self.running: list[Later] = []
        self.failure: Exception | None = None
        self.send = self.take
        limits = Limits(recovery_messages=5)
        self.session = Session(self, None, SessionContext(AllowAll(), node, limits, CommandMetrics()))

    def join(self, wishes: Mapping[str, object]) -> None:
        command = {"command": "join", "topics": [*wishes, PLAIN], "id": 1, "history": wishes}
        if None in wishes.values():
            del command["history"]
            self.has_wishes = False
        self.session.receive_message(json.dumps(command).encode())

    def close(self) -> None:
        self.closed = True
        self.session.close()
        for work in self.running:
            self.world.cancel(work)

    # Transport

    def write(self, data: bytes) -> None:
        self.take(data)

    def replay(self, reply: bytes, missed: Missed, frames: bytes) -> None:
        self.write(reply)
        replay, pieces = Replay(self.encoding, missed), []
        while replay:
            pieces.append(replay.next_frames(1))
        if frames:
            assert frames == b"".join(pieces), "what was encoded for others is not what is missed"
        self.is_replayed = True
        for piece in pieces:
            self.take(piece)
        self.is_replayed = False

    def push(self, pushes: Pushes, taken: int) -> None:
        self.take(b"")

    def charge(self, cost: int) -> None: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def and_then() -> None:
            await work
            while not self.closed and self.session.handle_waiting():
                pass

        self.running.append(self.world.spawn(and_then()))

    def missed(self, topics: Sequence[str]) -> None:
        assert self.session.missed(topics)

    def write_failed(self, error: Exception) -> None:
        raise error

    def command_ignored(self, reason: str) -> None:
        raise AssertionError(reason)

    def join_refused(self, topics: Sequence[str], reason: str, verdict: object) -> None: ...
    def put_failed(self, topics: Sequence[str], reason: str) -> None: ...

    # The application

    def take(self, frames: bytes) -> int:
        rest = frames
        while rest and self.failure is None:
            assert not self.closed
            length = rest[1]
            head = 2
            if length == 126:
                length, head = int.from_bytes(rest[2:4]), 4
            try:
                self.read(json.loads(rest[head : head + length]))
            except Exception as error:
                self.failure = error
            rest = rest[head + length :]
        if self.failure is not None:
            raise self.failure  # also the second time, for the hub has caught what `send` has raised
        return len(frames)

    def read(self, message: dict[str, Any]) -> None:
        topic = message["topic"]
        if topic == "@join":
            for name, answer in message.get("history", {}).items():
                self.answered(name, answer)
            for name in message["payload"]:
                if name not in self.joined:  # without a wish: what is published from now on
                    self.joined.add(name)
                    self.next[name] = self.began[name] = len(self.store.published[name])
        elif topic == "#gap":
            for name in message["payload"]:
                self.next.pop(name, None)
                self.forgive(name)
        elif topic != "#join":
            self.pushed(topic, message["payload"], message.get("pos"))

    def answered(self, topic: str, answer: dict[str, Any]) -> None:
        self.joined.add(topic)
        self.last.pop(topic, None)
        if not answer["recovered"]:
            self.forgive(topic)
        if answer.get("reason") == "off":
            self.next.pop(topic, None)
            self.memory.pop(topic, None)
            return
        place = self.place(topic, answer["pos"])
        if answer["recovered"] and topic in self.memory:
            assert answer["pos"] == self.memory[topic] or self.place(topic, self.memory[topic]) == place
        self.next[topic] = place
        self.memory[topic] = answer["pos"]

    def forget(self) -> None:
        """It is another client."""
        for known in (self.memory, self.had, self.skipped):
            known.clear()

    def forgive(self, topic: str) -> None:
        """It was told that something is missing."""
        self.skipped.difference_update(self.store.published[topic])

    def skip(self, payloads: Sequence[str]) -> None:
        """It was not told that these are missing, which must be gone from the store."""
        missing = [
            payload
            for payload in payloads
            if payload not in self.had and self.me not in self.store.excluded.get(payload, ())
        ]
        # Where nobody knows that the feed brings nothing, it is told later.
        is_known = not self.broker.brings_nothing
        assert not is_known or self.store.erased.issuperset(missing), f"a hole: {missing}"
        self.skipped.update(missing)

    def place(self, topic: str, pos: str) -> int:
        """Where the message after a position is among all that were published."""
        epoch, offset, *_ = pos.split(".")
        if offset == "0":
            return self.store.begun[topic, epoch]
        # A position may be without its nonce, when the message before a replay is not kept any more.
        found = [
            place
            for (at, known), place in self.store.positions.items()
            if at == topic and (known == pos or known.startswith(f"{pos}."))
        ]
        return found[-1] + 1

    def pushed(self, topic: str, payload: str, pos: str | None) -> None:
        # Without wishes a client is in a topic before its join is answered: what others have subscribed comes
        # at once. That is more than is promised, which begins with the answer; but in order, and each once.
        assert topic in self.joined or topic == PLAIN or not self.has_wishes, "before the answer to the join"
        if self.is_undisturbed and not self.is_replayed:
            number = int(payload[1:].removeprefix("~"))
            assert number > self.newest, "not in the order of publishing over all topics"
            self.newest = number
        if payload not in self.store.index:
            number = int(payload.partition("~")[2])
            assert number > self.foreign_of.get(topic, 0), "a duplicate of what has no history"
            self.foreign_of[topic] = number
            return
        assert self.me not in self.store.excluded.get(payload, ()), "who is excluded"
        self.had.add(payload)
        if payload in self.store.unkept:
            # It may come behind what was read from the store, and at another node again: it has no position.
            assert payload not in self.unkept, "a duplicate"
            self.unkept.add(payload)
            self.skipped.discard(payload)
            return
        place = self.store.index[payload]
        assert place > self.last.get(topic, -1), "a duplicate"
        if topic not in self.joined or place < self.began.get(topic, 0):
            self.last[topic] = place
            return
        if topic in self.next:
            assert place >= self.next[topic], "again what the client had"
            self.skip(self.store.published[topic][self.next[topic] : place])
        self.last[topic] = place
        self.next[topic] = place + 1
        if pos is not None:
            self.memory[topic] = pos

    def expect_whole(self) -> None:
        for topic, place in self.next.items():
            self.skip(self.store.published[topic][place:])
