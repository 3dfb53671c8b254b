"""Random publishes, joins, losses and failures on some nodes: each client's sequence is whole, or it is told.

Everything from the command of a client to its frames is the real thing; the store, the feed and the event
loop are the test's, so that each step of each wait can come before or after any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from hypothesis.stateful import RuleBasedStateMachine, initialize

from rr_py_ws.core.feed_rings import Arrival
from rr_py_ws.core.node import Node
from support.feed_broker import FeedBroker
from support.feed_client import Client, Memory
from support.feed_store import PLAIN, TOPICS, SharedStore
from support.feed_world import World
from support.steps import CHOOSES, Choice, Chooses, Taken, between, one_of, some_of, step, take_all

CLIENTS = 4
NODE = between(0, 2)
"""The number of a node; with fewer of them they begin anew."""
BOTH = Choice((False, True))
SELDOM = Choice((False,) * 5 + (True,))
"""Of what ends a sequence there must not be so much that there are no sequences."""


class Recovery(RuleBasedStateMachine):
    """Some nodes, and clients that move between them."""

    is_lossy = False
    may_fail = True
    nodes_there = 2

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.store = SharedStore()
        self.scheduled: list[Callable[[], None]] = []
        self.brokers = [
            FeedBroker(self.world, self.store, is_lossy=self.is_lossy) for _ in range(self.nodes_there)
        ]
        self.nodes = [Node({"": broker}, "", self.scheduled.append) for broker in self.brokers]  # type: ignore[dict-item]
        for node in self.nodes:
            starting = node.start()
            with suppress(StopIteration):
                starting.send(None)
        self.clients: list[Client] = []
        self.memories = [Memory(f"me {number}") for number in range(CLIENTS)]
        self.dropped = False

    @property
    def has_room(self) -> bool:
        return len(self.clients) < CLIENTS

    def at(self, number: int) -> FeedBroker:
        return self.brokers[number % len(self.brokers)]

    def come(self, number: int, memory: Memory | None = None) -> Client:
        """A client comes to a node, with the first memory that nobody else has."""
        if memory is None:
            used = [client.memory for client in self.clients]
            memory = next(one for one in self.memories if not any(one is other for other in used))
        self.clients.append(Client(self.nodes[number % len(self.nodes)], self.world, self.store, memory))
        self.clients[-1].is_undisturbed = not self.may_fail
        return self.clients[-1]

    def end_turn(self) -> None:
        while self.scheduled:
            self.scheduled.pop(0)()

    @initialize()
    def two_clients_are_there(self) -> None:
        for number in range(2):
            self.come(number, self.memories[number]).join(dict.fromkeys(TOPICS, True))
        self.everything_comes_to_rest()

    @step(
        topic=one_of(TOPICS),
        count=between(1, 3),
        by=one_of((*NODE.values, None, None)),
        exclude=one_of(((),) * 6 + tuple((f"me {number}",) for number in range(CLIENTS))),
    )
    def publish(self, topic: str, count: int, by: int | None = None, exclude: tuple[str, ...] = ()) -> None:
        """By a node, or by one that knows of nothing."""
        for _ in range(count):
            if by is None:
                arrival = self.store.append(topic, exclude=exclude)
            else:
                arrival = self.at(by).append(topic, exclude)
            self.send(topic, arrival)

    def send(self, topic: str, *arrivals: Arrival | None) -> None:
        """Hand it to the nodes. Where one knows nothing of a topic, it does not know what it should bring."""
        for broker, node in zip(self.brokers, self.nodes, strict=True):
            if broker.brings_nothing and broker.feeds.position(topic) is None:
                for client in self.clients:
                    if client.node is node:
                        client.next.pop(topic, None)
            broker.send(topic, *arrivals)

    @step(when=lambda self: self.may_fail, topic=one_of(TOPICS), by=NODE, ends_at_once=BOTH, now=SELDOM)
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
            self.at(by).end_epoch(topic, "")
        self.send(topic, None, Arrival(payload))

    @step(topic=one_of((*TOPICS, PLAIN)))
    def publish_past_the_store(self, topic: str) -> None:
        """By redis-cli, or with `skip_history`."""
        payload = self.store.foreign(topic)
        for broker in self.brokers:
            broker.send(topic, Arrival(payload))

    @step(when=lambda self: self.may_fail, topic=one_of(TOPICS), lost=one_of([(), (0,), (1,), (0, 1)]))
    def publish_at_rest(self, topic: str, lost: tuple[int, ...]) -> None:
        """All that was published arrives, but the last one not everywhere; then there is one more."""
        for broker in self.brokers:
            broker.deliver_all()
        self.publish(topic, 1)
        for number in lost:
            self.lose(number, -1)
        self.publish(topic, 1)

    @step(number=NODE, count=between(1, 4))
    def deliver(self, number: int, count: int) -> None:
        for _ in range(min(count, len(self.at(number).on_its_way))):
            self.at(number).deliver()
        self.end_turn()

    @step(when=lambda self: self.world.pending, chooses=CHOOSES)
    def something_awaited_happens(self, chooses: Chooses) -> None:
        self.world.step(chooses.one(self.world.pending))

    @step(when=lambda self: self.may_fail and self.world.pending, chooses=CHOOSES, now=SELDOM)
    def something_awaited_fails(self, chooses: Chooses, now: bool) -> None:
        if now:
            self.world.fail(chooses.one(self.world.pending))

    @step(when=lambda self: self.world.pending, most=between(2, 8))
    def much_that_is_awaited_happens(self, most: int) -> None:
        while self.world.pending and most:
            self.world.step(self.world.pending[0])
            most -= 1

    @step(when=lambda self: self.has_room, number=NODE, chooses=CHOOSES)
    def a_client_comes_back(self, number: int, chooses: Chooses) -> None:
        client = self.come(number)
        topics = chooses.one((TOPICS, TOPICS[:1], TOPICS[1:], TOPICS[::-1]))
        if chooses.one(range(4)) == 0:
            client.forget()
        client.join({topic: client.memory.get(topic, True) for topic in topics})
        for topic in client.memory.keys() - set(topics):
            del client.memory[topic]
        if chooses.one((False, True)):
            self.much_that_is_awaited_happens(8)

    @step(
        when=lambda self: self.clients,
        chooses=CHOOSES,
        number=NODE,
        missed=some_of(TOPICS, 7),
        delivered=between(0, 8),
        awaited=between(0, 8),
    )
    def a_client_is_away_for_a_while(
        self, chooses: Chooses, number: int, missed: list[str], delivered: int, awaited: int
    ) -> None:
        client = chooses.one(self.clients)
        if not client.memory:
            return
        self.clients.remove(client)
        client.close()
        for topic in missed:
            self.publish(topic, 1)
        for at in range(len(self.brokers)):
            self.deliver(at, delivered)
        self.come(number, client.memory).join(dict(client.memory))
        self.much_that_is_awaited_happens(awaited)

    @step(when=lambda self: self.has_room, number=NODE, topic=one_of(TOPICS), last=between(0, 7))
    def a_client_wants_the_newest(self, number: int, topic: str, last: int) -> None:
        client = self.come(number)
        client.forget()
        client.join({topic: {"last": last}})

    @step(when=lambda self: self.has_room, number=NODE, now=BOTH)
    def a_client_without_wishes_comes(self, number: int, now: bool) -> None:
        self.come(number, Memory("")).join(dict.fromkeys(TOPICS))
        if now:
            self.much_that_is_awaited_happens(8)

    @step(when=lambda self: self.may_fail, number=NODE, topic=one_of(TOPICS), count=between(1, 9))
    def a_hole_is_filled_before_the_rest_has_arrived(self, number: int, topic: str, count: int) -> None:
        broker = self.at(number)
        broker.deliver_all()
        self.publish(topic, 2)
        self.lose(number, 0)
        broker.deliver_all()
        self.publish(topic, count)
        self.much_that_is_awaited_happens(8)

    @step(when=lambda self: self.clients, chooses=CHOOSES)
    def a_client_goes(self, chooses: Chooses) -> None:
        client = chooses.one(self.clients)
        self.clients.remove(client)
        client.close()

    @step(when=lambda self: self.may_fail, number=NODE, now=SELDOM)
    def the_feed_is_interrupted(self, number: int, now: bool) -> None:
        if now and not self.at(number).interrupted:
            self.at(number).interrupt()

    @step(when=lambda self: self.may_fail, number=NODE, now=SELDOM)
    def the_feed_brings_nothing(self, number: int, now: bool) -> None:
        """The connection seems to work: that it does not is found out later."""
        if now and not self.at(number).interrupted:
            self.at(number).brings_nothing = True

    @step(number=NODE)
    def the_feed_is_there_again(self, number: int) -> None:
        if self.at(number).interrupted:
            self.at(number).resume()

    @step(when=lambda self: self.may_fail, number=NODE)
    def a_message_is_lost_without_a_trace(self, number: int) -> None:
        self.lose(number, 0)

    def lose(self, number: int, place: int) -> None:
        """Lose a message without a trace. Nobody can find out when nothing of its topic is known.

        Nor can anybody when the store has lost it, too. A connection that loses messages brings none at all
        any more, which is found out; a server of a cluster that passes on what others tell it may lose some.
        """
        broker = self.at(number)
        if not broker.on_its_way:
            return
        topic, arrival = broker.on_its_way[place]
        if arrival is None or arrival.payload.decode() in self.store.unkept:
            return
        ring = self.store.rings.get(topic)
        is_gone = bool(arrival.epoch) and (ring is None or ring.epoch != arrival.epoch)
        is_going = any(topic in one.owed.topics for one in self.brokers)
        if (is_gone or is_going) and not self.is_lossy:
            return
        del broker.on_its_way[place]
        self.dropped = True
        if broker.feeds.position(topic) is None:
            for client in self.clients:
                client.next.pop(topic, None)

    @step(topic=one_of(TOPICS), count=between(1, 6), now=SELDOM)
    def old_messages_expire(self, topic: str, count: int, now: bool) -> None:
        ring = self.store.ring(topic)
        self.store.drop(topic, min(count, len(ring.entries)) if now else 0)

    @step()
    def the_store_is_copied(self) -> None:
        self.store.copy_all()

    @step(when=lambda self: self.may_fail, now=SELDOM, notice=some_of(range(3), 3))
    def the_store_falls_back_to_the_copy(self, now: bool, notice: list[int]) -> None:
        """A failover: all feeds are interrupted sooner or later, and what was published since is gone."""
        if not now:
            return
        self.store.fall_back()
        # What was paid may be gone with it; who has paid knows that, but may not ask any more.
        owing = {topic for broker in self.brokers for topic in broker.owed.topics}
        self.store.owed = {payload for payload in self.store.owed if payload[0] in owing}
        for number, broker in enumerate(self.brokers):
            broker.reconnect()
            if number in notice:
                broker.interrupt()

    @step(
        when=lambda self: self.may_fail and (self.is_lossy or not self.dropped),
        topics=some_of(TOPICS, 3),
        now=SELDOM,
    )
    def the_store_loses_topics(self, topics: list[str], now: bool) -> None:
        for topic in topics if now else ():
            self.store.rings.pop(topic, None)

    @step(when=lambda self: self.may_fail, broken=SELDOM)
    def the_store_cannot_be_read(self, broken: bool) -> None:
        self.store.broken = broken

    @step()
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
                broker.feeds.check(sorted(broker.subscribed - {PLAIN}))
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

    @classmethod
    def run(cls, sequence: Iterable[Taken]) -> None:
        """Take these steps without Hypothesis."""
        machine = cls()
        machine.two_clients_are_there()
        take_all(machine, sequence)
        machine.teardown()


class RecoveryInCluster(Recovery):
    """The same, with feeds that may lose something without an interruption."""

    is_lossy = True


class RecoveryOfThree(Recovery):
    """The same with three nodes."""

    nodes_there = 3


class RecoveryOfThreeInCluster(RecoveryInCluster):
    """The same with three nodes."""

    nodes_there = 3


class Undisturbed(RecoveryOfThree):
    """Nothing fails: what a client gets live is in order over all topics, with and without a history."""

    may_fail = False


KINDS: tuple[type[Recovery], ...] = (
    Recovery,
    RecoveryInCluster,
    RecoveryOfThree,
    RecoveryOfThreeInCluster,
    Undisturbed,
)
