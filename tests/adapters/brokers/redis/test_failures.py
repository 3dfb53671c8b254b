"""Everything that can go wrong between a node and its Redis; the server is real, and so are its failures."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication
from support.broker_node import Node, done, started
from support.ports import free_port
from support.redis_nodes import IMPATIENT, Start, make_broker, redis_broker
from support.redis_servers import Monitor, Proxy, RedisServer
from support.waiting import eventually


async def wait_ready(node: Node) -> None:
    await eventually(lambda: node.broker.ready, "a broker that is ready")


async def wait_not_ready(node: Node) -> None:
    await eventually(lambda: not node.broker.ready, "a broker that is not ready")


async def works(node: Node) -> None:
    """Messages pass again, and nothing is said to be missed any more."""
    await wait_ready(node)
    node.received.clear()
    await node.publish("a", b"works")
    await node.wait_for("a", b"works")
    assert node.received == [("a", b"works")]


class TestDownAtTheStart:
    async def test_the_node_starts_says_so_and_recovers(
        self, tmp_path: Path, start: Start, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server = RedisServer(tmp_path)
        node = await start(server.address)
        assert not node.broker.ready
        log = capsys.readouterr().err
        assert (
            log.count("redis not available, trying again") == 2
        )  # once for each connection, whatever follows
        assert f"redis at {server.address}: Connection refused" in log
        join = asyncio.ensure_future(node.subscribe("a"))
        with pytest.raises(BrokerError, match=r"redis is not available: .*Connection refused"):
            node.send("a", b"1")
        try:
            server.start()
            await join
            await works(node)
            assert node.missed == []
        finally:
            server.close()
        assert "trying again" not in capsys.readouterr().err

    async def test_with_on_start_fail_it_does_not_start(self) -> None:
        broker = make_broker(f"127.0.0.1:{free_port()}", on_start="fail")
        with pytest.raises(BrokerError, match=r"redis at 127.0.0.1:.*: Connection refused"):
            await broker.start(lambda publication: None, lambda topics: None)
        assert not broker.ready
        with pytest.raises(BrokerError, match="not running"):
            broker.publish(Publication("a", b"1"))

    async def test_a_join_waits_for_pool_timeout_and_is_refused_with_the_reason(self, start: Start) -> None:
        node = await start(f"127.0.0.1:{free_port()}", pool_timeout=0.05)
        with pytest.raises(BrokerError, match=r"has not confirmed within 0.05 s: .*Connection refused"):
            await node.subscribe("a")

    async def test_a_host_that_does_not_answer_costs_dial_timeout(self, start: Start) -> None:
        with ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(3):  # its queue is full: the kernel does not answer further ones
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
            address = "{}:{}".format(*listener.getsockname())
            node = await start(address, dial_timeout=0.05)
            with pytest.raises(BrokerError, match=f"redis at {address}: no connection within 0.05 s"):
                node.send("a", b"1")

    async def test_a_host_that_does_not_exist_is_named(self, start: Start) -> None:
        node = await start("redis.invalid:6379")
        with pytest.raises(BrokerError, match=r"redis at redis.invalid:6379: "):
            node.send("a", b"1")


class TestLost:
    async def test_killed_and_started_again(self, own: RedisServer, node: Node) -> None:
        """Kill -9. What Redis has not answered fails; nobody can know whether it was published."""
        await node.subscribe("a", "b")
        own.freeze()
        unanswered = node.send("a", b"lost")
        await asyncio.sleep(0)  # the write at the end of the turn
        own.kill()
        with pytest.raises(BrokerError, match="connection lost before the answer"):
            await done(unanswered)
        await wait_not_ready(node)
        # That a connection is lost is known to it before there is none any more.
        with pytest.raises(BrokerError, match=r"redis (is not available|connection lost)"):
            node.send("a", b"refused at once")
        own.start()
        await wait_ready(node)
        assert sorted(node.missed) == ["a", "b"]
        await works(node)
        counters = redis_broker(node).counters
        assert (counters.gaps, counters.gap_topics, counters.connections_lost) == (1, 2, 2)
        assert counters.publish_failures == 2

    async def test_a_gap_is_logged_with_its_length(
        self, own: RedisServer, node: Node, capsys: pytest.CaptureFixture[str]
    ) -> None:
        await node.subscribe("a", "b")
        own.kill()
        await wait_not_ready(node)
        own.start()
        await wait_ready(node)
        log = capsys.readouterr().err
        assert log.count("redis connection lost") == 2
        assert log.count("messages may have been missed") == 1
        assert '"topics": 2, "seconds": ' in log

    async def test_a_gap_is_told_before_the_first_message_after_it(
        self, own: RedisServer, node: Node, start: Start
    ) -> None:
        other = await start(own.address)
        await node.subscribe("a")
        own.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: own.channels() == [])
        while not node.missed:
            await other.publish("a", b"1")
        await node.wait_received(1)
        assert node.received[0] == ("a", None)

    async def test_topics_that_were_left_meanwhile_are_not_subscribed_again(
        self, own: RedisServer, node: Node
    ) -> None:
        await node.subscribe("a", "b")
        own.kill()
        await wait_not_ready(node)
        node.unsubscribe("b")
        own.start()
        await works(node)
        await eventually(lambda: own.channels() == ["a"], "the end of what was kept for a page reload")

    async def test_a_join_during_an_outage_waits_for_its_end(self, own: RedisServer, node: Node) -> None:
        """Also one of a topic that somebody was in before: it is not subscribed now."""
        await node.subscribe("a")
        own.kill()
        await wait_not_ready(node)
        joins = asyncio.gather(node.subscribe("a"), node.subscribe("b"))
        await asyncio.sleep(0)
        own.start()
        await joins
        await wait_ready(node)  # the other connection, through which it publishes
        await node.publish("b", b"1")
        await node.wait_for("b", b"1")
        await works(node)

    async def test_10_000_topics_are_subscribed_again_in_batches(
        self, own: RedisServer, start: Start, monitor: Monitor
    ) -> None:
        node = await start(own.address, read_timeout=60.0)
        topics = [f"topic {number}" for number in range(10_000)]
        await node.subscribe(*topics)
        own.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: len(node.missed) == 10_000, "the end of the gap")
        assert node.missed == topics
        commands = [command for command in monitor.commands("SUBSCRIBE") if len(command) > 2]  # no trial
        assert [len(command) for command in commands] == [501] * 40
        assert len(own.channels()) == 10_000

    async def test_lost_again_in_the_middle_of_subscribing_again(
        self, own: RedisServer, start: Start
    ) -> None:
        node = await start(own.address, read_timeout=60.0)
        topics = [f"topic {number}" for number in range(10_000)]
        await node.subscribe(*topics)
        for _ in range(3):
            own.ask("CLIENT", "KILL", "TYPE", "pubsub")
            await wait_not_ready(node)
            await eventually(lambda: own.channels(), "some topics")
        await wait_ready(node)
        assert set(node.missed) == set(topics)
        for topic in topics[::100]:
            await node.publish(topic, b"1")
            await node.wait_for(topic, b"1")

    async def test_only_the_publishing_connection(self, own: RedisServer, node: Node) -> None:
        await node.subscribe("a")
        own.ask("CLIENT", "KILL", "TYPE", "normal")
        await wait_not_ready(node)
        own.ask("PUBLISH", "a", "of another node")
        await works(node)
        assert node.missed == []

    async def test_only_the_subscribed_connection(self, own: RedisServer, node: Node) -> None:
        await node.subscribe("a")
        own.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await wait_not_ready(node)
        await node.publish("nobody is here", b"1")
        await works(node)
        assert node.missed == ["a"]

    async def test_a_reset_connection(self, proxy: Proxy, start: Start) -> None:
        node = await start(proxy.address)
        await node.subscribe("a")
        proxy.cut()
        await wait_not_ready(node)
        await works(node)

    async def test_a_slow_node_that_redis_disconnects(self, own: RedisServer, node: Node) -> None:
        """The limit of the output buffer; here the node does not read while the test publishes."""
        own.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
        await node.subscribe("a")
        with own.session() as ask:
            for _ in range(3000):
                ask("PUBLISH", "a", "x" * 10_000)
        await wait_not_ready(node)
        await eventually(lambda: node.missed, "the gap")
        await works(node)


class TestSilent:
    async def test_stopped_and_continued(self, own: RedisServer, start: Start) -> None:
        """SIGSTOP. The kernel takes the bytes, nobody answers."""
        node = await start(own.address, **IMPATIENT)
        await node.subscribe("a")
        own.freeze()
        with pytest.raises(BrokerError, match=r"no answer for 0.4 s"):
            await node.publish("a", b"1")
        await eventually(lambda: redis_broker(node).counters.connections_lost == 2)
        own.thaw()
        await wait_ready(node)
        assert node.missed == ["a"]
        await works(node)

    async def test_a_half_open_connection_is_found_without_any_traffic(
        self, proxy: Proxy, start: Start
    ) -> None:
        node = await start(proxy.address, **IMPATIENT)
        await node.subscribe("a")
        proxy.divide()
        await wait_not_ready(node)
        await eventually(lambda: proxy.connections > 4, "attempts to connect again")
        proxy.heal()
        await works(node)
        assert node.missed[0] == "a"

    async def test_write_timeout_is_for_publishes(self, proxy: Proxy, start: Start) -> None:
        node = await start(proxy.address, write_timeout=0.1, read_timeout=60.0)
        proxy.divide()
        with pytest.raises(BrokerError, match=r"no answer for 0.1 s"):
            await node.publish("a", b"1")

    async def test_what_waits_for_redis_is_bounded(self, own: RedisServer, start: Start) -> None:
        node = await start(own.address, publish_queue=1_000_000, read_timeout=60.0)
        own.freeze()
        answers = []
        with pytest.raises(BrokerError, match=r"redis does not keep up: [0-9]+ bytes wait"):
            for _ in range(200):
                answers.append(node.send("a", b"x" * 100_000))
                await asyncio.sleep(0)
        own.thaw()
        for answer in answers:
            await done(answer)
        await node.publish("a", b"1")

    async def test_a_burst_within_one_turn_is_bounded_too(self, own: RedisServer, start: Start) -> None:
        """Nothing is written before the turn ends, and `PublishAsync` waits for no answer."""
        node = await start(own.address, publish_queue=1_000_000)
        answers = []
        with pytest.raises(BrokerError, match=r"redis does not keep up: [0-9]+ bytes wait"):
            for _ in range(200):
                answer = node.send("a", b"x" * 100_000)
                answers.append(answer)
        assert len(answers) == 10
        for answer in answers:
            await done(answer)
        await node.publish("a", b"1")

    async def test_a_node_that_stood_still_itself_does_not_blame_redis(
        self, own: RedisServer, start: Start
    ) -> None:
        node = await start(own.address, **IMPATIENT)
        await node.subscribe("a")
        answer = node.send("a", b"1")
        await asyncio.sleep(0)
        time.sleep(0.6)  # noqa: ASYNC251  # longer than read_timeout
        await done(answer)
        assert node.broker.ready
        assert node.missed == []


class TestRefused:
    async def test_a_wrong_password(self, own: RedisServer, start: Start) -> None:
        own.ask("CONFIG", "SET", "requirepass", "right")
        node = await start(own.address, password="wrong")
        assert not node.broker.ready
        with pytest.raises(BrokerError, match="WRONGPASS") as caught:
            node.send("a", b"1")
        assert "wrong" not in str(caught.value).replace("WRONGPASS", "")

    async def test_no_password(self, own: RedisServer, start: Start) -> None:
        own.ask("CONFIG", "SET", "requirepass", "right")
        node = await start(own.address)
        with pytest.raises(BrokerError, match="NOAUTH"):
            node.send("a", b"1")

    async def test_a_password_that_becomes_right(self, own: RedisServer, start: Start) -> None:
        node = await start(own.address, password="secret")
        assert not node.broker.ready
        own.ask("CONFIG", "SET", "requirepass", "secret")
        await node.subscribe("a")
        await works(node)

    async def test_a_topic_that_an_acl_forbids(self, own: RedisServer, start: Start) -> None:
        """It is refused alone, not with those that are joined in the same turn, and may be allowed later."""
        rights = ("on", ">p", "resetchannels", "&news*", "+publish", "+subscribe", "+unsubscribe")
        own.ask("ACL", "SETUSER", "app", *rights)
        node = await start(own.address, username="app", password="p")
        assert node.broker.ready
        joins = await asyncio.gather(
            *(node.subscribe(topic) for topic in ("news", "secret", "newsletter")), return_exceptions=True
        )
        assert [type(join) for join in joins] == [type(None), BrokerError, type(None)]
        assert "redis refuses the subscription: NOPERM" in str(joins[1])
        with pytest.raises(BrokerError, match="NOPERM"):
            await node.publish("secret", b"1")
        await node.publish("news", b"1")
        assert await node.wait_received(1) == [("news", b"1")]
        assert node.broker.ready
        assert redis_broker(node).counters.subscriptions_refused == 1
        own.ask("ACL", "SETUSER", "app", "&secret")
        await node.subscribe("secret")

    async def test_a_topic_that_an_acl_forbids_later_has_a_gap(self, own: RedisServer, start: Start) -> None:
        """Point 9.7: Redis ends the connection; who is in the topic would wait in silence for ever."""
        rights = ("on", ">p", "resetchannels", "&news*", "&secret", "+publish", "+subscribe", "+unsubscribe")
        own.ask("ACL", "SETUSER", "app", *rights)
        node = await start(own.address, username="app", password="p")
        await node.subscribe("secret")
        own.ask("ACL", "SETUSER", "app", "resetchannels", "&news*")
        await eventually(lambda: node.missed == ["secret"])
        assert redis_broker(node).counters.subscriptions_refused == 1

    async def test_no_connection_more(self, own: RedisServer, start: Start) -> None:
        with own.session() as ask:
            ask("CONFIG", "SET", "maxclients", "1")
            node = await start(own.address)
            assert not node.broker.ready
            ask("CONFIG", "SET", "maxclients", "100")
        await node.subscribe("a")
        await works(node)


class TestReplica:
    """A replica takes PUBLISH, answers it, and tells nobody but its own subscribers."""

    async def test_is_not_published_to(self, own: RedisServer, start: Start) -> None:
        own.ask("REPLICAOF", "127.0.0.1", free_port())
        node = await start(own.address)
        assert not node.broker.ready
        with pytest.raises(BrokerError, match="it is a read-only replica"):
            node.send("a", b"1")
        own.ask("REPLICAOF", "NO", "ONE")
        await node.subscribe("a")
        await works(node)

    async def test_a_server_that_becomes_one_is_noticed(self, own: RedisServer, node: Node) -> None:
        own.ask("REPLICAOF", "127.0.0.1", free_port())
        await wait_not_ready(node)
        with pytest.raises(BrokerError, match="it is a read-only replica"):
            node.send("a", b"1")


async def test_two_nodes_that_lose_their_redis_find_each_other_again(own: RedisServer, start: Start) -> None:
    nodes = [await start(own.address) for _ in range(2)]
    for node in nodes:
        await node.subscribe("a")
    for _ in range(3):
        own.kill()
        for node in nodes:
            await wait_not_ready(node)
        own.start()
        for node in nodes:
            await wait_ready(node)
        for node, other in (nodes, nodes[::-1]):
            await node.publish("a", b"1")
            await other.wait_for("a", b"1")
            other.received.clear()
            await node.wait_for("a", b"1")
            node.received.clear()


async def test_close_ends_everything_at_once(own: RedisServer) -> None:
    """Also joins that wait, publishes that are not answered, and connections that nobody accepts."""
    async with started(make_broker(own.address)) as node:
        own.freeze()
        join = asyncio.ensure_future(node.subscribe("a"))
        answer = node.send("a", b"1")
        await asyncio.sleep(0)
    for ended in (join, answer):
        assert ended is not None
        with pytest.raises(BrokerError):
            await ended
