"""Addresses that servers name, and everything else that may go wrong on the way to a server.

A Sentinel, a cluster and an answer MOVED tell where to connect. Once a port over 65535 among them, of which
asyncio makes an OverflowError, ended the reconnecting for ever, without a word; uvloop connected to the port
modulo 65536.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rr_py_ws.adapters.brokers.redis import RedisBroker
from rr_py_ws.adapters.brokers.redis.connection import Connection, ErrorReply
from rr_py_ws.adapters.brokers.redis.connector import Connector
from rr_py_ws.adapters.brokers.redis.discovery import moved_to, parse_address, server_address
from rr_py_ws.adapters.brokers.redis.masters import Masters
from rr_py_ws.address import Address, TCPAddress, UnixAddress
from rr_py_ws.config import RedisOptions
from rr_py_ws.errors import BrokerError, ConfigError
from support.broker_node import Node
from support.loops import both_loops
from support.redis_nodes import Start, works
from support.redis_servers import ScriptedRedis, resp
from support.waiting import eventually

pytestmark = both_loops

BAD = [
    (b"127.0.0.1", 70_000),
    (b"127.0.0.1", 65_536),
    (b"127.0.0.1", 0),
    (b"127.0.0.1", -1),
    (b"127.0.0.1", b"redis"),
    (b"127.0.0.1", b""),
    (b"127.0.0.1", b"\xd9\xa3"),  # a digit, but an Arabic one
    (b"127.0.0.1", b"9" * 5000),
    (b"127.0.0.1", None),
    (b"/tmp/redis.sock", 0),  # once the way to say a unix socket
    (b"a host", 6379),
    (b"a\0b", 6379),
    (b"a\nb", 6379),
    (b"\xff\xfe", 6379),
    (b"x" * 300, 6379),
]

READ_TIMEOUT = 60.0


@pytest.fixture
async def failures() -> AsyncIterator[list[dict[str, Any]]]:
    """What the loop complains of: tasks and futures that nobody has awaited, among others."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    yield found
    assert found == []


@pytest.fixture
async def server(failures: list[dict[str, Any]]) -> AsyncIterator[ScriptedRedis]:
    async with ScriptedRedis() as running:
        yield running


async def refuses(node: Node, reason: str) -> None:
    """Publishes and joins fail, and say why."""
    with pytest.raises(BrokerError, match=reason):
        node.send("a", b"1")
    with pytest.raises(BrokerError, match=reason):
        await node.subscribe("a")


class TestWhatAServerMayName:
    @pytest.mark.parametrize(("host", "port"), [*BAD, (b"", 6379), (None, 6379), ([], 6379)])
    def test_what_cannot_be_an_address_is_an_error_of_one_short_line(self, host: Any, port: Any) -> None:
        with pytest.raises(BrokerError, match=r"^[ -~]{1,250} cannot be the address of a redis server$"):
            server_address(host, port)

    @pytest.mark.parametrize(
        ("host", "port", "expected"),
        [
            (b"127.0.0.1", b"6379", "127.0.0.1:6379"),
            (b"127.0.0.1", 65_535, "127.0.0.1:65535"),
            (b"::1", 1, "[::1]:1"),
            (b"fe80::1%eth0", 6379, "[fe80::1%eth0]:6379"),
            (b"redis-0.my_redis.svc.cluster.local", 6379, "redis-0.my_redis.svc.cluster.local:6379"),
            ("żółw.example".encode(), 6379, "żółw.example:6379"),
        ],
    )
    def test_what_can_be_one_is_taken(self, host: bytes, port: Any, expected: str) -> None:
        assert str(server_address(host, port)) == expected

    @pytest.mark.parametrize("host", [None, b"", b"?"])
    def test_a_cluster_node_that_does_not_know_a_host_means_its_own(self, host: bytes | None) -> None:
        asked = TCPAddress("10.0.0.1", 6379)
        assert server_address(host, 6380, asked) == TCPAddress("10.0.0.1", 6380)
        assert moved_to(ErrorReply("MOVED 1 :6380"), asked) == TCPAddress("10.0.0.1", 6380)

    @pytest.mark.parametrize("text", ["MOVED", "MOVED 1", "MOVED 1 nowhere", "MOVED 1 a:70000", "MOVED 1 a:"])
    def test_where_a_slot_has_moved_is_checked_too(self, text: str) -> None:
        with pytest.raises(BrokerError, match="the address of a redis server"):
            moved_to(ErrorReply(text), TCPAddress("10.0.0.1", 6379))

    def test_addresses_of_the_configuration(self) -> None:
        assert parse_address("/run/redis.sock") == UnixAddress("/run/redis.sock")
        assert parse_address(":6379") == TCPAddress("localhost", 6379)
        assert parse_address("[::1]:6379") == TCPAddress("::1", 6379)
        with pytest.raises(
            ConfigError, match=r"^broadcast\.main\.config\.addrs: 'nowhere' is not an address"
        ):
            RedisBroker("main", RedisOptions.model_construct(addrs=("nowhere",), tls=None))


