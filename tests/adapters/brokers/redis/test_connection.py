"""One connection, against a server that is told what to say: bytes that a real Redis would never send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rr_py_ws.adapters.brokers.redis import connection as redis_connection
from rr_py_ws.adapters.brokers.redis.connection import Connection, ErrorReply
from rr_py_ws.errors import BrokerError
from support.broker_node import started
from support.loops import both_loops
from support.redis_nodes import IMPATIENT, make_broker
from support.redis_servers import end_of
from support.waiting import eventually

pytestmark = both_loops


class Server(asyncio.Protocol):
    """The other end."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)


@asynccontextmanager
async def connected(timeout: float = 60.0) -> AsyncIterator[tuple[Connection, Server]]:
    loop = asyncio.get_running_loop()
    server = Server()
    listener = await loop.create_server(lambda: server, "127.0.0.1", 0)
    _, connection = await loop.create_connection(
        lambda: Connection(timeout), *listener.sockets[0].getsockname()
    )
    await eventually(lambda: hasattr(server, "transport"))
    try:
        yield connection, server
    finally:
        connection.close("end of test")
        server.transport.abort()
        listener.close()


async def test_requests_of_one_turn_are_one_write_in_order() -> None:
    async with connected() as (connection, server):
        replies = [connection.request("PUBLISH", "a", b"%d" % number) for number in range(100)]
        await eventually(lambda: server.reads)
        assert len(server.reads) == 1
        assert server.reads[0].startswith(b"*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$1\r\n0\r\n*3\r\n")
        server.transport.write(b"".join(b":%d\r\n" % number for number in range(100)))
        assert await asyncio.gather(*replies) == list(range(100))


async def test_replies_may_come_byte_by_byte() -> None:
    async with connected() as (connection, server):
        replies = [connection.request("A"), connection.request("B"), connection.request("C")]
        for byte in b"*2\r\n$1\r\na\r\n$-1\r\n-NOPERM no\r\n+OK\r\n":
            server.transport.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await replies[0] == [b"a", None]
        with pytest.raises(ErrorReply, match="redis answered: NOPERM no") as caught:
            await replies[1]
        assert caught.value.code == "NOPERM"
        assert await replies[2] == b"OK"


async def test_a_cancelled_request_takes_no_reply_from_another() -> None:
    async with connected() as (connection, server):
        first, second = connection.request("A"), connection.request("B")
        first.cancel()
        server.transport.write(b"+first\r\n+second\r\n")
        assert await second == b"second"


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what it sent is not Redis' protocol: "),
        (b"*-5\r\n", "what it sent is not Redis' protocol: "),
        (b"$99999999999999999999\r\n", "what it sent is not Redis' protocol: "),
        (b"*4000000000\r\n", "what it sent is not Redis' protocol: "),
        (b"*1\r\n" * 100_000, "what it sent is not Redis' protocol: "),
        (b"%1\r\n*1\r\n+a\r\n+b\r\n", "what it sent is not Redis' protocol: "),  # a list for a key
        (b"+OK\r\n", "it sent a reply that nobody asked for"),
    ],
)
async def test_what_no_redis_would_send_ends_the_connection(sent: bytes, reason: str) -> None:
    async with connected() as (connection, server):
        server.transport.write(sent)
        assert (await connection.lost).startswith(reason)
        with pytest.raises(BrokerError, match="redis connection lost: "):
            connection.request("PING")


