"""A server that answers what its commands cannot have: nothing is believed, the connection is given up."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from itertools import count

import pytest

from rr_py_ws.adapters.brokers.redis.names import slot_of
from rr_py_ws.adapters.brokers.redis.replies import find_check, read_confirmation, unexpected
from rr_py_ws.errors import BrokerError
from support.broker_node import Node
from support.loops import both_loops
from support.redis_nodes import Start, redis_broker, works
from support.redis_servers import ScriptedRedis, resp
from support.waiting import eventually

pytestmark = both_loops

NO_NUMBERS = {
    "a status": b"+OK\r\n",
    "a text": b"$1\r\n1\r\n",
    "nothing": b"$-1\r\n",
    "a list": b"*2\r\n+pong\r\n+\r\n",
    "a number below zero": b":-1\r\n",
    "a double": b",1.5\r\n",
    "a boolean": b"#t\r\n",
    "a map": b"%1\r\n+a\r\n:1\r\n",
    "null": b"_\r\n",
}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRedis]:
    async with ScriptedRedis() as running:
        yield running


class TestPublish:
    @pytest.mark.parametrize("reply", NO_NUMBERS)
    async def test_only_a_number_says_that_it_was_published(
        self, server: ScriptedRedis, start: Start, reply: str
    ) -> None:
        node = await start(server.address)
        server.says["PUBLISH"] = NO_NUMBERS[reply]
        expected = f"^redis at {re.escape(server.address)}: it answered PUBLISH with .{{1,80}}$"
        with pytest.raises(BrokerError, match=expected):
            await node.publish("a", b"1")
        assert redis_broker(node).counters.published == 0
        assert redis_broker(node).counters.unanswered_bytes == 0
        await eventually(lambda: redis_broker(node).counters.connections_lost > 0)
        del server.says["PUBLISH"]
        await works(node)

    async def test_a_server_that_leaves_it_out_is_not_believed(
        self, server: ScriptedRedis, start: Start
    ) -> None:
        """The answer to the next check was taken for that to `PUBLISH`: the message counted as published."""
        node = await start(server.address, read_timeout=60.0)
        server.says["PUBLISH"] = b""
        with pytest.raises(BrokerError, match="it answered PUBLISH with a list of 4"):
            await node.publish("a", b"1")
        await eventually(lambda: redis_broker(node).counters.connections_lost > 0)
        del server.says["PUBLISH"]
        await works(node)

    async def test_what_waits_behind_it_fails_with_it(self, server: ScriptedRedis, start: Start) -> None:
        node = await start(server.address)
        server.says["PUBLISH"] = b"+OK\r\n"
        answers = [node.send("a", b"1") for _ in range(3)]
        for answer in answers:
            assert answer is not None
            with pytest.raises(BrokerError, match="it answered PUBLISH with b'OK'"):
                await answer  # type: ignore[misc]

    async def test_an_error_is_an_answer(self, server: ScriptedRedis, start: Start) -> None:
        node = await start(server.address)
        server.says["PUBLISH"] = b"-NOPERM " + b"x" * 100_000 + b"\r\n"
        with pytest.raises(BrokerError, match=r"^redis answered: NOPERM x{1,1000}$"):
            await node.publish("a", b"1")
        del server.says["PUBLISH"]
        await works(node)
        assert redis_broker(node).counters.connections_lost == 0


class TestConnecting:
    @pytest.mark.parametrize(
        ("command", "reply"),
        [
            ("AUTH", b":1\r\n"),
            ("SELECT", b"_\r\n"),
            ("CLIENT", b"*0\r\n"),
            ("PING", b"+OK\r\n"),
            ("PING", b"$4\r\nPANG\r\n"),
            ("HELLO", b":1\r\n"),
            ("HELLO", b"+OK\r\n"),
        ],
    )
    async def test_each_step_has_its_answer(
        self, server: ScriptedRedis, start: Start, command: str, reply: bytes
    ) -> None:
        server.says[command] = reply
        node = await start(server.address, password="p", db=1)
        with pytest.raises(BrokerError, match=f"redis at {server.address}: .*it answered {command} with "):
            node.send("a", b"1")
        del server.says[command]
        await works(node)

    async def test_slots_and_state_of_a_cluster(self, server: ScriptedRedis, start: Start) -> None:
        node = await start(server.address, server.address)
        server.says["CLUSTER INFO"] = b":1\r\n"
        await eventually(lambda: not node.broker.ready)
        with pytest.raises(BrokerError, match="it answered CLUSTER with 1"):
            node.send("a", b"1")
        server.says["CLUSTER INFO"] = resp("cluster_state:ok")
        await works(node)


class TestSubscribing:
    @pytest.mark.parametrize(
        "reply",
        [
            resp([b"subscribe", b"other", 1]),
            resp([b"subscribe", b"a", 0]),
            resp([b"subscribe", b"a", -1]),
            resp([b"subscribe", b"a", b"1"]),
            resp([b"subscribe", b"a"]),
            resp([b"subscribe", b"a", None]),
            resp([b"subscribe", b"a", 1, 1]),
            resp([b"ssubscribe", b"a", 1]),
            resp([b"psubscribe", b"a", 1]),
            resp([b"unsubscribe", b"a", 0]),
            resp([b"subscribe", None, 1]),
            resp([b"subscribe", 1, 1]),
            resp([b"subscribe", b"a", 1]) * 2,
            resp([b"message", b"a", 1]),
            resp([b"message", b"a"]),
            b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n#t\r\n",
            b"+OK\r\n",
            b":1\r\n",
            b"_\r\n",
        ],
    )
    async def test_only_the_channel_that_was_asked_for_is_confirmed(
        self, server: ScriptedRedis, start: Start, reply: bytes
    ) -> None:
        node = await start(server.address)
        await eventually(lambda: node.broker.ready)
        server.says["SUBSCRIBE"] = reply
        answer = node.broker.subscribe(["a"])
        await eventually(lambda: redis_broker(node).counters.connections_lost > 0)
        del server.says["SUBSCRIBE"]
        if answer is not None and reply != resp([b"subscribe", b"a", 1]) * 2:
            await answer  # by the next connection
        await works(node)

    async def test_a_confirmation_that_nobody_asked_for(self, server: ScriptedRedis, start: Start) -> None:
        node = await start(server.address)
        await works(node)
        server.push(resp([b"subscribe", b"b", 2]))
        await eventually(lambda: redis_broker(node).counters.connections_lost > 0)
        await works(node)

    @pytest.mark.parametrize("pong", [b"+OK\r\n", b":1\r\n", b"$-1\r\n", resp(["pong", "x"])])
    async def test_a_check_that_is_answered_with_something_else(
        self, server: ScriptedRedis, start: Start, pong: bytes
    ) -> None:
        node = await start(server.address)
        await works(node)
        server.says["PING"] = pong
        await node.broker.settle()
        await eventually(lambda: redis_broker(node).counters.connections_lost > 0)
        del server.says["PING"]
        await works(node)


class TestRules:
    """Which reply is which."""

    def test_confirmations(self) -> None:
        assert read_confirmation([b"subscribe", b"a", 1]) == (b"subscribe", b"a")
        assert read_confirmation([b"unsubscribe", b"a", 0]) == (b"unsubscribe", b"a")
        for wrong in (None, 1, b"OK", [], [b"subscribe", b"a", True], [b"subscribe", "a", 1]):
            assert read_confirmation(wrong) is None

    def test_a_command_without_a_rule_may_have_any_reply(self) -> None:
        assert find_check(("ECHO", "x"))(object())

    @pytest.mark.parametrize("reply", [b"x" * 99_999, [b"x"] * 99_999, "é\n" * 99_999, 10**1000, None])
    def test_errors_are_one_short_line(self, reply: object) -> None:
        assert re.fullmatch(r"it answered PUBLISH with [ -~]{1,400}", str(unexpected(b"PUBLISH", reply)))


class TestMoved:
    """Between an answer MOVED and the next look at the slots."""

    @pytest.fixture
    async def successor(self) -> AsyncIterator[ScriptedRedis]:
        async with ScriptedRedis() as running:
            yield running

    async def divided(
        self, server: ScriptedRedis, successor: ScriptedRedis, start: Start
    ) -> tuple[Node, str]:
        """Two masters, a topic of the first of them; no node tells the slots any more."""
        halves = [
            [first, last, [address.split(":")[0], int(address.split(":")[1])]]
            for first, last, address in ((0, 8191, server.address), (8192, 16383, successor.address))
        ]
        server.says["CLUSTER SLOTS"] = successor.says["CLUSTER SLOTS"] = resp(halves)
        node = await start(server.address, sharded=True, read_timeout=60.0, pool_timeout=50.0)
        await eventually(lambda: node.broker.ready)
        topic = next(f"t{number}" for number in count() if slot_of(b"t%d" % number) < 8192)
        server.says["CLUSTER SLOTS"] = successor.says["CLUSTER SLOTS"] = b""
        return node, topic

    async def moves(self, server: ScriptedRedis, successor: ScriptedRedis, node: Node, topic: str) -> None:
        moved = f"-MOVED {slot_of(topic.encode())} {successor.address}\r\n".encode()
        server.says["SPUBLISH"] = server.says["SSUBSCRIBE"] = moved
        await node.publish(topic, b"1")
        await eventually(lambda: "CLUSTER" in successor.asked[-3:], "the question for the slots")

    async def tells(self, server: ScriptedRedis, successor: ScriptedRedis) -> None:
        """Now the slots are known; who was asked before is asked again."""
        server.says["CLUSTER SLOTS"] = successor.says["CLUSTER SLOTS"] = successor.all_slots
        successor.cut()
        server.cut()

    async def test_a_topic_that_is_left_is_left(
        self, server: ScriptedRedis, successor: ScriptedRedis, start: Start
    ) -> None:
        """It was looked for where it was not subscribed yet, and subscribed there for ever."""
        node, topic = await self.divided(server, successor, start)
        await node.subscribe(topic, "stays")
        await self.moves(server, successor, node, topic)
        node.unsubscribe(topic)
        await self.tells(server, successor)
        await eventually(lambda: redis_broker(node).counters.lingering == 0, "the end of the topic")
        await eventually(lambda: node.broker.ready)
        assert server.channels | successor.channels == {b"stays"}

    async def test_a_topic_that_is_joined_is_joined(
        self, server: ScriptedRedis, successor: ScriptedRedis, start: Start
    ) -> None:
        """It had two subscriptions, of which the second was forgotten with the join that waited for it."""
        node, topic = await self.divided(server, successor, start)
        await self.moves(server, successor, node, topic)
        node.topics.add(topic)
        join = node.broker.subscribe([topic])
        await self.tells(server, successor)
        assert join is not None
        await join
        await eventually(lambda: node.broker.ready)
        await node.publish(topic, b"works")
        await node.wait_for(topic, b"works")
