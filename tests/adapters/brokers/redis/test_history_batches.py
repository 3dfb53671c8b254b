"""Messages of one turn of the loop that one run of the script keeps: nobody may notice but Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest

from rr_py_ws.adapters.brokers.redis.connection import ErrorReply
from rr_py_ws.adapters.brokers.redis.names import HistoryNames
from rr_py_ws.config import HistoryRule
from rr_py_ws.core.history import Receipt
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Position, Publication
from support.history_node import HistoryNode, HistoryNodes, payloads
from support.redis_nodes import redis_broker
from support.redis_servers import Cluster, Monitor, Proxy, RedisServer
from support.waiting import eventually


@pytest.fixture
async def nodes() -> AsyncIterator[HistoryNodes]:
    async with HistoryNodes() as running:
        yield running


def numbers(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


async def keep_at_once(node: HistoryNode, topic: str, messages: Sequence[bytes]) -> list[Position]:
    """Publish in one turn of the loop."""
    positions = await asyncio.gather(*(node.keep(topic, payload) for payload in messages))
    assert all(positions)
    return [str(position) for position in positions]


async def test_what_is_published_in_one_turn_is_one_run(
    own: RedisServer, nodes: HistoryNodes, monitor: Monitor
) -> None:
    node = await nodes.start(own.address)
    began = await node.recover("h", 0)
    await node.keep("h", b"the script is known now")
    before = len(monitor.commands("EVALSHA"))
    positions = await keep_at_once(node, "h", numbers(100))
    await node.wait_for("h", b"99")
    assert len(monitor.commands("EVALSHA")) == before + 1
    assert len(set(positions)) == 100
    assert [pushed.position for pushed in node.pushed[1:]] == positions
    other = await nodes.start(own.address)
    for at in (0, 50, 99):
        assert payloads(await other.recover("h", positions[at])) == numbers(99 - at, at + 1)
    assert (await other.recover("h", str(began.position))).reason == "trimmed"
    assert redis_broker(node).counters.unanswered_bytes == 0


@pytest.mark.parametrize("exclusive", [False, True])
async def test_a_run_is_bounded(
    own: RedisServer, nodes: HistoryNodes, monitor: Monitor, exclusive: bool
) -> None:
    """By messages and by bytes; who publishes more does not keep others from Redis."""
    node = await nodes.start(own.address, exclusive=exclusive, rule={"size": 1000, "bytes": 2**24})
    await node.recover("h", 0)
    await node.keep("h", b"the script is known now")
    before = len(monitor.commands("EVALSHA"))
    large = [b"%d" % number * 50_000 for number in range(10)]
    await keep_at_once(node, "h", [*numbers(300), *large])
    await node.wait_for("h", large[-1])
    assert node.payloads("h")[1:] == [*numbers(300), *large]
    assert len(monitor.commands("EVALSHA")) - before == 4
    assert payloads(await node.recover("h", 20)) == [*numbers(10, 290), *large]


async def test_more_in_one_turn_than_is_kept(own: RedisServer, nodes: HistoryNodes) -> None:
    for size, kept in ((1, 1), (7, 7), (30, 20)):
        node = await nodes.start(own.address, prefix=f"{size}:", rule={"size": size})
        await node.recover("h", 0)
        positions = await keep_at_once(node, "h", numbers(20))
        await node.wait_for("h", b"19")
        other = await nodes.start(own.address, prefix=f"{size}:", rule={"size": size})
        for one in (node, other):
            found = [await one.recover("h", position) for position in positions]
            whole = [recovery.reason == "" for recovery in found]
            assert whole == [False] * (19 - kept) + [True] * min(20, kept + 1)
            assert payloads(found[-kept]) == numbers(kept - 1, 21 - kept)
        stream = HistoryNames(f"{size}:h".encode()).stream.decode()
        assert own.ask("XLEN", stream) == kept


async def test_bytes_of_a_rule_hold_within_a_turn(own: RedisServer, nodes: HistoryNodes) -> None:
    node = await nodes.start(own.address, rule={"bytes": 1000})
    await node.keep("h", b"before")
    await keep_at_once(node, "h", [b"a" * 400, b"b" * 400, b"c" * 400])
    other = await nodes.start(own.address, rule={"bytes": 1000})
    assert payloads(await other.recover("h", 10)) == [b"b" * 400, b"c" * 400]
    await keep_at_once(node, "h", [b"d" * 400, b"e" * 5000])
    third = await nodes.start(own.address, rule={"bytes": 1000})
    assert [message.payload for message in (await third.recover("h", 10)).replay] == [b"e" * 5000]


async def test_topics_keep_the_order_of_their_publisher(own: RedisServer, nodes: HistoryNodes) -> None:
    """With a history or not, kept or not, with a key or not."""
    node, other = await nodes.start(own.address), await nodes.start(own.address)
    for one in (node, other):
        await one.join({"h1": 0, "h2": 0})
        await one.subscribe("plain")
    kinds: list[tuple[str, dict[str, object]]] = [
        ("h1", {}),
        ("h1", {}),
        ("plain", {}),
        ("h1", {}),
        ("h2", {}),
        ("h1", {"key": "a key"}),
        ("h1", {}),
        ("h1", {"skip_history": True}),
        ("h1", {}),
        ("h1", {"skip_history": True, "key": "another"}),
        ("h1", {}),
        ("h2", {"exclude": ("somebody",)}),
        ("plain", {"skip_history": True}),
        ("h2", {}),
    ]
    sent, answers = [], []
    for number in range(20):
        for place, (topic, options) in enumerate(kinds):
            payload = f"{number} {place}".encode()
            sent.append((topic, payload))
            filled = dict(options)
            if key := options.get("key"):
                filled["key"] = f"{key} {number}"
            answers.append(node.keep(topic, payload, **filled))
    await asyncio.gather(*answers)
    for one in (node, other):
        await eventually(lambda one=one: len(one.received) == len(sent), "all")  # type: ignore[misc]
        assert one.received == sent


async def test_each_is_told_of_its_own_message(own: RedisServer, nodes: HistoryNodes) -> None:
    """A key that is known, a message that was given up, and all others of the turn."""
    node = await nodes.start(own.address)
    await node.recover("h", 0)
    publish = node.broker.publish_once
    first = await _receipt(publish(Publication("h", b"1"), "key"))
    answers = [
        publish(Publication("h", b"2")),
        publish(Publication("h", b"never"), "key"),
        publish(Publication("h", b"3", exclude=("a", "b"))),
        publish(Publication("h", b"4")),
    ]
    given_up = answers[2]
    assert isinstance(given_up, asyncio.Future)
    given_up.cancel()
    second, again, fourth = [await _receipt(answer) for answer in answers if answer is not given_up]
    assert again == Receipt(first.position, duplicate=True)
    await node.wait_for("h", b"4")
    assert [(pushed.payload, pushed.exclude) for pushed in node.pushed] == [
        (b"1", ()),
        (b"2", ()),
        (b"3", ("a", "b")),
        (b"4", ()),
    ]
    told = [first.position, second.position, fourth.position]
    assert told == [pushed.position for pushed in node.pushed if pushed.payload != b"3"]


async def _receipt(answer: object) -> Receipt:
    receipt = await answer  # type: ignore[misc]
    assert isinstance(receipt, Receipt)
    return receipt


class TestSeveralTopics:
    @pytest.mark.parametrize("exclusive", [False, True])
    async def test_one_turn_is_one_run_and_keeps_the_order(
        self, own: RedisServer, nodes: HistoryNodes, monitor: Monitor, exclusive: bool
    ) -> None:
        """As long as messages are published as they are, also when topics take turns."""
        options = {"exclusive": exclusive}
        node, other = await nodes.start(own.address, **options), await nodes.start(own.address, **options)
        for one in (node, other):
            await one.join({"h1": 0, "h2": 0, "h3": 0})
        await node.keep("h1", b"the script is known now")
        before = len(monitor.commands("EVALSHA"))
        topics = ["h1", "h2", "h2", "h1", "h3"] * 10
        sent = [(topic, b"%d" % number) for number, topic in enumerate(topics)]
        positions = await asyncio.gather(*(node.keep(*one) for one in sent))
        for one in (node, other):
            await eventually(lambda one=one: one.received[1:] == sent, "all, in order")  # type: ignore[misc]
            assert [pushed.position for pushed in one.pushed[1:]] == positions
        runs = monitor.commands("EVALSHA")[before:]
        assert len(runs) == 1 or exclusive
        third = await nodes.start(own.address, **options)
        for topic in ("h1", "h2", "h3"):
            own_positions = [
                position for (name, _), position in zip(sent, positions, strict=True) if name == topic
            ]
            expected = [payload for name, payload in sent if name == topic]
            assert payloads(await third.recover(topic, str(own_positions[0]))) == expected[1:]

    async def test_publishers_are_answered_in_their_order(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        node = await nodes.start(own.address)
        answered: list[int] = []
        for number in range(20):
            answer = node.broker.publish(Publication(f"h{number % 3}", b"x"))
            assert isinstance(answer, asyncio.Future)
            answer.add_done_callback(lambda _, number=number: answered.append(number))  # type: ignore[misc]
        await eventually(lambda: len(answered) == 20, "all answers")
        assert answered == list(range(20))

    async def test_each_topic_has_its_rule(self, own: RedisServer, nodes: HistoryNodes) -> None:
        rules = HistoryRules(
            [HistoryRule(topics=("h1",), size=2, ttl=60.0), HistoryRule(topics=("h*",), size=5, ttl=60.0)]
        )
        node = await nodes.start(own.address, rules=rules)
        await asyncio.gather(*(node.keep(f"h{number % 3}", b"%d" % number) for number in range(30)))
        found = await node.join({"h0": 100, "h1": 100, "h2": 100})
        assert {topic: len(recovery.replay) for topic, recovery in found.items()} == {
            "h0": 5,
            "h1": 2,
            "h2": 5,
        }

    async def test_without_memory_no_topic_is_kept(self, own: RedisServer, nodes: HistoryNodes) -> None:
        """Redis refuses only the first write of a script: the others must not be kept because of that."""
        node, other = await nodes.start(own.address), await nodes.start(own.address)
        topics = ["h1", "h2", "h3"]
        positions = {topic: await node.keep(topic, b"kept") for topic in topics}
        await other.join({topic: str(position) for topic, position in positions.items()})
        own.ask("CONFIG", "SET", "maxmemory", 1)
        told = await asyncio.gather(*(node.keep(topics[number % 3], b"%d" % number) for number in range(9)))
        assert told == [None] * 9
        await eventually(lambda: len(other.received) == 9, "all")
        assert [payload for _, payload in other.received] == numbers(9)
        assert own.ask("KEYS", "rrws:?:{h?}:*") == []
        own.ask("CONFIG", "SET", "maxmemory", 0)
        for topic, position in positions.items():
            assert (await other.recover(topic, str(position))).reason == "epoch"
        assert redis_broker(node).counters.unkept == 9

    async def test_a_topic_that_is_refused_does_not_concern_the_others(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        """By its keys, for which Redis refuses all of a script, or by its channel."""
        keys = ("~rrws:?:{h1}:*", "~rrws:?:{h3}:*")
        channels = ("&h1", "&rrws:k:{h1}:h1", "&h2", "&rrws:k:{h2}:h2")
        for rights in ((*keys, "&*"), ("~*", *channels, "&rr-py-ws.*")):
            own.ask("ACL", "SETUSER", "ws", "reset", "on", ">secret", "resetchannels", *rights, "+@all")
            node = await nodes.start(own.address, username="ws", password="secret")
            topics = ["h1", "h2", "h3", "h1"]
            for _ in range(3):
                told = await asyncio.gather(
                    *(node.keep(topic, b"x") for topic in topics), return_exceptions=True
                )
                kinds = [type(one) for one in told]
                if "&*" in rights:
                    assert kinds == [str, type(None), str, str]
                else:
                    assert kinds == [str, str, ErrorReply, str]
            offsets = [int(str(position).split(".")[1]) for position in (told[0], told[3])]
            assert offsets[1] == offsets[0] + 1
            assert redis_broker(node).counters.unanswered_bytes == 0


class TestFailures:
    async def test_without_memory_all_of_a_turn_are_delivered_and_none_is_kept(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        node, other = await nodes.start(own.address), await nodes.start(own.address)
        position = (await keep_at_once(node, "h", numbers(3)))[-1]
        await other.recover("h", position)
        await node.recover("h", position)
        own.ask("CONFIG", "SET", "maxmemory", 1)
        told = await asyncio.gather(
            *(node.keep("h", payload, exclude=("a",)) for payload in numbers(5, 3)), node.keep("h", b"8")
        )
        assert told == [None] * 6
        for one in (node, other):
            await one.wait_for("h", b"8")
            assert one.payloads("h") == numbers(6, 3)
            assert [pushed.exclude for pushed in one.pushed] == [("a",)] * 5 + [()]
        own.ask("CONFIG", "SET", "maxmemory", 0)
        for one in (node, other, await nodes.start(own.address)):
            assert (await one.recover("h", position)).reason == "epoch"
        assert redis_broker(node).counters.unkept == 6
        assert node.missed == other.missed == []

    async def test_a_message_of_a_turn_that_cannot_be_added_ends_the_epoch_of_all(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        node = await nodes.start(own.address)
        position = (await keep_at_once(node, "h", numbers(3)))[-1]
        own.ask("ACL", "SETUSER", "ws", "on", ">secret", "~*", "&*", "+@all", "-xadd")
        other = await nodes.start(own.address, username="ws", password="secret")
        await other.recover("h", position)
        assert await asyncio.gather(*(other.keep("h", payload) for payload in numbers(3, 3))) == [None] * 3
        await other.wait_for("h", b"5")
        assert other.payloads("h") == numbers(3, 3)
        assert (await (await nodes.start(own.address)).recover("h", position)).reason == "epoch"

    async def test_a_user_who_may_not_run_scripts_delivers_all(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        own.ask("ACL", "SETUSER", "ws", "on", ">secret", "~*", "&*", "+@all", "-evalsha")
        node = await nodes.start(own.address, username="ws", password="secret")
        await node.subscribe("h")
        assert await asyncio.gather(*(node.keep("h", payload) for payload in numbers(5))) == [None] * 5
        await node.wait_for("h", b"4")
        assert node.payloads("h") == numbers(5)

    async def test_nobody_knows_what_became_of_a_turn_whose_answer_is_lost(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        async with Proxy(own.port) as proxy:
            node = await nodes.start(proxy.address)
            other = await nodes.start(own.address)
            began = await other.recover("h", 0)
            await node.keep("h", b"the script is known now")
            proxy.swallow(b"*1\r\n")
            answers = [asyncio.ensure_future(node.keep("h", payload)) for payload in numbers(5)]
            await other.wait_for("h", b"4")
            proxy.cut()
            told = await asyncio.gather(*answers, return_exceptions=True)
            assert [type(one) for one in told] == [BrokerError] * 5
            assert payloads(await other.recover("h", str(began.position)))[1:] == numbers(5)
            assert redis_broker(node).counters.publish_failures == 5
            assert redis_broker(node).counters.unanswered_bytes == 0

    async def test_a_connection_that_ends_before_a_turn_is_written(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        node = await nodes.start(own.address)
        await node.keep("h", b"the script is known now")
        answers = [asyncio.ensure_future(node.keep("h", payload)) for payload in numbers(5)]
        await node.broker.close()
        told = await asyncio.gather(*answers, return_exceptions=True)
        assert [type(one) for one in told] == [BrokerError] * 5

    async def test_more_than_may_wait_is_refused(self, own: RedisServer, nodes: HistoryNodes) -> None:
        async with Proxy(own.port) as proxy:
            node = await nodes.start(proxy.address, publish_queue=20_000)
            position = await node.keep("h", b"the script is known now")
            proxy.divide()
            answers = [asyncio.ensure_future(node.keep("h", payload)) for payload in numbers(100)]
            await asyncio.sleep(0)
            refused = [answer for answer in answers if answer.done()]
            assert 80 < len(refused) < 90
            for answer in refused:
                with pytest.raises(BrokerError, match="does not keep up"):
                    await answer
            proxy.heal()
            told = await asyncio.gather(*(answer for answer in answers if answer not in refused))
            assert all(told)
            assert redis_broker(node).counters.unanswered_bytes == 0
            # What was refused is not missing.
            other = await nodes.start(own.address)
            assert len((await other.recover("h", str(position))).replay) == len(told)


@pytest.mark.parametrize("sharded", [False, True])
async def test_a_turn_for_a_slot_that_has_moved(cluster: Cluster, nodes: HistoryNodes, sharded: bool) -> None:
    """All of it goes to the master that has the slot, once and in order."""
    prefix = f"{uuid4()}:"
    node = await nodes.start(*cluster.addresses, prefix=prefix, sharded=sharded)
    owner = cluster.owner(f"{prefix}h")
    cluster.move(f"{prefix}h", next(server for server in cluster.masters if server is not owner))
    positions = await keep_at_once(node, "h", numbers(10))
    assert [position.split(".")[1] for position in positions] == [str(number) for number in range(1, 11)]
    await node.join({"h": 0})
    await keep_at_once(node, "h", numbers(10, 10))
    await node.wait_for("h", b"19")
    assert node.payloads("h") == numbers(10, 10)
    assert payloads(await node.recover("h", 100)) == numbers(20)