class TestSentinel:
    @pytest.mark.parametrize(("host", "port"), [(host, port) for host, port in BAD if port is not None])
    async def test_a_master_that_cannot_be_one_is_said_and_asked_for_again(
        self, server: ScriptedRedis, start: Start, host: bytes, port: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked = "SENTINEL GET-MASTER-ADDR-BY-NAME"
        server.says[asked] = resp([host, port if isinstance(port, bytes) else b"%d" % port])
        node = await start(server.address, master_name="main", pool_timeout=0.02)
        await refuses(node, f"the sentinel at {server.address}: .* cannot be the address of a redis server")
        log = capsys.readouterr().err
        assert log.count("redis not available, trying again") == 2  # once for each connection
        server.says[asked] = resp([server.address.split(":")[0], server.address.split(":")[1]])
        await works(node)

    async def test_the_next_sentinel_is_asked(self, server: ScriptedRedis, start: Start) -> None:
        async with ScriptedRedis() as liar:
            liar.says["SENTINEL GET-MASTER-ADDR-BY-NAME"] = resp([b"127.0.0.1", b"70000"])
            server.says["SENTINEL GET-MASTER-ADDR-BY-NAME"] = resp(server.address.split(":"))
            await works(await start(liar.address, server.address, master_name="main"))

    async def test_a_master_that_is_replaced_while_it_is_connected_to_is_left(
        self, server: ScriptedRedis, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Messages were published at the new master, and waited for at the old one, for ever."""
        connect, slow, connected = Connector.connect, asyncio.Event(), asyncio.Event()

        async def connect_slowly(self: Connector, address: Address, timeout: float) -> Connection:
            connection = await connect(self, address, timeout)
            if timeout == READ_TIMEOUT and not slow.is_set():  # the connection that receives
                connected.set()
                await slow.wait()
            return connection

        monkeypatch.setattr(Connector, "connect", connect_slowly)
        async with ScriptedRedis() as successor:
            server.says["SENTINEL GET-MASTER-ADDR-BY-NAME"] = resp(server.address.split(":"))
            options = {"read_timeout": READ_TIMEOUT, "write_timeout": 50.0}
            starting = asyncio.ensure_future(start(server.address, master_name="main", **options))
            await connected.wait()
            server.says["SENTINEL GET-MASTER-ADDR-BY-NAME"] = resp(successor.address.split(":"))
            await eventually(lambda: successor.asked, "the connection that publishes")
            slow.set()
            await works(await starting)


class TestCluster:
    @pytest.mark.parametrize(("host", "port"), BAD)
    async def test_another_node_whose_address_cannot_be_one_harms_nobody(
        self, server: ScriptedRedis, start: Start, host: bytes, port: Any
    ) -> None:
        """It is not connected to when the one that works is lost."""
        server.says["CLUSTER INFO"] = resp(b"cluster_state:ok")
        server.says["CLUSTER SLOTS"] = resp([[0, 16383, [host, port]]])
        node = await start(server.address, server.address)
        await works(node)
        for _ in range(3):
            server.cut()
            await eventually(lambda: not node.broker.ready)
            await works(node)


class TestSharded:
    @pytest.mark.parametrize(("host", "port"), BAD)
    async def test_a_master_whose_address_cannot_be_one_is_said_and_asked_for_again(
        self, server: ScriptedRedis, start: Start, host: bytes, port: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server.says["CLUSTER SLOTS"] = resp([[0, 16383, [host, port]]])
        node = await start(server.address, sharded=True, pool_timeout=0.02)
        await refuses(node, "cannot be the address of a redis server")
        log = capsys.readouterr().err
        assert log.count("the slots of the cluster cannot be read") == 1
        server.says["CLUSTER SLOTS"] = server.all_slots
        await works(node)

    @pytest.mark.parametrize(
        "where", ["127.0.0.1:70000", "127.0.0.1:0", "127.0.0.1:-1", "127.0.0.1:x", "nowhere", "\udcff:1"]
    )
    async def test_a_topic_that_moves_to_nowhere_is_not_forgotten(
        self, server: ScriptedRedis, start: Start, where: str
    ) -> None:
        """Once nobody had the channel any more: the client was in a topic that brought nothing, for ever."""
        server.says["CLUSTER SLOTS"] = server.all_slots
        node = await start(server.address, sharded=True)
        moved = f"-MOVED 1 {where}\r\n".encode("utf-8", "surrogateescape")
        server.says["SSUBSCRIBE"] = server.says["SPUBLISH"] = moved
        join = asyncio.ensure_future(node.subscribe("a"))
        await eventually(lambda: server.asked.count("SSUBSCRIBE") > 2, "several attempts")
        with pytest.raises(BrokerError, match="cannot be the address of a redis server"):
            await node.publish("a", b"1")
        del server.says["SSUBSCRIBE"], server.says["SPUBLISH"]
        await join
        await works(node)

    async def test_a_mistake_of_this_program_does_not_end_the_asking(
        self,
        server: ScriptedRedis,
        start: Start,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        attempts = []

        async def ask(self: Masters[Any]) -> Any:
            attempts.append(self)
            raise OverflowError("a mistake")

        server.says["CLUSTER SLOTS"] = server.all_slots
        with monkeypatch.context() as patch:
            patch.setattr(Masters, "_ask", ask)
            node = await start(server.address, sharded=True, pool_timeout=0.02)
            await refuses(node, "OverflowError: a mistake")
            await eventually(lambda: len(attempts) > 3, "several attempts")
        await works(node)
        assert capsys.readouterr().err.count("the slots of the cluster cannot be read") == 1


class TestOneServer:
    async def test_a_server_without_slots_that_says_moved_is_left_and_the_topic_kept(
        self, server: ScriptedRedis, start: Start
    ) -> None:
        """Once the channel was forgotten, and the join waited in vain."""
        node = await start(server.address)
        server.says["SUBSCRIBE"] = b"-MOVED 1 127.0.0.1:70000\r\n"
        join = asyncio.ensure_future(node.subscribe("a"))
        await eventually(lambda: server.asked.count("SUBSCRIBE") > 2, "several attempts")
        del server.says["SUBSCRIBE"]
        await join
        await works(node)

    async def test_a_server_that_ends_a_subscription_unasked_is_left_and_the_topic_kept(
        self, server: ScriptedRedis, start: Start
    ) -> None:
        node = await start(server.address)
        await node.subscribe("a")
        server.push(resp([b"unsubscribe", b"a", 0]))
        await eventually(lambda: node.missed == ["a"], "the end of the gap")
        await works(node)

    @pytest.mark.parametrize("error", [OverflowError("a mistake"), ValueError("a mistake"), MemoryError()])
    async def test_a_mistake_of_this_program_does_not_end_the_reconnecting(
        self,
        server: ScriptedRedis,
        start: Start,
        error: Exception,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The log says it once, with its place; callers get it meanwhile; and it is tried again."""
        attempts = []

        async def connect(self: Connector, *_: object) -> Connection:
            attempts.append(self)
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Connector, "connect", connect)
            node = await start(server.address, pool_timeout=0.02)
            await refuses(node, f"{type(error).__name__}: {error}")
            await eventually(lambda: len(attempts) > 6, "several attempts")
        await works(node)
        log = capsys.readouterr().err
        assert log.count("redis not available, trying again") == 2
        assert "test_addresses.py" in log  # of the traceback

    async def test_a_mistake_in_a_check_costs_the_connection_only(
        self, server: ScriptedRedis, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = await start(server.address)
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "request", lambda *_: 1 // 0)
            await eventually(lambda: not node.broker.ready, "a check")
        await works(node)

    async def test_a_host_name_that_cannot_be_one(self, start: Start) -> None:
        node = await start(f"{'x' * 70}:6379", pool_timeout=0.02)
        await refuses(node, f"redis at {'x' * 70}:6379: ")
