"""What every broker with histories must do, whatever they are kept in.

A new one is one more entry in `BROKERS`. The rules are those of `core.history.History` and of
`Broker.publish_once`: a call may answer now or later, and messages may come now or later, so nothing here
counts on either.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar
from uuid import uuid4

import pytest

from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.brokers.redis import RedisBroker
from rr_py_ws.config import HistoryRule, RedisOptions
from rr_py_ws.core.history import Page, Query, Receipt
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ports import Broker
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.wire.command import FROM_NOW, Wish
from rr_py_ws.wire.position import LONGEST
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.recovery import OFF, Recovery
from support.linked import LinkedBroker
from support.redis_servers import Cluster, RedisServer
from support.waiting import eventually

T = TypeVar("T")
Fixture = Callable[[str], object]
RULES = HistoryRules(
    [
        HistoryRule(topics=("off.but.one",), size=1, ttl=60.0),
        HistoryRule(topics=("news*", "é*"), size=5, ttl=60.0, bytes=1000),
        HistoryRule(topics=("brief*",), size=5, ttl=0.201),  # Redis takes whole milliseconds only
    ]
)
LIMIT = ReplayLimit(4, 900)


def memory(fixture: Fixture, rules: HistoryRules) -> Broker:
    return MemoryBroker(rules)


def redis(fixture: Fixture, rules: HistoryRules) -> Broker:
    server = fixture("redis")
    assert isinstance(server, RedisServer)
    return RedisBroker("default", RedisOptions(addrs=(server.address,), prefix=f"{uuid4()}:"), rules=rules)


def redis_of_our_own(fixture: Fixture, rules: HistoryRules) -> Broker:
    server = fixture("redis")
    assert isinstance(server, RedisServer)
    options = RedisOptions(addrs=(server.address,), prefix=f"{uuid4()}:", exclusive=True)
    return RedisBroker("default", options, rules=rules)


def redis_cluster(fixture: Fixture, rules: HistoryRules) -> Broker:
    cluster = fixture("cluster")
    assert isinstance(cluster, Cluster)
    return RedisBroker("default", RedisOptions(addrs=cluster.addresses, prefix=f"{uuid4()}:"), rules=rules)


def redis_sharded(fixture: Fixture, rules: HistoryRules) -> Broker:
    cluster = fixture("cluster")
    assert isinstance(cluster, Cluster)
    options = RedisOptions(addrs=cluster.addresses, prefix=f"{uuid4()}:", sharded=True)
    return RedisBroker("default", options, rules=rules)


def memory_behind_a_link(fixture: Fixture, rules: HistoryRules) -> Broker:
    return LinkedBroker(memory(fixture, rules), rules)


def redis_behind_a_link(fixture: Fixture, rules: HistoryRules) -> Broker:
    return LinkedBroker(redis(fixture, rules), rules)


BROKERS = [
    memory,
    memory_behind_a_link,
    redis,
    redis_behind_a_link,
    redis_of_our_own,
    redis_cluster,
    redis_sharded,
]
"""Each makes a broker that is not started, with these rules; it may ask for a fixture."""


class Node:
    """Stands for one process: joins topics as the core does, and keeps what arrives."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.received: list[Publication] = []
        self.gaps: list[str] = []
        self.subscribed: set[str] = set()

    async def start(self) -> None:
        await self.broker.start(self.received.append, self.gaps.extend)
        assert self.broker.history is not None
        self.history = self.broker.history

    async def publish(self, topic: str, *payloads: str, **options: object) -> list[Receipt]:
        """Publish; what has a position has arrived afterwards, if the topic is subscribed."""
        receipts = [
            await now(self.broker.publish_once(Publication(topic, payload.encode()), **options))  # type: ignore[arg-type]
            for payload in payloads
        ]
        if topic in self.subscribed:
            positions = {receipt.position for receipt in receipts if receipt.position}
            await eventually(
                lambda: positions <= {one.position for one in self.received}, "what was published"
            )
        return receipts

    async def subscribe(self, *topics: str) -> None:
        await now(self.broker.subscribe(topics))
        self.subscribed.update(topics)

    async def recover(self, wishes: Mapping[str, Wish], limit: ReplayLimit = LIMIT) -> dict[str, Recovery]:
        await self.subscribe(*wishes)
        return (await now(self.history.recover(wishes, limit)))()

    async def recover_one(self, topic: str, wish: Wish, limit: ReplayLimit = LIMIT) -> Recovery:
        return (await self.recover({topic: wish}, limit))[topic]

    async def read(
        self,
        topic: str,
        since: str = "",
        limit: int = 100,
        *,
        newest_first: bool = False,
        size: int = 1 << 20,
    ) -> Page:
        return await now(self.history.read(topic, Query(since, limit, newest_first, size)))

    async def position(self, topic: str = "news") -> Position:
        position = (await self.recover_one(topic, FROM_NOW)).position
        assert position is not None
        return position

    async def arrived(self, topic: str, *payloads: str) -> list[Publication]:
        def found() -> list[Publication]:
            return [publication for publication in self.received if publication.topic == topic]

        await eventually(lambda: len(found()) >= len(payloads))
        assert texts(found()) == list(payloads)
        return found()