@pytest.mark.parametrize(
    "sent", [b"$1000000\r\n" + bytes(70_000), b"*9000\r\n" + b":1\r\n" * 8000, b"+" + b"x" * 70_000]
)
async def test_a_reply_that_does_not_end_ends_the_connection(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was kept as long as it came."""
    monkeypatch.setattr(redis_connection, "_LARGEST", 30_000)
    async with connected() as (connection, server):
        answered = connection.request("A")
        server.transport.write(b"$20000\r\n" + bytes(20_000) + b"\r\n")
        assert await answered == bytes(20_000)
        for start in range(0, len(sent), 10_000):
            server.transport.write(sent[start : start + 10_000])
        assert await connection.lost == "it sent a reply of more than 30000 bytes"


async def test_a_server_that_always_has_more_leaves_others_their_turns() -> None:
    """libuv reads up to 32 times in a turn: that was a second of messages."""
    connection, transport = Connection(5.0), Pausable()
    connection.connection_made(transport)
    connection.on_reply = lambda reply: None
    connection.data_received(b":1\r\n" * 10_000)
    assert transport.reading
    connection.data_received(b":1\r\n" * 62_500)
    assert not transport.reading
    await asyncio.sleep(0)
    assert transport.reading
    connection.connection_lost(None)


class Pausable(asyncio.Transport):
    """Takes pauses."""

    reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False


async def test_what_is_not_answered_fails_when_the_connection_ends() -> None:
    async with connected() as (connection, server):
        unanswered = connection.request("PUBLISH", "a", "b")
        await eventually(lambda: server.reads)
        server.transport.close()
        with pytest.raises(BrokerError, match="lost before the answer: closed by the server"):
            await unanswered


async def test_requests_while_the_connection_ends_fail_and_nothing_else_happens() -> None:
    """uvloop does not take a write between the end of a socket and its news of that."""
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    for _ in range(20):
        async with connected() as (connection, server):
            answers = [connection.request("PING")]
            server.transport.abort()
            while not connection.lost.done():
                answers.append(connection.request("PING"))
                await asyncio.sleep(0)
            for answer in answers:
                with pytest.raises(BrokerError):
                    await answer
    assert failures == []


async def test_silence_ends_the_connection_only_when_something_is_expected() -> None:
    async with connected(timeout=0.05) as (connection, server):
        answered = connection.request("PING")
        await eventually(lambda: server.reads)
        server.transport.write(b"+PONG\r\n")
        await answered
        await asyncio.wait([connection.lost], timeout=0.3)
        assert not connection.lost.done()
        with pytest.raises(BrokerError, match=r"no answer for 0\.05 s"):
            await connection.request("PING")


async def test_messages_that_arrive_are_no_silence() -> None:
    """A busy subscriber whose PONG is behind a lot of messages."""
    async with connected(timeout=0.2) as (connection, server):
        received: list[Any] = []
        connection.on_reply = received.append
        connection.send((b"PING",), "an answer that never comes")
        for _ in range(20):
            server.transport.write(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n")
            await asyncio.wait([connection.lost], timeout=0.02)
        assert not connection.lost.done()
        await asyncio.wait([connection.lost], timeout=5.0)
        assert connection.lost.done()


FRAGMENTS = st.sampled_from(
    [
        b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
        b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n",
        b"*3\r\n$7\r\nmessage\r\n*0\r\n$-1\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n*1\r\n:1\r\n:1\r\n",
        b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        b"+PONG\r\n",
        b"-NOPERM\r\n",
        b"-MOVED 1 nowhere\r\n",
        b"-MOVED\r\n",
        b"-\r\n",
        b":1\r\n",
        b"*-1\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"\r\n",
        b"%1\r\n+a\r\n+b\r\n",
        b"%1\r\n*1\r\n+a\r\n+b\r\n",
        b"#f\r\n",
        b">2\r\n+a\r\n+b\r\n",
        b"\xff",
    ]
)


@asynccontextmanager
async def hostile(data: bytes) -> AsyncIterator[str]:
    """A server that lets anybody in, and then says this. Yields its address."""
    connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        with suppress(ConnectionError):  # the node leaves as it likes
            while await reader.read(
                65536
            ):  # SETNAME and PING come in one write, HELLO or SUBSCRIBE in the next
                writer.write(b"+OK\r\n+PONG\r\n")
                await reader.read(65536)
                writer.write(data)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await end_of(server, connections)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FRAGMENTS | st.binary(max_size=20), max_size=5).map(b"".join))
async def test_no_answer_of_a_server_breaks_a_node(data: bytes) -> None:
    """It is connected again and again, joins fail, publishes fail, and it can be closed."""
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with (
        hostile(data) as address,
        started(make_broker(address, pool_timeout=0.02, **IMPATIENT)) as node,
    ):
        try:
            await node.subscribe("a")
            await node.publish("a", b"1")
        except BrokerError:
            pass
    assert failures == []
