"""Histories when Redis loses, forgets, refuses or replaces something.

Three things are never allowed: that somebody is told that nothing is missing when something is, an error that
stays, and that live messages stop because a history cannot be kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from rr_py_ws.adapters.brokers.redis.names import HistoryNames
from rr_py_ws.errors import BrokerError
from support.history_node import HistoryNode, HistoryNodes, payloads
from support.redis_nodes import redis_broker
from support.redis_servers import Monitor, Proxy, RedisServer, Sentinels, redis_server
from support.waiting import eventually

NAMES = HistoryNames(b"h")
STREAM, META = NAMES.stream.decode(), NAMES.meta.decode()


@pytest.fixture
async def nodes() -> AsyncIterator[HistoryNodes]:
    async with HistoryNodes() as running:
        yield running


async def history_of_three(node: HistoryNode) -> list[str]:
    """Three messages, the last of which has arrived; the positions before each and after all."""
    began = await node.recover("h", 0)
    assert began.position is not None
    positions = [began.position, *[str(await node.keep("h", payload)) for payload in (b"1", b"2", b"3")]]
    await node.wait_for("h", b"3")
    return positions


async def goes_on(node: HistoryNode, *others: HistoryNode) -> None:
    """What is published now gets a position, arrives everywhere, and can be come back to."""
    for payload in (b"on", b"and on"):
        position = await node.keep("h", payload)
        assert position
        for one in (node, *others):
            await one.wait_for("h", payload)
    assert (await node.recover("h", position)).reason == ""
    assert payloads(await node.recover("h", 1)) == [b"and on"]


class TestLostKeys:
    @pytest.mark.parametrize(
        "command", [("FLUSHALL",), ("DEL", META), ("DEL", META, STREAM), ("UNLINK", META)]
    )
    async def test_without_its_counter_a_history_is_another_one(
        self, own: RedisServer, nodes: HistoryNodes, command: tuple[str, ...]
    ) -> None:
        node = await nodes.start(own.address)
        positions = await history_of_three(node)
        own.ask(*command)
        other = await nodes.start(own.address)
        for position in positions:
            assert (await other.recover("h", position)).reason == "epoch"
        await goes_on(node, other)
        # Also where the messages were known, as soon as the new history is.
        assert [(await node.recover("h", position)).reason for position in positions] == ["epoch"] * 4
        assert node.missed == other.missed == []

    async def test_an_epoch_that_is_there_again_ends_again(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        """A backup brings it, or a replica that has missed its end: what came since is lost."""
        node, other = await nodes.start(own.address), await nodes.start(own.address)
        positions = await history_of_three(node)
        for key in (META, STREAM):
            own.ask("RENAME", key, f"backup:{key}")
        await node.keep("h", b"4")
        await node.wait_for("h", b"4")
        for key in (META, STREAM):
            own.ask("RENAME", f"backup:{key}", key)
        await other.keep("h", b"5")
        await node.wait_for("h", b"5")
        assert node.payloads("h") == [b"1", b"2", b"3", b"4", b"5"]
        assert node.missed == ["h"]
        for one in (node, other):
            assert (await one.recover("h", positions[-1])).reason == "epoch"
        await goes_on(node, other)

    async def test_a_counter_that_begins_anew_takes_no_old_messages_over(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        node = await nodes.start(own.address)
        await history_of_three(node)
        own.ask("DEL", META)
        await goes_on(node)
        other = await nodes.start(own.address)
        assert payloads(await other.recover("h", 100)) == [b"on", b"and on"]

    async def test_messages_that_are_lost_are_told(self, own: RedisServer, nodes: HistoryNodes) -> None:
        node = await nodes.start(own.address)
        positions = await history_of_three(node)
        own.ask("DEL", STREAM)
        other = await nodes.start(own.address)
        reasons = [(await other.recover("h", position)).reason for position in positions]
        assert reasons == ["trimmed", "trimmed", "trimmed", ""]
        await goes_on(node, other)
        third = await nodes.start(own.address)
        found = [await third.recover("h", position) for position in positions]
        assert [recovery.reason for recovery in found] == ["trimmed", "trimmed", "trimmed", ""]
        assert payloads(found[-1]) == [b"on", b"and on"]

    @pytest.mark.parametrize("offset", [1, 2, 3])
    async def test_a_message_that_somebody_deletes_is_a_hole(
        self, own: RedisServer, nodes: HistoryNodes, offset: int
    ) -> None:
        node = await nodes.start(own.address)
        positions = await history_of_three(node)
        [[entry, _]] = own.ask("XRANGE", STREAM, offset, offset)
        own.ask("XDEL", STREAM, entry)
        other = await nodes.start(own.address)
        reasons = [(await other.recover("h", position)).reason for position in positions]
        assert reasons == ["trimmed"] * offset + [""] * (4 - offset)

    @pytest.mark.parametrize("key", [STREAM, META])
    async def test_a_key_that_is_something_else_is_replaced(
        self, own: RedisServer, nodes: HistoryNodes, key: str
    ) -> None:
        node = await nodes.start(own.address)
        positions = await history_of_three(node)
        own.ask("SET", key, "something else")
        other = await nodes.start(own.address)
        assert (await other.recover("h", positions[1])).reason in ("epoch", "trimmed")
        await goes_on(node, other)

    async def test_an_entry_that_is_none_stops_nobody(self, own: RedisServer, nodes: HistoryNodes) -> None:
        """Somebody else has written it: what it should be, nobody knows."""
        node = await nodes.start(own.address)
        await history_of_three(node)
        fields = ("payload", "4", "time", 2**50, "previous", 1, "sum", 3, "exclude", "[")
        own.ask("XADD", STREAM, "4-1", *fields)
        own.ask("HSET", META, "top", 4, "nonce", 1)
        other = await nodes.start(own.address)
        assert (await other.recover("h", 0)).reason == "off"
        await node.keep("h", b"5")  # there is a hole before it
        await node.wait_for("h", b"5")
        assert node.missed == ["h"]

    async def test_what_is_evicted_is_told(self, own: RedisServer, nodes: HistoryNodes) -> None:
        node = await nodes.start(own.address)
        positions = await history_of_three(node)
        own.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        own.ask("CONFIG", "SET", "maxmemory", used_memory(own) + 200_000)

        def evict() -> bool:
            own.ask("SET", f"filler {evict.count}", "x" * 50_000)  # type: ignore[attr-defined]
            evict.count += 1  # type: ignore[attr-defined]
            return own.ask("EXISTS", STREAM, META) != 2

        evict.count = 0  # type: ignore[attr-defined]
        await eventually(evict, "an eviction of either")
        other = await nodes.start(own.address)
        assert (await other.recover("h", positions[1])).reason in ("epoch", "trimmed")
        own.ask("CONFIG", "SET", "maxmemory", 0)
        await goes_on(node, other)

    async def test_an_empty_server_after_a_restart_is_another_history(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        node = await nodes.start(own.address)
        positions = await history_of_three(node)
        own.kill()
        own.start()
        # The subscription was interrupted, and nobody knows what was published meanwhile.
        await eventually(lambda: node.missed == ["h"], "a gap")
        assert (await node.recover("h", positions[1])).reason == "epoch"
        await goes_on(node)
        assert node.missed == ["h"]


class TestScripts:
    async def test_scripts_are_flushed_under_load(self, own: RedisServer, nodes: HistoryNodes) -> None:
        node = await nodes.start(own.address)
        await node.recover("h", 0)
        expected = [b"%d" % number for number in range(400)]
        for at in range(0, 400, 20):
            answers = [node.keep("h", payload) for payload in expected[at : at + 20]]
            own.ask("SCRIPT", "FLUSH")
            assert all(await asyncio.gather(*answers))
            own.ask("SCRIPT", "FLUSH")
        await node.wait_for("h", expected[-1])
        assert node.payloads("h") == expected
        assert payloads(await node.recover("h", 50)) == expected[-50:]

    async def test_without_memory_live_delivery_goes_on(self, own: RedisServer, nodes: HistoryNodes) -> None:
        node, other = await nodes.start(own.address), await nodes.start(own.address)
        positions = await history_of_three(node)
        assert (await other.recover("h", positions[0])).reason == ""
        own.ask("CONFIG", "SET", "maxmemory", used_memory(own) // 2)
        for payload in (b"unkept", b"unkept, too"):
            assert await node.keep("h", payload) is None
            for one in (node, other):
                await one.wait_for("h", payload)
        for position in positions:
            for one in (node, other, await nodes.start(own.address)):
                assert (await one.recover("h", position)).reason == "off"
        with pytest.raises(BrokerError, match="OOM"):  # once means once, or not at all
            await node.keep("h", b"x", key="a key")
        own.ask("CONFIG", "SET", "maxmemory", 0)
        await goes_on(node, other)
        assert (await node.recover("h", positions[-1])).reason == "epoch"
        assert redis_broker(node).counters.unkept == 2
        assert node.payloads("h") == [b"1", b"2", b"3", b"unkept", b"unkept, too", b"on", b"and on"]
        assert node.missed == other.missed == []

    async def test_when_redis_takes_no_writes_live_delivery_goes_on(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        """Not even the end of the epoch can be written then: the node sees to it when it can."""
        node, other = await nodes.start(own.address), await nodes.start(own.address)
        positions = await history_of_three(node)
        await other.recover("h", positions[0])
        own.ask("CONFIG", "SET", "min-replicas-to-write", 1)
        assert await node.keep("h", b"unkept") is None
        for one in (node, other):
            await one.wait_for("h", b"unkept")
        for one in (node, other, await nodes.start(own.address)):
            assert (await one.recover("h", positions[-1])).reason == "off"
        own.ask("CONFIG", "SET", "min-replicas-to-write", 0)
        await eventually(
            lambda: own.ask("HGET", META, "top") == "0", "a new epoch, though nothing is published"
        )
        assert (await (await nodes.start(own.address)).recover("h", positions[-1])).reason == "epoch"
        await goes_on(node, other)

    @pytest.mark.parametrize("rights", ["-evalsha -eval", "-@scripting", "-hset", "-hmget", "-pexpire"])
    async def test_without_the_rights_live_delivery_goes_on(
        self, own: RedisServer, nodes: HistoryNodes, rights: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        allowed = ("on", ">secret", "~*", "&*", "+@all", *rights.split())
        assert own.ask("ACL", "SETUSER", "ws", *allowed) == "OK"
        node = await nodes.start(own.address, username="ws", password="secret")
        assert (await node.recover("h", 0)).reason == "off"
        assert node.broker.ready
        for payload in (b"1", b"2"):
            assert await node.keep("h", payload) is None
            await node.wait_for("h", payload)
        assert (await node.recover("h", 5)).reason == "off"
        said = capsys.readouterr().err
        assert "NOPERM" in said or "can't run this command" in said or "ACL failure" in said
        own.ask("ACL", "SETUSER", "ws", "+@all")
        await eventually_keeps(node)

    async def test_a_message_that_cannot_be_added_ends_the_epoch(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        node = await nodes.start(own.address)
        positions = await history_of_three(node)
        own.ask("ACL", "SETUSER", "ws", "on", ">secret", "~*", "&*", "+@all", "-xadd")
        other = await nodes.start(own.address, username="ws", password="secret")
        assert await other.keep("h", b"unkept") is None
        await node.wait_for("h", b"unkept")
        for one in (node, other, await nodes.start(own.address)):
            assert (await one.recover("h", positions[-1])).reason == "epoch"
        await goes_on(node)

    async def test_without_the_channel_of_marks_a_topic_has_no_history(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        own.ask("ACL", "SETUSER", "ws", "on", ">secret", "~*", "resetchannels", "&h*", "+@all")
        node = await nodes.start(own.address, username="ws", password="secret")
        assert (await node.recover("h", 0)).reason == "off"
        assert await node.keep("h", b"1") is None
        await node.wait_for("h", b"1")


class TestServers:
    async def test_a_replica_that_lagged_takes_over(self, tmp_path: Path, nodes: HistoryNodes) -> None:
        """Its history goes on with other messages under the same numbers."""
        with redis_server(tmp_path) as old, redis_server(tmp_path) as replica:
            async with Proxy(old.port) as proxy:
                node = await nodes.start(proxy.address)
                positions = await history_of_three(node)
                replicate(old, replica)
                for payload in (b"4", b"5"):
                    positions.append(str(await node.keep("h", payload)))
                await node.wait_for("h", b"5")
                old.kill()
                proxy.lead_to(replica.port)
                await eventually(lambda: node.broker.ready, "a connection")
                await eventually_keeps(node)
                for payload in (b"6", b"7", b"8"):
                    await node.keep("h", payload)
                other = await nodes.start(replica.address)
                for position in positions:
                    assert (await other.recover("h", position)).reason == "epoch"
                    assert (await node.recover("h", position)).reason == "epoch"

    async def test_a_publisher_knows_what_a_replica_has_lost(
        self, tmp_path: Path, nodes: HistoryNodes
    ) -> None:
        """Nobody is in the topic, so nobody else can know; who comes back would be told that all is there."""
        with redis_server(tmp_path) as old, redis_server(tmp_path) as replica:
            async with Proxy(old.port) as proxy:
                first = await nodes.start(old.address)
                positions = await history_of_three(first)
                node = await nodes.start(proxy.address)
                replicate(old, replica)
                await node.keep("h", b"4")
                await first.wait_for("h", b"4")
                old.kill()
                proxy.lead_to(replica.port)
                await eventually(lambda: node.broker.ready, "a connection")
                await eventually_keeps(node)
                other = await nodes.start(replica.address)
                assert (await other.recover("h", positions[-1])).reason == "epoch"

    async def test_a_subscriber_is_told_of_what_only_others_know_that_a_replica_has_lost(
        self, tmp_path: Path, nodes: HistoryNodes
    ) -> None:
        """What arrives from the replica follows what has arrived before; still something was in between."""
        with redis_server(tmp_path) as old, redis_server(tmp_path) as replica:
            async with Proxy(old.port) as near, Proxy(old.port) as far:
                node, other = await nodes.start(near.address), await nodes.start(far.address)
                await history_of_three(node)
                replicate(old, replica)
                near.divide()
                for payload in (b"4", b"5"):
                    assert await other.keep("h", payload)
                old.kill()
                for proxy in (near, far):
                    proxy.lead_to(replica.port)
                near.heal()
                await eventually(lambda: not node.broker.ready or not other.broker.ready, "a loss")
                await eventually(lambda: node.broker.ready and other.broker.ready, "connections")
                assert await node.keep("h", b"6")
                await node.wait_for("h", b"6")
                assert await other.keep("h", b"7")
                await node.wait_for("h", b"7")
                assert node.payloads("h") == [b"1", b"2", b"3", b"6", b"7"]
                assert node.missed == ["h"]

    async def test_a_failover_that_loses_nothing_is_recovered_from(
        self, tmp_path: Path, nodes: HistoryNodes
    ) -> None:
        with ExitStack() as stack:
            sentinels = Sentinels(stack, tmp_path)
            node = await nodes.start(*sentinels.addresses, master_name="main")
            positions = await history_of_three(node)
            old = sentinels.master
            with old.session() as ask:
                ask("SET", "something", "what is waited for")
                assert ask("WAIT", 1, 10_000) == 1
            old.kill()
            await eventually(lambda: sentinels.master is not old, "another master")
            await eventually(lambda: node.broker.ready, "a connection")
            found = await node.recover("h", positions[0])
            assert (found.reason, payloads(found)) == ("", [b"1", b"2", b"3"])
            await node.keep("h", b"4")
            await node.wait_for("h", b"4")
            other = await nodes.start(*sentinels.addresses, master_name="main")
            assert payloads(await other.recover("h", positions[2])) == [b"3", b"4"]
            assert node.missed == []

    async def test_what_is_published_while_a_subscription_is_lost_follows(
        self, own: RedisServer, proxy: Proxy, nodes: HistoryNodes
    ) -> None:
        node, publisher = await nodes.start(proxy.address), await nodes.start(own.address)
        await history_of_three(node)
        proxy.divide()
        proxy.cut()
        for payload in (b"4", b"5"):
            await publisher.keep("h", payload)
        proxy.heal()
        await node.wait_for("h", b"5")
        await publisher.keep("h", b"6")
        await node.wait_for("h", b"6")
        assert node.payloads("h") == [b"1", b"2", b"3", b"4", b"5", b"6"]
        assert node.missed == []

    async def test_a_subscription_that_brings_nothing_is_found_out(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        """The server answers to PING on it."""
        async with Proxy(own.port) as proxy:
            node, publisher = await nodes.start(proxy.address, sweep=0.2), await nodes.start(own.address)
            await history_of_three(node)
            proxy.swallow(b"\r\nmessage\r\n")
            for payload in (b"4", b"5"):
                await publisher.keep("h", payload)
            await node.wait_for("h", b"5")
            await eventually(lambda: redis_broker(node).counters.connections_lost > 0, "another subscription")
            proxy.swallow(b"")
            await eventually(lambda: node.broker.ready, "a connection")
            await publisher.keep("h", b"6")
            await node.wait_for("h", b"6")
            assert node.payloads("h") == [b"1", b"2", b"3", b"4", b"5", b"6"]
            assert node.missed == []

    async def test_what_a_dead_subscription_did_not_bring_of_an_epoch_that_has_ended_is_told(
        self, own: RedisServer, nodes: HistoryNodes
    ) -> None:
        """Nobody can tell any more that there was something: so it is told of each such epoch."""
        async with Proxy(own.port) as proxy:
            node, publisher = await nodes.start(proxy.address, sweep=0.2), await nodes.start(own.address)
            await history_of_three(node)
            proxy.swallow(b"\r\nmessage\r\n")
            await publisher.keep("h", b"4")
            own.ask("FLUSHALL")
            await publisher.keep("h", b"5")
            await node.wait_for("h", b"5")
            assert node.missed == ["h"] or b"4" in node.payloads("h")

    async def test_a_join_waits_for_a_server_that_comes_back(
        self, own: RedisServer, proxy: Proxy, nodes: HistoryNodes
    ) -> None:
        node = await nodes.start(proxy.address)
        positions = await history_of_three(node)
        proxy.divide()
        proxy.cut()
        await eventually(lambda: not node.broker.ready)
        joining = asyncio.ensure_future(node.recover("h", positions[0]))
        proxy.heal()
        found = await joining
        assert (found.reason, payloads(found)) == ("", [b"1", b"2", b"3"])


def used_memory(server: RedisServer) -> int:
    return int(server.ask("INFO", "memory").split("used_memory:")[1].split()[0])


def replicate(old: RedisServer, replica: RedisServer) -> None:
    """Copy all that a server has, and no more."""
    replica.ask("REPLICAOF", "127.0.0.1", old.port)
    with old.session() as ask:
        ask("SET", "something", "what is waited for")
        assert ask("WAIT", 1, 10_000) == 1
    replica.ask("REPLICAOF", "NO", "ONE")


async def eventually_keeps(node: HistoryNode) -> None:
    """Publish until a message is kept."""
    for _ in range(200):
        with suppress(BrokerError):
            if await node.keep("h", b"again"):
                return
        await asyncio.sleep(0.02)
    raise AssertionError("no message was kept")


@pytest.fixture
def asked(own: RedisServer) -> Iterator[Monitor]:
    watching = Monitor(own)
    yield watching
    watching.close()


async def test_a_storm_of_clients_costs_few_questions(
    own: RedisServer, nodes: HistoryNodes, asked: Monitor
) -> None:
    writer = await nodes.start(own.address)
    positions = await history_of_three(writer)
    node = await nodes.start(own.address)
    kinds = ("SUBSCRIBE", "EVALSHA", "EVAL")
    before = len(asked.commands(*kinds))
    found = await asyncio.gather(*(node.recover("h", positions[number % 4]) for number in range(1000)))
    assert all(recovery.reason == "" for recovery in found)
    assert [len(recovery.replay) for recovery in found[:4]] == [3, 2, 1, 0]
    assert len(asked.commands(*kinds)) - before <= 4


async def test_a_client_that_leaves_takes_the_question_of_nobody(
    own: RedisServer, nodes: HistoryNodes
) -> None:
    """Many wait for one answer; who is the first to ask for it may be the first to go."""
    node = await nodes.start(own.address)
    await node.keep("h", b"1")
    if (subscribing := node.broker.subscribe(("h",))) is not None:
        await subscribing
    own.freeze()
    joining = [asyncio.ensure_future(node.recover("h", 1)) for _ in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    joining[0].cancel()
    own.thaw()
    found = await asyncio.gather(*joining[1:])
    assert [payloads(recovery) for recovery in found] == [[b"1"], [b"1"]]
