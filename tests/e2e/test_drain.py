"""How a server under load ends: nothing that was accepted is lost, nobody hangs, and it ends in time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chaos.browser import Browser, join
from chaos.drain import stop_with_clients
from chaos.ledger import TOPICS, Ledger, Receipts, topic_of
from e2e.client import OpenRaw
from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.errors import RPCError
from rr_py_ws.wire.publish import Message
from support.process import Server, Servers
from support.redis_servers import RedisServer, redis_server
from support.waiting import eventually_sync
from support.ws_peer import CLOSE, frame

CLIENTS = 110
"""More than are told to go at once."""
several = pytest.mark.parametrize("processes", [1, 3], ids=["one process", "several processes"])


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack, tmp_path_factory.mktemp)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def by_redis(redis: RedisServer) -> dict[str, Any]:
    config = {"addrs": [redis.address], "read_timeout": "60s"}
    return {"default": {"driver": "redis", "config": config}}


async def publish_until_refused(name: str, server: Server, ledger: Ledger) -> None:
    """Publish, several calls at a time, until the server takes no more."""
    async with await RPCClient.connect(server.rpc) as rpc:

        async def publish(number: int) -> None:
            await rpc.publish([Message("", [topic_of(number)], f"{name}:{number}:".encode())])
            ledger.accept(name, number)

        answers: list[BaseException | None] = []
        while not any(answers):
            calls = [publish(ledger.begin(name)) for _ in range(4)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.sleep(0.01)
    for answer in filter(None, answers):
        assert isinstance(answer, RPCError), answer


async def end_under_load(server: Server, *commands: str) -> None:
    """Have the server stopped while two publishers publish without a pause, and check what came.

    Every publish that was answered with ok must have reached every client before its close frame.

    Args:
        server: it runs.
        commands: of the program, run one after another; the last one stops the server.
    """
    ledger = Ledger()
    clients: list[tuple[Browser, Receipts]] = []
    for _ in range(CLIENTS):
        receipts = Receipts(ledger)
        clients.append((await join(server.address, TOPICS, receipts.take), receipts))
        receipts.joined()
    publishing = [asyncio.create_task(publish_until_refused(name, server, ledger)) for name in ("p", "q")]
    for accepted, command in enumerate(commands, start=1):
        while sum(ledger.accepted.values()) < 100 * accepted:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)
        result = await asyncio.to_thread(server.cli, command)
        assert result.returncode == 0, result
    await asyncio.wait(publishing)
    for task in publishing:
        task.result()
    for browser, receipts in clients:
        await browser.closed
        assert browser.code == 1001
        assert (receipts.wrong, receipts.missing()) == ([], {})
    assert await asyncio.to_thread(server.wait) == 0
    server.log.wait_for("stopped in time")


@several
async def test_nothing_accepted_is_lost_by_a_reset_of_the_workers_or_a_stop(
    servers: Servers, processes: int
) -> None:
    websockets = {"drain": {"time": "500ms"}, "processes": processes}
    server = servers.start("ok.php", "-p", websockets=websockets)
    await end_under_load(server, "reset", "stop")


@several
async def test_nothing_accepted_is_lost_with_redis(
    servers: Servers, redis: RedisServer, processes: int
) -> None:
    """Redis may answer the publisher before the message comes back."""
    websockets = {"drain": {"time": "500ms"}, "processes": processes}
    server = servers.start(None, "-p", broadcast=by_redis(redis), websockets=websockets)
    await end_under_load(server, "stop")


@several
async def test_while_a_server_drains_its_clients_receive_what_other_nodes_publish(
    servers: Servers, redis: RedisServer, processes: int
) -> None:
    """A drain that lasts long; it ends when everybody has gone."""
    sections: dict[str, Any] = {"broadcast": by_redis(redis), "endure": {"grace_period": "1h"}}
    server, other = (
        servers.start(None, websockets={"drain": {"time": "60s"}, "processes": processes}, **sections),
        servers.start(**sections),
    )
    told: asyncio.Queue[str] = asyncio.Queue()
    browsers = [
        await join(server.address, ["news"], lambda topic, payload: told.put_nowait(payload))
        for _ in range(CLIENTS)
    ]
    server.signal(signal.SIGTERM)
    await asyncio.wait([browser.closed for browser in browsers], return_when=asyncio.FIRST_COMPLETED)
    async with await RPCClient.connect(other.rpc) as rpc:
        await rpc.publish([Message("", ["news"], b"still here")])
    assert await told.get() == "still here"
    for browser in browsers:
        browser.reset()
    assert await asyncio.to_thread(server.wait) == 0


async def test_a_thousand_clients_get_everything_and_are_told_to_go(servers: Servers) -> None:
    server = servers.start(None, websockets={"drain": {"time": "1s"}})
    farewell = await stop_with_clients(server, 1000)
    assert (farewell.exit_code, farewell.codes, farewell.complete) == (0, {1001: 1000}, 1000)
    server.log.wait_for('"msg":"stopping","connections":1000')
    server.log.wait_for("stopped in time")


def test_workers_that_hang_in_joins_hold_up_neither_clients_nor_the_stop(
    servers: Servers, raw: OpenRaw
) -> None:
    """One join for each worker, and one that waits for a worker."""
    server = servers.start("obedient.php", endure={"grace_period": "3s"})
    browsers = [raw(server) for _ in range(3)]
    for browser in browsers:
        browser.upgrade()
    for browser in browsers:
        browser.command("join", ["do.sleep"])
    server.log.wait_for("sleeping: ", count=2)
    server.signal(signal.SIGTERM)
    for browser in browsers:
        close = browser.frame()
        assert close.close_code == 1001
        browser.send(frame(CLOSE, close.payload))
        assert browser.rest() == b""
        browser.close()
    assert server.wait() == 0
    line = server.log.wait_for("what did not end in time was cut")
    assert '"workers":2' in line and '"clients":0' in line


async def test_a_redis_that_answers_nothing_does_not_hold_up_the_stop(
    servers: Servers, redis: RedisServer
) -> None:
    server = servers.start(None, broadcast=by_redis(redis), endure={"grace_period": "2s"})
    browser = await join(server.address, ["news"], lambda topic, payload: None)
    redis.freeze()
    async with await RPCClient.connect(server.rpc) as rpc:
        publish = asyncio.create_task(rpc.publish([Message("", ["news"], b"x")]))
        await asyncio.sleep(0)
        await rpc.call_json("rpc.Version", True)  # so the publish has been taken
        server.signal(signal.SIGTERM)
        with pytest.raises(RPCError):
            await publish
    await browser.closed
    assert browser.code == 1001
    assert await asyncio.to_thread(server.wait) == 0
    line = server.log.wait_for("what did not end in time was cut")
    assert '"rpc_calls":1' in line


def test_a_signal_while_the_command_before_the_workers_runs_ends_it_too(servers: Servers) -> None:
    server = servers.start("ok.php", wait=False, server={"on_init": {"command": "sleep 3600"}})
    eventually_sync(lambda: any("sleep" in process.name() for process in server.family()), "the command runs")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert server.family() == []