async def now(answer: T | Awaitable[T]) -> T:
    """Wait for an answer that may be there already."""
    return await answer if isinstance(answer, Awaitable) else answer


def texts(publications: object) -> list[str]:
    return [publication.payload.decode() for publication in publications]  # type: ignore[attr-defined]


@pytest.fixture(params=BROKERS, ids=lambda make: make.__name__)
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    node = Node(request.param(request.getfixturevalue, RULES))
    await node.start()
    yield node
    await node.broker.close()
    assert node.gaps == []


async def test_a_topic_that_no_rule_fits_has_no_history(node: Node) -> None:
    assert not node.history.keeps("chat")
    assert await node.recover_one("chat", FROM_NOW) == Recovery(None, (), "off")
    assert await node.publish("chat", "1") == [Receipt(None, duplicate=False)]
    [publication] = await node.arrived("chat", "1")
    assert (publication.position, publication.time) == (None, 0.0)
    assert await node.read("chat") == Page((), None, "off")
    assert await now(node.history.clear("chat")) is None


async def test_what_arrives_has_the_position_that_the_publisher_was_told(node: Node) -> None:
    await node.subscribe("news")
    told = [receipt.position for receipt in await node.publish("news", "1", "2")]
    arrived = await node.arrived("news", "1", "2")
    assert [publication.position for publication in arrived] == told
    assert len(set(told)) == 2
    assert all(position is not None and len(position) <= LONGEST for position in told)
    assert arrived[0].time > 0


async def test_what_is_published_without_a_receipt_has_a_position(node: Node) -> None:
    await node.subscribe("news")
    assert await now(node.broker.publish(Publication("news", b"1"))) is None
    [publication] = await node.arrived("news", "1")
    assert publication.position is not None


@pytest.mark.parametrize("topic", ["news", "news with {tag}", "news {", "news }{", "é\u2028", "news *"])
async def test_what_came_after_a_position(node: Node, topic: str) -> None:
    if not node.history.keeps(topic):  # keys of this name cannot be in the slot of its channel
        assert "}{" in topic and await node.recover_one(topic, FROM_NOW) == OFF
        return
    position = await node.position(topic)
    assert await node.recover_one(topic, position) == Recovery(position)
    receipts = await node.publish(topic, "1", "2", "3")
    recovery = await node.recover_one(topic, position)
    assert (recovery.position, recovery.reason) == (position, "")
    assert texts(recovery.replay) == ["1", "2", "3"]
    assert [publication.position for publication in recovery.replay] == [one.position for one in receipts]
    assert receipts[0].position is not None
    assert texts((await node.recover_one(topic, receipts[0].position)).replay) == ["2", "3"]


async def test_each_topic_has_its_own_history(node: Node) -> None:
    await node.publish("news 1", "1")
    await node.publish("news 2", "2")
    found = await node.recover({"news 1": 9, "news 2": 9, "chat": 9})
    assert {topic: texts(one.replay) for topic, one in found.items()} == {
        "news 1": ["1"],
        "news 2": ["2"],
        "chat": [],
    }


