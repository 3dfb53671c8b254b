from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rr_py_ws.adapters.rpc import Registry, RPCListener
from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.config import Limits
from rr_py_ws.errors import RPCError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.publish import Message
from support.rpc_peer import IdlePool, RecordingPublisher


@pytest.fixture
async def client(server: RPCListener) -> AsyncIterator[RPCClient]:
    async with await RPCClient.connect(server.address) as client:
        yield client


async def test_json_calls_return_values(client: RPCClient) -> None:
    assert await client.call_json("informer.List", True) == ["websockets", "http"]
    assert await client.call_json("informer.Workers", "none") == {"workers": None}


async def test_calls_return_bytes_in_any_codec(client: RPCClient) -> None:
    assert await client.call("rpc.Config", b"", Flag.RAW) == b'{"rpc":{}}'


async def test_publish_sends_messages_to_topics(client: RPCClient, publisher: RecordingPublisher) -> None:
    await client.publish([Message("", ["a", "b"], b"1"), Message("", ["c"], b"\xff")])
    assert publisher.messages == [("", "a", b"1"), ("", "b", b"1"), ("", "c", b"\xff")]


async def test_a_unix_socket_works_too(registry: Registry, tmp_path: Path) -> None:
    server = RPCListener(registry, f"unix://{tmp_path}/rpc.sock", limits=Limits())
    await server.start()
    async with await RPCClient.connect(server.address) as client:
        assert await client.call_json("rpc.Version", True) == "2.11.4"
    await server.stop(grace=1)


async def test_an_error_reply_raises_the_servers_text(client: RPCClient) -> None:
    with pytest.raises(RPCError, match=r"^rpc: can't find service jobs\.Push$"):
        await client.call_json("jobs.Push", {})
    assert await client.call_json("rpc.Version", True) == "2.11.4"


async def test_calls_in_flight_are_told_apart(client: RPCClient, pool: IdlePool) -> None:
    pool.may_finish.clear()
    reset = asyncio.create_task(client.call_json("resetter.Reset", "websockets"))
    await asyncio.sleep(0)
    assert await client.call_json("rpc.Version", True) == "2.11.4"
    assert not reset.done()
    pool.may_finish.set()
    assert await reset is True


async def test_a_call_that_takes_too_long_names_address_and_method(client: RPCClient, pool: IdlePool) -> None:
    pool.may_finish.clear()
    with pytest.raises(RPCError, match=r"^tcp://.*: no answer to resetter\.Reset in 0\.01 s$"):
        await client.call_json("resetter.Reset", "websockets", timeout=0.01)
    pool.may_finish.set()
    assert await client.call_json("rpc.Version", True) == "2.11.4"


async def test_a_closed_connection_fails_the_calls_in_flight_and_later_ones(
    client: RPCClient, server: RPCListener, pool: IdlePool
) -> None:
    pool.may_finish.clear()
    reset = asyncio.create_task(client.call_json("resetter.Reset", "websockets"))
    await client.call_json("rpc.Version", True)
    await server.stop(grace=0.01)
    with pytest.raises(RPCError, match=r"^tcp://.*: .*(closed|reset)"):
        await reset
    with pytest.raises(RPCError, match="closed"):
        await client.call_json("rpc.Version", True)


async def test_nobody_listening_is_one_line_with_the_address(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = "tcp://{}:{}".format(*unused.getsockname())
        with pytest.raises(RPCError, match=rf"^cannot connect to {address}: Connection refused$"):
            await RPCClient.connect(address)
    with pytest.raises(RPCError, match=r"^cannot connect to unix:///.*: No such file or directory$"):
        await RPCClient.connect(f"unix://{tmp_path}/rpc.sock")


async def test_what_is_no_address_is_one_line() -> None:
    with pytest.raises(RPCError, match=r"^'6001' is not an address"):
        await RPCClient.connect("6001")


async def test_an_answer_that_is_not_a_frame_fails_the_call() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with await RPCClient.connect(f"tcp://{host}:{port}") as client:
        with pytest.raises(RPCError, match="not an RPC frame"):
            await client.call_json("rpc.Version", True)
    server.close()
    await server.wait_closed()
