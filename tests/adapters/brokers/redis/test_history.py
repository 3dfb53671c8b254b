"""Histories in Redis: what is kept, what comes back, and who else may publish and subscribe meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from rr_py_ws.adapters.brokers.redis.names import HistoryNames
from rr_py_ws.errors import BrokerError
from support.history_node import HistoryNodes, payloads
from support.redis_nodes import redis_broker
from support.redis_servers import Cluster, Monitor, RedisServer
from support.waiting import eventually


@pytest.fixture
async def nodes() -> AsyncIterator[HistoryNodes]:
    async with HistoryNodes() as running:
        yield running


KINDS = ("alone", "cluster", "sharded")


@pytest.fixture(params=KINDS)
def servers(request: pytest.FixtureRequest) -> tuple[tuple[str, ...], dict[str, bool]]:
    """Addresses of servers of each kind, and what a broker has to be told of them."""
    if request.param == "alone":
        server: RedisServer = request.getfixturevalue("redis")
        return (server.address,), {}
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.addresses, {"sharded": True} if request.param == "sharded" else {}


Servers = tuple[tuple[str, ...], dict[str, bool]]


async def test_who_comes_back_gets_what_was_missed(nodes: HistoryNodes, servers: Servers) -> None:
    addresses, options = servers
    node = await nodes.start(*addresses, prefix="1:", **options)
    began = await node.recover("h", 0)
    assert (began.reason, payloads(began)) == ("", [])
    positions = [await node.keep("h", b"%d" % number) for number in range(5)]
    await eventually(lambda: len(node.pushed) == 5, "what was published")
    assert [publication.position for publication in node.pushed] == positions
    other = await nodes.start(*addresses, prefix="1:", **options)
    for position, rest in zip([began.position, *positions], range(6), strict=True):
        found = await other.recover("h", position or "")
        assert (found.reason, payloads(found)) == ("", [b"%d" % number for number in range(rest, 5)])
        assert found.position == position
    assert node.missed == other.missed == []


async def test_what_was_accepted_is_here_when_the_broker_has_settled(
    nodes: HistoryNodes, servers: Servers
) -> None:
    """In a cluster the answer may come from one server and the message from another."""
    addresses, options = servers
    node = await nodes.start(*addresses, prefix=f"{uuid4()}:", **options)
    topics = [f"h{number}" for number in range(20)]
    await node.join(dict.fromkeys(topics, 0))
    for round in range(10):
        await asyncio.gather(*(node.keep(topic, b"%d" % round) for topic in topics))
        await node.broker.settle()
        assert len(node.pushed) == (round + 1) * len(topics)


class TestOthers:
    """RoadRunner, `redis-cli` and nodes without a history publish and subscribe plainly."""

    @pytest.mark.parametrize("exclusive", [False, True])
    async def test_plain_messages_come_between_those_of_a_history(
        self, nodes: HistoryNodes, servers: Servers, exclusive: bool
    ) -> None:
        addresses, options = servers
        section = options | {"prefix": f"{uuid4()}:"}
        node, other = [await nodes.start(*addresses, **section, exclusive=exclusive) for _ in range(2)]
        plain = await nodes.start(*addresses, **section, rule={"topics": ("nothing",)})
        positions = [(await node.recover("h", 0)).position]
        await other.recover("h", 0)
        await plain.subscribe("h")
        sent = []
        for number in range(20):
            payload = b"%d" % number
            if number % 3 == 0:
                assert await plain.keep("h", payload) is None
            else:
                positions.append(await (node if number % 3 == 1 else other).keep("h", payload))
            sent.append(payload)
            # Those of several publishers have an order only if one waits for the other.
            for one in (node, other) if exclusive else (node, other, plain):
                await one.wait_for("h", payload)
        assert node.payloads("h") == other.payloads("h") == sent
        kept = [payload for number, payload in enumerate(sent) if number % 3]
        expected = [] if exclusive else kept
        assert [one for one in plain.payloads("h") if int(one) % 3] == expected
        without = [pushed.payload for pushed in node.pushed if pushed.position is None]
        assert without == [payload for number, payload in enumerate(sent) if number % 3 == 0]
        assert {pushed.position for pushed in plain.pushed} <= {None}
        for at, position in enumerate(positions):
            assert payloads(await other.recover("h", position or "")) == kept[at:]
        assert redis_broker(node).counters.foreign == len(without)
        assert node.missed == other.missed == plain.missed == []

    async def test_the_same_text_from_everybody_at_once(self, nodes: HistoryNodes, servers: Servers) -> None:
        """A plain message may take the mark of one that is alike, which nobody can see."""
        addresses, options = servers
        section = options | {"prefix": f"{uuid4()}:"}
        node = await nodes.start(*addresses, **section)
        plain = await nodes.start(*addresses, **section, rule={"topics": ("nothing",)})
        began = await node.recover("h", 0)
        publishing = [(node if number % 2 else plain).keep("h", b"same") for number in range(200)]
        positions = [position for position in await asyncio.gather(*publishing) if position]
        await eventually(lambda: len(node.pushed) == 200, "all")
        arrived = [pushed.position for pushed in node.pushed if pushed.position]
        assert sorted(arrived) == sorted(positions)
        assert [
            message.position for message in (await node.recover("h", began.position or "")).replay
        ] == arrived
        assert node.missed == []

    async def test_redis_cli_publishes_and_subscribes(self, redis: RedisServer, nodes: HistoryNodes) -> None:
        node = await nodes.start(redis.address, prefix="cli:")
        await node.recover("h", 0)
        command = ("redis-cli", "-p", str(redis.port))
        pipe = asyncio.subprocess.PIPE
        listening = await asyncio.create_subprocess_exec(*command, "SUBSCRIBE", "cli:h", stdout=pipe)
        try:
            assert listening.stdout is not None
            said = [await listening.stdout.readline() for _ in range(3)]
            assert said[:2] == [b"subscribe\n", b"cli:h\n"]
            await node.keep("h", b"kept")
            said = [await listening.stdout.readline() for _ in range(3)]
            assert said == [b"message\n", b"cli:h\n", b"kept\n"]
        finally:
            listening.kill()
            await listening.communicate()
        publishing = await asyncio.create_subprocess_exec(*command, "PUBLISH", "cli:h", "plain", stdout=pipe)
        await publishing.communicate()
        await node.wait_for("h", b"plain")
        assert [(pushed.payload, bool(pushed.position)) for pushed in node.pushed] == [
            (b"kept", True),
            (b"plain", False),
        ]

    async def test_what_is_no_mark_is_passed_over(
        self, redis: RedisServer, nodes: HistoryNodes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        node = await nodes.start(redis.address, prefix="bad:")
        began = await node.recover("h", 0)
        marks = HistoryNames(b"bad:h").marks.decode()
        bad = [
            "",
            "mark",
            "mark x",
            "mark e.1.1 0 0 0",
            "mark e.1.1 x 0 0:0 ",
            "mark e.1.1 0 0 0:0 {",
            "clear",
        ]
        bad += ["clear x", "whole", "mark e.1.1 0 0 0:0 [1]\nx", "mark e.1.1 0 0 0:0 [1]", "\x00\xff"]
        for text in bad:
            redis.ask("PUBLISH", marks, text)
        await node.keep("h", b"1")
        await node.wait_for("h", b"1")
        assert payloads(await node.recover("h", began.position or "")) == [b"1"]
        assert "redis brought what is no mark of a message" in capsys.readouterr().err

    async def test_marks_of_messages_that_do_not_exist_do_no_harm(
        self, redis: RedisServer, nodes: HistoryNodes
    ) -> None:
        node = await nodes.start(redis.address, prefix="forged:")
        began = await node.recover("h", 0)
        epoch = str(began.position).split(".")[0]
        marks = HistoryNames(b"forged:h").marks.decode()
        for where in (f"{epoch}.9.1", f"{epoch}.4.4", "another.5.5", "another.1.1"):
            redis.ask("PUBLISH", marks, f"mark {where} 0 0 1:00000000 \nx")
        for payload in (b"1", b"2"):
            await node.keep("h", payload)
            await node.wait_for("h", payload)
        other = await nodes.start(redis.address, prefix="forged:")
        assert payloads(await other.recover("h", began.position or "")) == [b"1", b"2"]


async def test_a_topic_without_a_rule_costs_what_it_did(
    own: RedisServer, nodes: HistoryNodes, monitor: Monitor
) -> None:
    node = await nodes.start(own.address)
    before = len(monitor.commands())
    await node.subscribe("plain")
    await node.keep("plain", b"1")
    await node.wait_for("plain", b"1")
    asked = [command for command in monitor.commands()[before:] if command[0] != "PING"]
    asked = [command for command in asked if command[0] not in ("HELLO", "INFO")]
    assert asked == [["SUBSCRIBE", "plain"], ["PUBLISH", "plain", "1"]]


async def test_a_topic_cannot_be_called_like_the_marks_of_another(
    redis: RedisServer, nodes: HistoryNodes
) -> None:
    node = await nodes.start(redis.address)
    marks = HistoryNames(b"h").marks.decode()
    for use in (node.subscribe(marks), node.keep(marks, b"1")):
        with pytest.raises(BrokerError, match="cannot begin with rrws:"):
            await use


async def test_a_counter_outlives_its_messages(redis: RedisServer, nodes: HistoryNodes) -> None:
    node = await nodes.start(redis.address, prefix="ttl:", rule={"ttl": 1.0})
    await node.keep("h", b"1")
    names = HistoryNames(b"ttl:h")
    assert 0 < redis.ask("PTTL", names.stream.decode()) <= 1500
    assert redis.ask("PTTL", names.meta.decode()) > 86_400_000


async def test_the_counter_lives_while_somebody_follows_it(own: RedisServer, nodes: HistoryNodes) -> None:
    node = await nodes.start(own.address, sweep=0.2)
    await node.recover("h", 0)
    meta = HistoryNames(b"h").meta.decode()
    own.ask("PEXPIRE", meta, 60_000)
    await eventually(lambda: own.ask("PTTL", meta) > 86_000_000, "a longer life")
