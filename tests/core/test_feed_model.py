"""Random publishes, joins, losses and failures on two nodes: each client's sequence is whole, or it is told.

Everything from the command of a client to its frames is the real thing; the store, the feed and the event
loop are the test's, so that each step of each wait can come before or after any other.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.config import HistoryRule, Limits
from rr_py_ws.core.command_metrics import CommandMetrics
from rr_py_ws.core.feed import Feeds
from rr_py_ws.core.feed_rings import Arrival
from rr_py_ws.core.history import Receipt
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.node import Node
from rr_py_ws.core.replay import Replay
from rr_py_ws.core.ring import Entry, ReplayLimit, Ring
from rr_py_ws.core.session import Session
from rr_py_ws.core.session_context import SessionContext
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.position import StreamPosition, is_older
from rr_py_ws.wire.publication import Publication, Pushes
from rr_py_ws.wire.push import STRING
from support.feed_world import Later, World

TOPICS = ("a", "b")
SELDOM = st.integers(0, 5).map(lambda number: number == 5)
"""Of what ends a sequence there must not be so much that there are no sequences."""
RULES = HistoryRules([HistoryRule(topics=TOPICS, size=6, ttl=60.0)])
KEPT = 6


class SharedStore:
    """The histories of all nodes, as the scripts of Redis keep them, and every message ever published."""

    def __init__(self) -> None:
        self.rings: dict[str, Ring] = {}
        self.replica: dict[str, Ring] = {}
        self.published: dict[str, list[str]] = {topic: [] for topic in TOPICS}  # payloads, in order
        self.index: dict[str, int] = {}  # payload -> place in `published`
        self.positions: dict[tuple[str, str], int] = {}  # topic and position -> the same
        self.begun: dict[tuple[str, str], int] = {}  # topic and epoch -> place of its first message
        self.copied: dict[str, int] = dict.fromkeys(TOPICS, 0)  # how many were published before the copy
        self.erased: set[str] = set()
        self.unkept: set[str] = set()
        self.owed: set[str] = set()  # of these, those whose publisher sees to it that everybody is told
        self.clients: dict[int, tuple[dict[str, str], set[str], set[str]]] = {}
        self.has_fallen_back = False
        self.incomparable: set[str] = set()  # topics of which something was dropped since
        self.count = 0
        self.broken = False

    def ring(self, topic: str, suffix: str = "") -> Ring:
        if topic not in self.rings:
            self.count += 1
            epoch = f"e{self.count}_{self.count:011x}{suffix}"
            self.rings[topic] = Ring(epoch)
            self.begun[topic, epoch] = len(self.published[topic])
        return self.rings[topic]

    def open(self, topic: str, known: StreamPosition | None = None, owed: str = "") -> Ring:
        """Begin another epoch when the caller knows of something that is not there any more."""
        ring = self.rings.get(topic)
        if ring is not None and (owed in ("*", ring.epoch) or has_lost(ring, known)):
            del self.rings[topic]
        return self.ring(topic, "-" if owed == "*" or (ring is not None and topic not in self.rings) else "")

    def append(self, topic: str, known: StreamPosition | None = None, owed: str = "") -> Arrival:
        ring = self.open(topic, known, owed)
        previous = ring.nonce
        payload = self.publish(topic)
        ring.append(Entry(ring.top + 1, self.count, 0.0, payload, ()))
        self.drop(topic, len(ring.entries) - KEPT)
        self.positions[topic, ring.position] = self.index[payload.decode()]
        return Arrival(payload, (), ring.epoch, ring.top, ring.nonce, previous)

    def drop(self, topic: str, count: int) -> None:
        """Drop the oldest. After a failover nobody can compare what he knows with what is dropped."""
        for _ in range(count):
            self.rings[topic].pop()
            if self.has_fallen_back:
                self.incomparable.add(topic)

    def publish(self, topic: str) -> bytes:
        """Make a message that is not kept."""
        self.count += 1
        payload = f"{topic}{self.count}"
        self.index[payload] = len(self.published[topic])
        self.published[topic].append(payload)
        return payload.encode()

    def read(
        self, topic: str, after: int, limit: int, known: StreamPosition | None = None, owed: str = ""
    ) -> Ring:
        if self.broken:
            raise BrokerError("the store is away")
        ring = self.open(topic, known, owed)
        if known is None or known.epoch != ring.epoch:
            after = 0
        return copy(ring, after, limit)

    def had_by(self, memory: dict[str, str]) -> tuple[set[str], set[str]]:
        """What a client has got, over all its connections; and what was left out without a word."""
        _, had, skipped = self.clients.setdefault(id(memory), (memory, set(), set()))
        return had, skipped

    def copy_all(self) -> None:
        self.replica = {topic: copy(ring) for topic, ring in self.rings.items()}
        self.copied = {topic: len(self.published[topic]) for topic in TOPICS}

    def fall_back(self) -> None:
        """All that was published since the copy is gone."""
        self.has_fallen_back = True
        self.rings = {topic: copy(ring) for topic, ring in self.replica.items()}
        for topic in TOPICS:
            self.erased.update(self.published[topic][self.copied[topic] :])


def has_lost(ring: Ring, known: StreamPosition | None) -> bool:
    if known is None:
        return False
    if known.epoch != ring.epoch:
        return is_older(ring.epoch, known.epoch)
    nonce = ring.nonce if known.offset == ring.top else 0
    nonce = nonce or next((entry.nonce for entry in ring.entries if entry.offset == known.offset), 0)
    return known.offset > ring.top or (nonce != 0 and nonce != known.nonce)


def copy(ring: Ring, after: int = 0, limit: int = 1000) -> Ring:
    found = Ring(ring.epoch, ring.top, ring.nonce)
    entries = ring.after(after)[-limit:]
    found.extend_left(entries, ring.nonce_at(entries[0].offset - 1) if entries else ring.nonce)
    return found


class FeedBroker:
    """A broker of one node: the feeds over a feed that loses what the machine wants it to lose."""

    routes = None

    def __init__(self, world: World, store: SharedStore, *, is_lossy: bool) -> None:
        self.world, self.store = world, store
        self.is_lossy = is_lossy
        self.subscribed: set[str] = set()
        self.on_its_way: deque[tuple[str, Arrival | None]] = deque()  # None: the next one is not kept
        self.handed_over: dict[str, set[str]] = {}
        self.seen: dict[str, tuple[StreamPosition, int]] = {}
        self.owed: dict[str, list[str]] = {}
        self.connection = 0
        self.interrupted = False
        self.brings_nothing = False
        self.ready = True
        self.history = self

    async def start(
        self, on_publication: Callable[[Publication], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        def hand_over(publication: Publication) -> None:
            self.handed_over.setdefault(publication.topic, set()).add(publication.payload.decode())
            on_publication(publication)

        self.feeds = Feeds(
            self,
            RULES,
            hand_over,
            on_gap,
            self.end_epoch,
            self.world.spawn,
            is_lossy=self.is_lossy,
        )

    def subscribe(self, topics: Sequence[str]) -> Later | None:
        if self.subscribed.issuperset(topics):
            return None

        def happen() -> None:
            if self.interrupted:
                raise BrokerError("not connected")
            self.subscribed.update(topics)

        return self.world.later(happen)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        self.subscribed.difference_update(topics)
        for topic in topics:
            self.handed_over.pop(topic, None)
        # Also when it is subscribed again: what comes before the confirmation counts as of no history.
        self.on_its_way = deque(found for found in self.on_its_way if found[0] not in topics)
        self.feeds.forget(topics)

    # The store

    def read(self, topic: str, after: int, limit: int) -> Later:
        known, debt, connection = self.known(topic), self.owed.get(topic), self.connection

        def happen() -> Ring:
            ring = self.store.read(topic, after, limit, known, debt[0] if debt else "")
            if connection == self.connection:
                self.named(topic, ring, debt)
            return ring

        return self.world.later(happen)

    def now(self) -> float:
        return 0.0

    def end_epoch(self, topic: str, epoch: str) -> None:
        is_being_paid = topic in self.owed
        self.owed[topic] = [epoch or "*"]
        if not is_being_paid:
            self.world.spawn(self.pay(topic))

    async def pay(self, topic: str) -> None:
        while topic in self.owed:
            with suppress(BrokerError):
                await self.read(topic, 0, 0)

    # What it knows of the store, as `Newest` and `Owed` do

    def named(self, topic: str, ring: Ring, debt: list[str] | None) -> None:
        self.seen[topic] = StreamPosition(ring.epoch, ring.top, ring.nonce), self.connection
        if debt is not None and self.owed.get(topic) is debt:
            del self.owed[topic]

    def known(self, topic: str) -> StreamPosition | None:
        arrived, (seen, _) = self.feeds.position(topic), self.seen.get(topic, (None, 0))
        if arrived is None or seen is None:
            return arrived or seen
        if seen.epoch == arrived.epoch:
            return seen if seen.offset > arrived.offset else arrived
        return seen if is_older(arrived.epoch, seen.epoch) else arrived

    def append(self, topic: str) -> Arrival:
        """Publish something through this node."""
        debt = self.owed.get(topic)
        is_verified = topic in self.seen and self.seen[topic][1] == self.connection
        known = None if is_verified else self.known(topic)
        arrival = self.store.append(topic, known, debt[0] if debt else "")
        self.named(topic, self.store.rings[topic], debt)
        return arrival

    def settle(self) -> Later:
        return self.world.later(self.deliver_all)

    # The history

    def keeps(self, topic: str) -> bool:
        return self.feeds.keeps(topic)

    def recover(self, wishes: Mapping[str, Wish], limit: ReplayLimit) -> Any:
        return self.feeds.recover(wishes, limit)

    def clear(self, topic: str) -> None: ...

    # The feed

    def send(self, topic: str, *arrivals: Arrival | None) -> None:
        if topic in self.subscribed and not (self.interrupted or self.brings_nothing):
            self.on_its_way.extend((topic, arrival) for arrival in arrivals)

    def deliver_all(self) -> None:
        while self.on_its_way:
            self.deliver()

    def deliver(self) -> None:
        topic, arrival = self.on_its_way.popleft()
        if topic not in self.subscribed:
            return
        if arrival is None:
            self.end_epoch(topic, self.feeds.lose(topic))
        else:
            self.feeds.receive(topic, arrival)

    def interrupt(self) -> None:
        self.on_its_way.clear()
        self.interrupted = True
        self.feeds.interrupt(self.subscribed)

    def resume(self) -> None:
        self.interrupted = False
        self.feeds.resume(sorted(self.subscribed))
        self.brings_nothing = False

    def reconnect(self) -> None:
        """There is another server, and the subscription may learn of it later."""
        self.connection += 1
        self.brings_nothing = True
        self.feeds.doubt()

    # What no client needs here

    def publish(self, publication: Publication) -> None: ...
    def publish_once(self, publication: Publication, key: str = "", *, skip_history: bool = False) -> Receipt:
        return Receipt()

    async def settled(self) -> None: ...
    async def close(self) -> None: ...
    def metrics(self) -> tuple[()]:
        return ()


class Client:
    """A connection, and the application behind it, which checks each message that it gets."""

    encoding = STRING
    descriptor = -1
    me = ""

    def __init__(self, node: Node, world: World, store: SharedStore, memory: dict[str, str]) -> None:
        self.id = f"client {id(self)}"
        self.world, self.store, self.node = world, store, node
        self.broker: FeedBroker = node.brokers[""]  # type: ignore[assignment]
        self.memory = memory  # topic -> position, survives connections
        self.had, self.skipped = store.had_by(memory)
        self.unkept: set[str] = set()
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
        command = {"command": "join", "topics": list(wishes), "id": 1, "history": wishes}
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

    def replay(self, reply: bytes, replay: Replay) -> None:
        self.write(reply)
        while replay:
            self.take(replay.next_frames(1))

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
        missing = [payload for payload in payloads if payload not in self.had]
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
        assert topic in self.joined or not self.has_wishes, "before the answer to the join"
        if payload not in self.store.index:
            return  # published past the store
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


class Recovery(RuleBasedStateMachine):
    """Two nodes, and clients that move between them."""

    is_lossy = False

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.store = SharedStore()
        self.scheduled: list[Callable[[], None]] = []
        self.brokers = [FeedBroker(self.world, self.store, is_lossy=self.is_lossy) for _ in range(2)]
        self.nodes = [Node({"": broker}, "", self.scheduled.append) for broker in self.brokers]  # type: ignore[dict-item]
        for node in self.nodes:
            starting = node.start()
            with suppress(StopIteration):
                starting.send(None)
        self.clients: list[Client] = []
        self.memories: list[dict[str, str]] = [{} for _ in range(3)]
        self.dropped = False

    def end_turn(self) -> None:
        while self.scheduled:
            self.scheduled.pop(0)()

    @initialize()
    def two_clients_are_there(self) -> None:
        for node, memory in zip(self.nodes, self.memories, strict=False):
            self.clients.append(Client(node, self.world, self.store, memory))
            self.clients[-1].join(dict.fromkeys(TOPICS, True))
        self.everything_comes_to_rest()

    @rule(topic=st.sampled_from(TOPICS), count=st.integers(1, 3), by=st.sampled_from([0, 1, None]))
    def publish(self, topic: str, count: int, by: int | None = None) -> None:
        """By a node, or by one that knows of nothing."""
        for _ in range(count):
            arrival = self.store.append(topic) if by is None else self.brokers[by].append(topic)
            self.send(topic, arrival)

    def send(self, topic: str, *arrivals: Arrival | None) -> None:
        """Hand it to the nodes. Where one knows nothing of a topic, it does not know what it should bring."""
        for broker, node in zip(self.brokers, self.nodes, strict=True):
            if broker.brings_nothing and broker.feeds.position(topic) is None:
                for client in self.clients:
                    if client.node is node:
                        client.next.pop(topic, None)
            broker.send(topic, *arrivals)

    @rule(topic=st.sampled_from(TOPICS), by=st.integers(0, 1), ends_at_once=st.booleans(), now=SELDOM)
    def publish_what_cannot_be_kept(self, topic: str, by: int, ends_at_once: bool, now: bool) -> None:
        if not now or (self.dropped and not self.is_lossy):
            return
        payload = self.store.publish(topic)
        self.store.unkept.add(payload.decode())
        self.store.erased.add(payload.decode())
        if ends_at_once:
            self.store.rings.pop(topic, None)
        else:
            self.store.owed.add(payload.decode())
            self.brokers[by].end_epoch(topic, "")
        self.send(topic, None, Arrival(payload))

    @rule(topic=st.sampled_from(TOPICS))
    def publish_past_the_store(self, topic: str) -> None:
        for broker in self.brokers:
            broker.send(topic, Arrival(b"foreign"))

    @rule(topic=st.sampled_from(TOPICS), lost=st.sampled_from([(), (0,), (1,), (0, 1)]))
    def publish_at_rest(self, topic: str, lost: tuple[int, ...]) -> None:
        """All that was published arrives, but the last one not everywhere; then there is one more."""
        for broker in self.brokers:
            broker.deliver_all()
        self.publish(topic, 1)
        for number in lost:
            self.lose(number, -1)
        self.publish(topic, 1)

    @rule(number=st.integers(0, 1), count=st.integers(1, 4))
    def deliver(self, number: int, count: int) -> None:
        for _ in range(min(count, len(self.brokers[number].on_its_way))):
            self.brokers[number].deliver()
        self.end_turn()

    @precondition(lambda self: self.world.pending)
    @rule(data=st.data())
    def something_awaited_happens(self, data: st.DataObject) -> None:
        self.world.step(data.draw(st.sampled_from(self.world.pending)))

    @precondition(lambda self: self.world.pending)
    @rule(data=st.data(), now=SELDOM)
    def something_awaited_fails(self, data: st.DataObject, now: bool) -> None:
        if now:
            self.world.fail(data.draw(st.sampled_from(self.world.pending)))

    @precondition(lambda self: self.world.pending)
    @rule(most=st.integers(2, 8))
    def much_that_is_awaited_happens(self, most: int) -> None:
        while self.world.pending and most:
            self.world.step(self.world.pending[0])
            most -= 1

    @precondition(lambda self: len(self.clients) < 3)
    @rule(number=st.integers(0, 1), data=st.data())
    def a_client_comes_back(self, number: int, data: st.DataObject) -> None:
        used = [client.memory for client in self.clients]
        memory = next(memory for memory in self.memories if not any(memory is one for one in used))
        client = Client(self.nodes[number], self.world, self.store, memory)
        self.clients.append(client)
        topics = data.draw(st.lists(st.sampled_from(TOPICS), min_size=1, unique=True))
        if data.draw(st.integers(0, 3)) == 0:
            client.forget()
        client.join({topic: memory.get(topic, True) for topic in topics})
        for topic in list(memory.keys() - set(topics)):
            del memory[topic]
        if data.draw(st.booleans()):
            self.much_that_is_awaited_happens(8)

    @precondition(lambda self: self.clients)
    @rule(
        data=st.data(),
        number=st.integers(0, 1),
        missed=st.lists(st.sampled_from(TOPICS), max_size=7),
        delivered=st.integers(0, 8),
        awaited=st.integers(0, 8),
    )
    def a_client_is_away_for_a_while(
        self, data: st.DataObject, number: int, missed: list[str], delivered: int, awaited: int
    ) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if not client.memory:
            return
        self.clients.remove(client)
        client.close()
        for topic in missed:
            self.publish(topic, 1)
        for at in range(2):
            self.deliver(at, delivered)
        self.clients.append(Client(self.nodes[number], self.world, self.store, client.memory))
        self.clients[-1].join(dict(client.memory))
        self.much_that_is_awaited_happens(awaited)

    @precondition(lambda self: len(self.clients) < 3)
    @rule(number=st.integers(0, 1), topic=st.sampled_from(TOPICS), last=st.integers(0, 7))
    def a_client_wants_the_newest(self, number: int, topic: str, last: int) -> None:
        used = [client.memory for client in self.clients]
        memory = next(memory for memory in self.memories if not any(memory is one for one in used))
        self.clients.append(Client(self.nodes[number], self.world, self.store, memory))
        self.clients[-1].forget()
        self.clients[-1].join({topic: {"last": last}})

    @precondition(lambda self: len(self.clients) < 3)
    @rule(number=st.integers(0, 1), now=st.booleans())
    def a_client_without_wishes_comes(self, number: int, now: bool) -> None:
        memory: dict[str, str] = {}
        self.clients.append(Client(self.nodes[number], self.world, self.store, memory))
        self.clients[-1].join(dict.fromkeys(TOPICS))
        if now:
            self.much_that_is_awaited_happens(8)

    @rule(number=st.integers(0, 1), topic=st.sampled_from(TOPICS), count=st.integers(1, 9))
    def a_hole_is_filled_before_the_rest_has_arrived(self, number: int, topic: str, count: int) -> None:
        broker = self.brokers[number]
        broker.deliver_all()
        self.publish(topic, 2)
        self.lose(number, 0)
        broker.deliver_all()
        self.publish(topic, count)
        self.much_that_is_awaited_happens(8)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def a_client_goes(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.clients.remove(client)
        client.close()

    @rule(number=st.integers(0, 1), now=SELDOM)
    def the_feed_is_interrupted(self, number: int, now: bool) -> None:
        if now and not self.brokers[number].interrupted:
            self.brokers[number].interrupt()

    @rule(number=st.integers(0, 1), now=SELDOM)
    def the_feed_brings_nothing(self, number: int, now: bool) -> None:
        """The connection seems to work: that it does not is found out later."""
        if now and not self.brokers[number].interrupted:
            self.brokers[number].brings_nothing = True

    @rule(number=st.integers(0, 1))
    def the_feed_is_there_again(self, number: int) -> None:
        if self.brokers[number].interrupted:
            self.brokers[number].resume()

    @rule(number=st.integers(0, 1))
    def a_message_is_lost_without_a_trace(self, number: int) -> None:
        self.lose(number, 0)

    def lose(self, number: int, place: int) -> None:
        """Lose a message without a trace. Nobody can find out when nothing of its topic is known.

        Nor can anybody when the store has lost it, too. A connection that loses messages brings none at all
        any more, which is found out; a server of a cluster that passes on what others tell it may lose some.
        """
        broker = self.brokers[number]
        if not broker.on_its_way:
            return
        topic, arrival = broker.on_its_way[place]
        if arrival is None or arrival.payload.decode() in self.store.unkept:
            return
        ring = self.store.rings.get(topic)
        is_gone = bool(arrival.epoch) and (ring is None or ring.epoch != arrival.epoch)
        is_going = any(topic in one.owed for one in self.brokers)
        if (is_gone or is_going) and not self.is_lossy:
            return
        del broker.on_its_way[place]
        self.dropped = True
        if broker.feeds.position(topic) is None:
            for client in self.clients:
                client.next.pop(topic, None)

    @rule(topic=st.sampled_from(TOPICS), count=st.integers(1, 6), now=SELDOM)
    def old_messages_expire(self, topic: str, count: int, now: bool) -> None:
        ring = self.store.ring(topic)
        self.store.drop(topic, min(count, len(ring.entries)) if now else 0)

    @rule()
    def the_store_is_copied(self) -> None:
        self.store.copy_all()

    @rule(now=SELDOM, notice=st.lists(st.integers(0, 1)))
    def the_store_falls_back_to_the_copy(self, now: bool, notice: list[int]) -> None:
        """A failover: all feeds are interrupted sooner or later, and what was published since is gone."""
        if not now:
            return
        self.store.fall_back()
        # What was paid may be gone with it; who has paid knows that, but may not ask any more.
        owing = {topic for broker in self.brokers for topic in broker.owed}
        self.store.owed = {payload for payload in self.store.owed if payload[0] in owing}
        for number, broker in enumerate(self.brokers):
            broker.reconnect()
            if number in notice:
                broker.interrupt()

    @precondition(lambda self: self.is_lossy or not self.dropped)
    @rule(topics=st.lists(st.sampled_from(TOPICS)), now=SELDOM)
    def the_store_loses_topics(self, topics: list[str], now: bool) -> None:
        for topic in topics if now else ():
            self.store.rings.pop(topic, None)

    @rule(broken=SELDOM)
    def the_store_cannot_be_read(self, broken: bool) -> None:
        self.store.broken = broken

    @rule()
    def everything_comes_to_rest(self) -> None:
        """The sweep finds also what was lost without a trace."""
        self.store.broken = False
        for broker in self.brokers:
            if broker.brings_nothing and not broker.interrupted:
                broker.interrupt()
            if broker.interrupted:
                broker.resume()
        self.run_to_the_end()
        for _ in range(2):  # what the first has found out, another node learns from the second
            for broker in self.brokers:
                broker.feeds.check(sorted(broker.subscribed))
            self.run_to_the_end()
        self.end_turn()
        self.dropped = False
        # What a node knows of that is gone, or was never kept, everybody is told of.
        known = {
            payload for broker in self.brokers for found in broker.handed_over.values() for payload in found
        }
        for client in self.clients:
            client.expect_whole()
            skipped = {payload for payload in client.skipped if payload[0] in client.joined}
            known -= {payload for payload in known if payload[0] in self.store.incomparable}
            untold = skipped & (known | self.store.owed) | skipped - self.store.erased
            assert not untold, f"nobody was told that these are missing: {untold}"
            client.skipped.clear()
        self.store.has_fallen_back = False
        self.store.incomparable.clear()

    def run_to_the_end(self) -> None:
        for _ in range(1000):
            for broker in self.brokers:
                broker.deliver_all()
            if not self.world.pending:
                return
            self.world.step(self.world.pending[0])
        raise AssertionError("this never ends")

    def teardown(self) -> None:
        self.everything_comes_to_rest()


class RecoveryInCluster(Recovery):
    """The same, with feeds that may lose something without an interruption."""

    is_lossy = True


TestRecovery = Recovery.TestCase
TestRecovery.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRecoveryInCluster = RecoveryInCluster.TestCase
TestRecoveryInCluster.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
