"""What Redis lacks for histories is said at the start and by `check`, with the command that mends it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rr_py_ws.adapters.brokers.redis.advice import _NEEDED
from rr_py_ws.config import HistoryRule
from rr_py_ws.core.history_rules import HistoryRules
from support.history_node import HistoryNodes, payloads
from support.redis_nodes import make_broker
from support.redis_servers import Cluster, RedisServer

RULES = HistoryRules([HistoryRule(topics=("h*",), size=10, ttl=60.0)])


@pytest.fixture
async def nodes() -> AsyncIterator[HistoryNodes]:
    async with HistoryNodes() as running:
        yield running


async def advice(*addresses: str, rules: HistoryRules = RULES, **options: object) -> list[str]:
    broker = make_broker(*addresses, **options)
    broker._rules = rules
    return await broker.give_advice()


async def test_a_server_that_has_everything_needs_none(redis: RedisServer) -> None:
    assert await advice(redis.address) == []


@pytest.mark.parametrize("sharded", [False, True])
async def test_a_cluster_that_has_everything_needs_none(cluster: Cluster, sharded: bool) -> None:
    assert await advice(*cluster.addresses, sharded=sharded) == []


@pytest.mark.parametrize("rules", [RULES, HistoryRules([])])
async def test_who_is_not_let_in_is_told_so(own: RedisServer, rules: HistoryRules) -> None:
    """Silence would mean that nothing is wrong."""
    own.ask("ACL", "SETUSER", "ws", "on", ">secret", "+@all", "~*", "&*")
    assert await advice(own.address, rules=rules, username="ws", password="secret") == []
    (text,) = await advice(own.address, rules=rules, username="ws", password="old")
    assert text.startswith(f"not available now: redis at {own.address}: WRONGPASS")


@pytest.mark.parametrize("rules", [RULES, HistoryRules([])])
@pytest.mark.parametrize("missing", ["PUBLISH", "SUBSCRIBE"])
async def test_who_may_not_do_what_a_broker_does_is_told_so(
    own: RedisServer, rules: HistoryRules, missing: str
) -> None:
    own.ask("ACL", "SETUSER", "ws", "on", ">secret", "+@all", f"-{missing.lower()}", "~*", "&*")
    texts = await advice(own.address, rules=rules, username="ws", password="secret")
    assert f"not available now: redis at {own.address}: its user cannot {missing}" in texts[-1]


async def test_a_server_that_is_not_there_is_told() -> None:
    (text,) = await advice("127.0.0.1:1")
    assert text.startswith("not available now: redis at 127.0.0.1:1: ")
    (text,) = await advice("127.0.0.1:1", master_name="main")
    assert text.startswith("not available now: ")


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-ttl"])
async def test_a_policy_that_evicts(
    own: RedisServer, nodes: HistoryNodes, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own.ask("CONFIG", "SET", "maxmemory-policy", policy)
    host, port = own.address.split(":")
    (text,) = await advice(own.address)
    assert text.startswith(f"maxmemory-policy {policy} lets Redis drop histories")
    assert text.endswith(f"redis-cli -h {host} -p {port} CONFIG SET maxmemory-policy noeviction")
    await nodes.start(own.address)
    assert text in capsys.readouterr().err
    own.ask(*text.rpartition(f"-p {port} ")[2].split())
    assert await advice(own.address) == []


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        (("~*", "&chat.*", "&rrws:k:*"), ""),
        (("~chat.*", "&*"), "key"),
        (("~rrws:*", "&chat.*"), "channel"),
    ],
)
async def test_a_user_of_some_keys_and_channels(
    own: RedisServer, rules: tuple[str, ...], refused: str
) -> None:
    """Keys of all histories begin alike, and so do the channels beside them; topics are not asked for."""
    own.ask("ACL", "SETUSER", "ws", "on", ">secret", "+@all", *rules)
    texts = await advice(own.address, username="ws", password="secret")
    assert len(texts) == bool(refused)
    for text in texts:
        assert refused in text
        assert text.endswith(f"ACL SETUSER ws {_NEEDED}")


async def test_a_user_without_the_rights(
    own: RedisServer, nodes: HistoryNodes, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that is told is enough, and needs nothing more."""
    own.ask("ACL", "SETUSER", "ws", "on", ">secret", "&h*", "+publish", "+subscribe", "+ping")
    (text,) = await advice(own.address, username="ws", password="secret")
    assert text.startswith("histories cannot be kept: NOPERM")
    node = await nodes.start(own.address, username="ws", password="secret")
    assert text in capsys.readouterr().err
    assert node.broker.ready
    assert text.endswith(f"ACL SETUSER ws {_NEEDED}")
    own.ask("ACL", "SETUSER", "ws", *_NEEDED.replace("'", "").split())
    assert await advice(own.address, username="ws", password="secret") == []
    node = await nodes.start(own.address, username="ws", password="secret")
    began = await node.recover("h", 0)
    for number in range(20):
        assert await node.keep("h", b"x" * number, exclude=("me",), key=f"{number}")
    await node.wait_for("h", b"x" * 19)
    assert len(payloads(await node.recover("h", began.position or ""))) == 20
    history = node.broker.history
    assert history is not None
    assert await history.clear("h")  # type: ignore[misc]
    assert node.missed == []
