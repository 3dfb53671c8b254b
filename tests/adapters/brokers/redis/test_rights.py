"""Point 11: readiness is that Redis does what it is asked for, not that it answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rr_py_ws.adapters.brokers.redis import rights, subscriber
from rr_py_ws.errors import BrokerError
from support.broker_node import Node
from support.php_pool import RecordedLog
from support.redis_nodes import Start, works
from support.redis_servers import RedisServer
from support.waiting import eventually

EVERYTHING = ("on", ">p", "resetchannels", "&*", "+@all")
LITTLE = ("on", ">p", "resetchannels", "&*", "+publish", "+subscribe", "+unsubscribe")
USER: dict[str, Any] = {"username": "app", "password": "p"}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> RecordedLog:
    recorded = RecordedLog()
    monkeypatch.setattr(rights, "log", recorded)
    return recorded


def allow(server: RedisServer, *rules: str) -> None:
    assert server.ask("ACL", "SETUSER", "app", *rules) == "OK"


async def becomes_ready(node: Node) -> None:
    await eventually(lambda: node.broker.ready)
    await works(node)


@pytest.mark.parametrize("user", [EVERYTHING, LITTLE], ids=["everything", "little"])
@pytest.mark.parametrize("command", ["publish", "subscribe"])
async def test_a_user_without_a_command_is_not_ready_from_the_start(
    own: RedisServer, start: Start, user: tuple[str, ...], command: str
) -> None:
    allow(own, *user, f"-{command}")
    node = await start(own.address, **USER)
    assert not node.broker.ready
    allow(own, f"+{command}")
    await becomes_ready(node)


async def test_a_user_without_any_channel_is_not_ready_from_the_start(own: RedisServer, start: Start) -> None:
    """As a new user of Redis 7 is: it answers PING, and refuses every join and publish."""
    allow(own, *EVERYTHING, "resetchannels")
    node = await start(own.address, **USER)
    assert not node.broker.ready
    allow(own, "&*")
    await becomes_ready(node)


@pytest.mark.parametrize("first", ["join", "publish"])
async def test_where_redis_does_not_tell_the_first_refusal_tells(
    own: RedisServer, start: Start, log: RecordedLog, first: str
) -> None:
    allow(own, *LITTLE, "resetchannels")
    node = await start(own.address, **USER)
    with pytest.raises(BrokerError, match="NOPERM"):
        await (node.subscribe("a") if first == "join" else node.publish("a", b"1"))
    assert not node.broker.ready
    [event] = log.events("error")
    assert event == "not ready: redis refuses its user"
    assert "NOPERM" in log.text()
    allow(own, "&*")
    await becomes_ready(node)


@pytest.mark.parametrize("user", [EVERYTHING, LITTLE], ids=["everything", "little"])
async def test_a_user_of_some_channels_is_ready_whatever_others_are_asked_for(
    own: RedisServer, start: Start, user: tuple[str, ...]
) -> None:
    """Otherwise one client that asks for a strange topic would take the node out of the load balancer."""
    allow(own, *user, "resetchannels", "&news*")
    node = await start(own.address, **USER)
    assert node.broker.ready
    await node.publish("news", b"1")
    for asking in (node.subscribe("secret"), node.publish("secret", b"1")):
        with pytest.raises(BrokerError, match="NOPERM"):
            await asking
    assert node.broker.ready


@pytest.mark.parametrize("taken", [("-publish",), ("-subscribe",), ("resetchannels",)], ids="".join)
async def test_rights_that_are_taken_away_are_missed(
    own: RedisServer, start: Start, taken: tuple[str, ...]
) -> None:
    """While clients are connected; and given again."""
    allow(own, *EVERYTHING)
    node = await start(own.address, **USER)
    await becomes_ready(node)
    allow(own, *taken)

    async def is_refused() -> bool:
        asked = await asyncio.gather(node.subscribe("b"), node.publish("a", b"1"), return_exceptions=True)
        return any(isinstance(answer, BrokerError) for answer in asked)

    assert await is_refused()
    await eventually(lambda: not node.broker.ready)
    allow(own, "+@all", "&*")
    await becomes_ready(node)


async def test_a_user_that_may_not_unsubscribe_loses_nothing(
    own: RedisServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Point 11: a topic that is given up must not cost the others their connection, and so a gap."""
    recorded = RecordedLog()
    monkeypatch.setattr(subscriber, "limited", recorded)
    allow(own, *LITTLE, "-unsubscribe")
    node = await start(own.address, **USER)
    await becomes_ready(node)
    await node.subscribe("left")
    node.unsubscribe("left")
    await eventually(lambda: any("unsubscribe" in str(line) for line in recorded.lines))
    await works(node)
    await node.subscribe("left")
    await node.publish("left", b"again")
    await node.wait_for("left", b"again")
    assert node.missed == []


async def test_peers_are_told_in_words_of_ours(own: RedisServer, start: Start) -> None:
    allow(own, *LITTLE, "resetchannels")
    node = await start(own.address, **USER)
    for asking in (node.subscribe("a"), node.publish("a", b"1")):
        with pytest.raises(BrokerError) as caught:
            await asking
        assert "NOPERM" in str(caught.value)
        assert caught.value.public in ("redis refuses the subscription", "redis refuses it")