async def test_exactly_as_much_as_the_rule_says_is_kept(node: Node) -> None:
    position = await node.position()
    receipts = await node.publish("news", *"123456")
    assert texts((await node.read("news")).publications) == [*"23456"]
    page = await node.read("news", position)
    assert (page.reason, texts(page.publications)) == ("trimmed", [*"23456"])
    assert (await node.recover_one("news", position)).reason == "trimmed"
    assert receipts[0].position is not None
    # At the position before the oldest that is kept, nothing is missing.
    recovery = await node.recover_one("news", receipts[0].position, ReplayLimit(5, 900))
    assert (recovery.reason, texts(recovery.replay)) == ("", [*"23456"])


async def test_payloads_are_kept_up_to_the_bytes_of_the_rule(node: Node) -> None:
    await node.publish("news", "a" * 400, "b" * 400, "c" * 400)
    assert [len(one.payload) for one in (await node.read("news")).publications] == [400, 400]
    await node.publish("news", "x" * 5000)
    assert [len(one.payload) for one in (await node.read("news")).publications] == [5000]


async def test_nobody_gets_what_is_older_than_its_time(node: Node) -> None:
    position = await node.position("brief")
    await node.publish("brief", "1")
    newest = await node.position("brief")

    async def expired() -> bool:
        return not (await node.read("brief")).publications

    await eventually(expired)
    assert await node.read("brief") == Page([], newest, "")
    assert await node.recover_one("brief", 9) == Recovery(newest)
    assert await node.recover_one("brief", newest) == Recovery(newest)
    assert await node.recover_one("brief", position) == Recovery(newest, reason="trimmed")
    [receipt] = await node.publish("brief", "2")
    recovery = await node.recover_one("brief", newest)
    assert (texts(recovery.replay), recovery.replay[0].position) == (["2"], receipt.position)


async def test_positions_of_other_histories(node: Node) -> None:
    await node.publish("news", "1")
    position = await node.position()
    epoch, offset, *rest = position.split(".")
    for wish, reason in (
        ("", "epoch"),
        ("x", "epoch"),
        ("x" * 1000, "epoch"),
        (".".join(["other", offset, *rest]), "epoch"),
        (".".join([epoch, str(int(offset) + 1), *rest]), "ahead"),
        (".".join([epoch, "9" * 16, *rest]), "ahead"),
    ):
        assert await node.recover_one("news", wish) == Recovery(position, reason=reason)


async def test_a_position_of_another_topic_is_none_of_this_one(node: Node) -> None:
    """Whoever mixes them up must not be told that nothing is missing."""
    [other] = await node.publish("news 1", "1")
    await node.publish("news 2", "2", "3")
    assert other.position is not None
    recovery = await node.recover_one("news 2", other.position)
    assert (recovery.reason, recovery.replay) == ("epoch", ())
    page = await node.read("news 2", other.position)
    assert (page.reason, texts(page.publications)) == ("epoch", [])


async def test_the_newest(node: Node) -> None:
    await node.publish("news", "1", "2", "3")
    recovery = await node.recover_one("news", 2)
    assert (texts(recovery.replay), recovery.reason) == (["2", "3"], "")
    assert recovery.position is not None
    assert texts((await node.recover_one("news", recovery.position)).replay) == ["2", "3"]
    assert texts((await node.recover_one("news", 9)).replay) == ["1", "2", "3"]


async def test_more_than_may_be_sent_at_once(node: Node) -> None:
    position = await node.position()
    await node.publish("news", *"12345")
    newest = await node.position()
    assert await node.recover_one("news", position) == Recovery(newest, reason="limit")
    recovery = await node.recover_one("news", 5)
    assert (texts(recovery.replay), recovery.reason) == ([*"2345"], "limit")
    small = ReplayLimit(100, 2)
    assert await node.recover_one("news", position, small) == Recovery(newest, reason="limit")


