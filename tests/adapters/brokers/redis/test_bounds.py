"""What is held for Redis has a bound: messages that are not answered, channels and joins that are left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from rr_py_ws.adapters.brokers.redis import RedisBroker, lingering, wanted
from rr_py_ws.adapters.brokers.redis.channels import Channel
from rr_py_ws.adapters.brokers.redis.lingering import Lingering
from rr_py_ws.adapters.brokers.redis.metrics import RedisMetrics
from rr_py_ws.config import RedisOptions
from rr_py_ws.errors import BrokerError
from support.broker_node import Node, started
from support.redis_nodes import Start, redis_broker
from support.redis_servers import RedisServer, ScriptedRedis
from support.waiting import eventually

SMALL = 10 + len("a") + 1400


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRedis]:
    async with ScriptedRedis() as running:
        yield running


class TestUnanswered:
    async def test_small_messages_count_as_what_they_take(self, server: ScriptedRedis, start: Start) -> None:
        """1.7 million futures waited for 64 MiB of messages: 569 MiB. All of it had been written long ago."""
        # The answer to a check would be taken for that to a message.
        node = await start(
            server.address, publish_queue=100 * SMALL, read_timeout=60.0, check_interval=3600.0
        )
        server.says["PUBLISH"] = b""
        server.asked.clear()  # a new connection tries whether it may publish
        counters = redis_broker(node).counters
        accepted = 0
        with pytest.raises(BrokerError, match=r"redis does not keep up: [0-9]+ bytes wait"):
            while True:
                node.send("a", bytes(10))
                accepted += 1
                if accepted % 10 == 0:
                    await asyncio.sleep(0)
        assert (accepted, counters.unanswered_bytes) == (101, 101 * SMALL)
        await eventually(lambda: server.asked.count("PUBLISH") == 101, "the socket has taken all")
        with pytest.raises(BrokerError, match="redis does not keep up"):
            node.send("a", b"1")

    async def test_answers_make_room(self, own: RedisServer, start: Start) -> None:
        node = await start(own.address, publish_queue=100 * SMALL)
        for _ in range(5):
            answers = [node.send("a", bytes(10)) for _ in range(101)]
            with pytest.raises(BrokerError, match="redis does not keep up"):
                node.send("a", b"1")
            for answer in answers:
                await answer  # type: ignore[misc]
            assert redis_broker(node).counters.unanswered_bytes == 0

    @pytest.mark.parametrize("sharded", [False, True])
    async def test_a_lost_connection_makes_room(
        self, server: ScriptedRedis, start: Start, sharded: bool
    ) -> None:
        server.says["CLUSTER SLOTS"] = server.all_slots
        node = await start(server.address, sharded=sharded)
        await eventually(lambda: node.broker.ready)
        server.says["PUBLISH"] = server.says["SPUBLISH"] = b""
        answers = [node.send("a", bytes(10)) for _ in range(50)]
        assert redis_broker(node).counters.unanswered_bytes == 50 * SMALL
        server.cut()
        for answer in answers:
            with pytest.raises(BrokerError, match="lost before the answer"):
                await answer  # type: ignore[misc]
        assert redis_broker(node).counters.unanswered_bytes == 0

    async def test_it_is_in_the_metrics(self, server: ScriptedRedis, start: Start) -> None:
        node = await start(server.address)
        server.says["PUBLISH"] = b""
        node.send("a", bytes(10))
        samples = {sample.name: sample.values for sample in redis_broker(node).metrics()}
        assert list(samples["redis_unanswered_bytes"].values()) == [SMALL]
        assert list(samples["redis_lingering"].values()) == [0]


def channels_alive() -> int:
    gc.collect()
    return sum(isinstance(found, Channel) for found in gc.get_objects())


class TestLeft:
    async def test_the_oldest_channels_leave_first_when_there_are_too_many(
        self, own: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One client that joined and left new names for ten seconds made the server hold 300 MiB."""
        monkeypatch.setattr(lingering, "_MOST_BYTES", 100 * (1024 + 2 * 8))
        broker = RedisBroker("default", RedisOptions(addrs=(own.address,)), linger=3600.0)
        before = channels_alive()  # of other tests, which the report of a failure may still hold
        async with started(broker) as node:
            for number in range(20):
                names = [f"{number:04}.{name:03}" for name in range(50)]
                await node.subscribe(*names)
                node.unsubscribe(*names)
                assert broker.counters.lingering <= 100
            left = [f"{number:04}.{name:03}" for number in (18, 19) for name in range(50)]
            await eventually(lambda: own.channels() == left)
            await node.subscribe(left[0])
            assert broker.counters.lingering == 99
            # What has left is freed when its answer has come.
            await eventually(lambda: channels_alive() - before == 100, "the channels that left to be freed")

    async def test_all_at_once_leave_in_several_turns(
        self, own: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """To leave 15,000 channels in one turn of the loop took a tenth of a second."""
        monkeypatch.setattr(wanted, "_SWEEP", 100)
        broker = RedisBroker("default", RedisOptions(addrs=(own.address,)), linger=0.0)
        async with started(broker) as node:
            names = [f"{number:04}" for number in range(1000)]
            await node.subscribe(*names)
            node.unsubscribe(*names)
            lingering = [broker.counters.lingering]
            while lingering[-1]:
                await asyncio.sleep(0)
                lingering.append(broker.counters.lingering)
            assert max(before - after for before, after in pairwise(lingering)) == 100
            await eventually(lambda: own.channels() == [])

    async def test_leaving_again_and_again_counts_once(self, own: RedisServer) -> None:
        broker = RedisBroker("default", RedisOptions(addrs=(own.address,)), linger=3600.0)
        async with started(broker) as node:
            for _ in range(1000):
                await node.subscribe("a", "b")
                node.unsubscribe("a", "b")
            assert broker.counters.lingering == 2
        assert broker.counters.lingering == 0

    async def test_an_outage_does_not_gather_what_comes_and_goes(
        self, start: Start, server: ScriptedRedis
    ) -> None:
        """Joins fail and are made again, of other topics and of the same; none of them stays."""
        node = await start(server.address, pool_timeout=0.1)
        await node.subscribe("stays")
        server.close()
        await eventually(lambda: not node.broker.ready)
        for number in range(5):
            with pytest.raises(BrokerError):
                await node.subscribe("stays", f"topic {number}")
            node.unsubscribe(f"topic {number}")
        await eventually(lambda: redis_broker(node).counters.lingering == 0)
        assert channels_alive() == 1
        [channel] = [found for found in gc.get_objects() if isinstance(found, Channel)]
        assert not channel.joins

    async def test_two_joins_that_name_a_topic_twice(self, own: RedisServer, node: Node) -> None:
        await asyncio.gather(node.subscribe("a", "a"), node.subscribe("a", "b", "a"))


class TestOrder:
    """The rules, without a server."""

    def test_oldest_first(self) -> None:
        counters = RedisMetrics()
        names = Lingering(counters)
        for number, name in enumerate((b"a", b"b", b"c", b"a")):
            names.add(name, float(number))
        assert counters.lingering == 3
        assert names.first_deadline == 1.0
        assert names.pop_expired(0.5, 500) == []
        assert names.discard(b"b")
        assert not names.discard(b"b")
        assert names.pop_expired(2.5, 500) == [b"c"]
        assert names.pop_expired(3.0, 500) == [b"a"]
        assert (names.first_deadline, counters.lingering) == (None, 0)

    def test_some_at_a_time(self) -> None:
        names = Lingering(RedisMetrics())
        for number in range(7):
            names.add(b"%d" % number, 0.0)
        assert [names.pop_expired(1.0, 3) for _ in range(4)] == [
            [b"0", b"1", b"2"],
            [b"3", b"4", b"5"],
            [b"6"],
            [],
        ]

    def test_too_many_leave_before_their_time(self) -> None:
        names = Lingering(RedisMetrics())
        long = bytes(1_000_000)
        for number in range(20):
            names.add(long + bytes([number]), 1.0)
        assert names.is_full
        assert [name[-1] for name in names.pop_expired(0.0, 500)] == list(range(12))
        assert not names.is_full