async def test_reading_in_pages_and_in_both_directions(node: Node) -> None:
    receipts = await node.publish("news", *"1234")
    newest = receipts[-1].position
    page = await node.read("news", limit=3)
    assert (texts(page.publications), page.position, page.reason) == ([*"123"], newest, "limit")
    since = page.publications[-1].position
    assert since is not None
    page = await node.read("news", since, limit=3)
    assert (texts(page.publications), page.position, page.reason) == (["4"], newest, "")
    page = await node.read("news", limit=2, newest_first=True)
    assert (texts(page.publications), page.reason) == ([*"43"], "limit")


@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_are_bounded_in_bytes_and_go_on_where_they_end(node: Node, newest_first: bool) -> None:
    """One message is answered however large it is."""
    sizes = {"a": 100, "b": 300, "c": 10, "d": 10, "e": 250}
    position = await node.position("news")
    receipts = await node.publish("news", *(name * size for name, size in sizes.items()))
    pages = []
    if newest_first:
        page = await node.read("news", position, newest_first=True, size=265)
        assert (texts(page.publications), page.reason) == (["e" * 250, "d" * 10], "limit")
        page = await node.read("news", newest_first=True, size=5)
        assert (texts(page.publications), page.reason) == (["e" * 250], "limit")
        page = await node.read("news", newest_first=True, size=670)
        assert (len(page.publications), page.reason) == (5, "")
        return
    while True:
        page = await node.read("news", position, size=200)
        pages += texts(page.publications)
        assert len(page.publications) == 1 or sum(map(len, texts(page.publications))) <= 200
        assert page.position == receipts[-1].position
        if not page.reason:
            break
        assert page.reason == "limit"
        position = str(page.publications[-1].position)
    assert pages == [name * size for name, size in sizes.items()]
    assert texts((await node.read("news", size=200)).publications) == ["a" * 100]


async def test_clearing_keeps_the_counter(node: Node) -> None:
    old = await node.position()
    [receipt] = await node.publish("news", "1")
    assert receipt.position is not None
    assert await now(node.history.clear("news")) == receipt.position
    assert await node.recover_one("news", receipt.position) == Recovery(receipt.position)
    assert (await node.recover_one("news", old)).reason == "trimmed"
    await node.publish("news", "2")
    assert texts((await node.recover_one("news", receipt.position)).replay) == ["2"]


async def test_who_is_excluded_is_kept_with_the_message(node: Node) -> None:
    await node.subscribe("news")
    await now(node.broker.publish_once(Publication("news", b"1", exclude=("a", "b"))))
    [arrived] = await node.arrived("news", "1")
    [kept] = (await node.recover_one("news", 1)).replay
    assert arrived.exclude == kept.exclude == ("a", "b")


async def test_what_is_published_under_a_key_is_published_once(node: Node) -> None:
    await node.subscribe("news", "news 2", "chat")
    [first] = await node.publish("news", "1", key="a")
    [again] = await node.publish("news", "other", key="a")
    assert (first.duplicate, again) == (False, Receipt(first.position, duplicate=True))
    assert not (await node.publish("news 2", "1", key="a"))[0].duplicate
    assert [one.duplicate for one in await node.publish("chat", "1", "2", key="a")] == [False, True]
    await node.publish("news", "2")
    await node.arrived("news", "1", "2")
    await node.arrived("news 2", "1")


async def test_what_skips_the_history_arrives_and_is_not_kept(node: Node) -> None:
    await node.subscribe("news")
    position = await node.position()
    assert await node.publish("news", "1", skip_history=True) == [Receipt(None)]
    [arrived] = await node.arrived("news", "1")
    assert arrived.position is None
    assert await node.recover_one("news", position) == Recovery(position)


async def test_many_publishers_at_once_get_positions_in_one_order(node: Node) -> None:
    await node.subscribe("news")
    answers = [node.broker.publish_once(Publication("news", b"%d" % number)) for number in range(50)]
    told = [(await now(answer)).position for answer in answers]
    arrived = await node.arrived("news", *map(str, range(50)))
    assert [publication.position for publication in arrived] == told
    offsets = [int(str(position).split(".")[1]) for position in told]
    assert offsets == list(range(offsets[0], offsets[0] + 50))
