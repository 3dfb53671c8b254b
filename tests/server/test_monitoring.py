"""A whole server in the test's event loop, seen through its metrics and its status page."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.config import load_config
from rr_py_ws.errors import ConfigError, RPCError
from rr_py_ws.server.app import App
from rr_py_ws.server.preparation import prepare
from support.http_peer import Answer, exchange, get
from support.ports import free_port
from support.waiting import eventually

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")

FILE = """
rpc: {{listen: "tcp://127.0.0.1:{rpc}"}}
http: {{address: "127.0.0.1:{http}", middleware: [websockets]}}
websockets:
  broker: main
  allowed_origin: "http://ours"
  authorize: none
  history: [{{topics: "kept.*", size: 9, ttl: 1m}}]
broadcast: {{main: {{driver: memory}}, other: {{driver: memory}}}}
metrics: {{address: "127.0.0.1:{metrics}"}}
status: {{address: "127.0.0.1:{status}"}}
logs: {{mode: none}}
"""
PYTHON_WORKER = f"{sys.executable} -m rr_py_ws.devtools.worker --deny-topics private"


class Node:
    """A server and its addresses."""

    def __init__(self, app: App, ports: dict[str, int]) -> None:
        self.app = app
        self.ports = ports
        self.url = f"ws://127.0.0.1:{ports['http']}/ws"
        self.rpc = f"tcp://127.0.0.1:{ports['rpc']}"

    async def get(self, service: str, path: str) -> Answer:
        return await get(f"127.0.0.1:{self.ports[service]}", path)

    async def scrape(self, path: str = "/metrics") -> dict[str, float]:
        """All samples: `name` or `name{label="value"}` without the prefix -> value."""
        answer = await self.get("metrics", path)
        assert answer.status == 200
        return {
            re.sub("^rr_ws_", "", sample.name)
            + "".join(f"{{{key}={value}}}" for key, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    async def kill_worker(self) -> None:
        """Kill the only worker."""
        async with await RPCClient.connect(self.rpc) as rpc:
            [worker] = (await rpc.call_json("informer.Workers", "websockets"))["workers"]
        os.kill(worker["pid"], signal.SIGKILL)

    async def is_ready(self, plugin: str = "websockets") -> bool:
        return (await self.get("status", f"/ready?plugin={plugin}")).status == 200

    async def is_healthy(self, plugin: str = "websockets") -> bool:
        return (await self.get("status", f"/health?plugin={plugin}")).status == 200


Make = Callable[..., Node]


@pytest.fixture
async def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Make servers that are not started; they are stopped in the end."""
    monkeypatch.chdir(tmp_path)
    apps: list[App] = []

    def make(*overrides: str, **ports: int) -> Node:
        ports = {name: free_port() for name in ("rpc", "http", "metrics", "status")} | ports
        (tmp_path / ".rr.yaml").write_text(FILE.format(**ports))
        loaded = load_config(".rr.yaml", overrides=overrides, environ={})
        apps.append(App(loaded, prepare(loaded)))
        return Node(apps[-1], ports)

    yield make
    await asyncio.gather(*(app.stop(5.0) for app in apps))


@pytest.fixture
async def node(make: Make) -> Node:
    node = make()
    await node.app.start()
    return node


WITH_WORKER = (
    "websockets.authorize=php",
    "websockets.pool.num_workers=1",
    "http.pool.num_workers=1",
    f"server.command={PYTHON_WORKER}",
    "broadcast.linked.driver=redis",
    "broadcast.linked.addrs=127.0.0.1:1",
    "websockets.rpc.forward=tcp://127.0.0.1:1",
)


@pytest.fixture
async def with_worker(make: Make) -> Node:
    """A server with a worker, and with a second broker and a RoadRunner that are not there."""
    node = make(*WITH_WORKER)
    await node.app.start()
    return node


def client(node: Node, **more: object) -> connect:
    """A WebSocket client of an allowed origin."""
    return connect(node.url, origin="http://ours", proxy=None, compression=None, **more)  # type: ignore


async def sampled(node: Node, key: str, value: float) -> dict[str, float]:
    """Scrape until a sample has a value."""
    samples: dict[str, float] = {}

    async def reached() -> bool:
        samples.update(await node.scrape())
        return samples[key] == value

    await eventually(reached, f"{key} = {value}")
    return samples


async def test_every_path_has_the_metrics_in_prometheus_text_format(node: Node) -> None:
    for path in ("/metrics", "/", "/any/other?x=1"):
        answer = await node.get("metrics", path)
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        names = {family.name for family in text_string_to_metric_families(answer.text)}
        assert {"rr_ws_connections", "process_resident_memory_bytes", "python_info"} <= names


async def test_commands_and_connections_are_counted(node: Node) -> None:
    before = await node.scrape()
    assert before["connections"] == before["commands_total{command=join}"] == 0
    async with client(node) as one, client(node) as two:
        for websocket in (one, two):
            await websocket.send('{"command":"join","topics":["a","b"]}')
            await websocket.recv()
        await one.send('{"command":"leave","topics":["b"]}')
        await one.recv()
        await one.send('{"command":"headers"}')
        await one.send("nonsense")
        await (await one.ping())
        samples = await node.scrape()
    assert samples["connections"] == samples["handshakes_accepted_total"] == 2
    assert samples["commands_total{command=join}"] == 2
    assert samples["commands_total{command=leave}"] == samples["commands_total{command=headers}"] == 1
    assert samples["commands_ignored_total"] == 1
    assert samples["received_messages_total"] == 5
    assert samples["received_bytes_total"] > 5 * len("nonsense")
    assert (samples["topics{broker=main}"], samples["subscriptions{broker=main}"]) == (2, 3)
    assert (samples["topics{broker=other}"], samples["subscriptions{broker=other}"]) == (0, 0)
    after = await sampled(node, "connections", 0)
    assert after["connections_closed_total{code=1000}"] == 2
    assert after["subscriptions{broker=main}"] == after["topics{broker=main}"] == 0


async def test_publications_and_rpc_calls_are_counted(node: Node) -> None:
    async with client(node) as websocket, await RPCClient.connect(node.rpc) as rpc:
        await websocket.send('{"command":"join","topics":["a"]}')
        await websocket.recv()
        await rpc.publish([("", ["a"], b"1"), ("", ["a", "nobody"], b"22")])
        await websocket.recv()
        await websocket.recv()
        with pytest.raises(RPCError):
            await rpc.call_json("made.Up", 1)
        samples = await node.scrape()
    assert samples["published_messages_total{broker=main}"] == 3
    assert samples["delivered_messages_total{broker=main}"] == 2
    assert samples["delivered_bytes_total{broker=main}"] > 2 * len('{"topic":"a","payload":"1"}')
    assert samples["flushes_total{broker=main}"] == 1
    assert samples["rpc_calls_total{method=broadcast.Publish}{result=ok}"] == 1
    assert samples["rpc_calls_total{method=broadcast.Publish}{result=error}"] == 0
    assert samples["rpc_calls_total{method=unknown}{result=error}"] == 1
    assert (samples["rpc_connections"], samples["rpc_calls_running"]) == (1, 0)


async def test_refused_handshakes_are_counted_by_their_reason(node: Node) -> None:
    heads = {
        "path": "GET /other HTTP/1.1\r\nHost: a\r\n\r\n",
        "origin": "GET /ws HTTP/1.1\r\nHost: a\r\nOrigin: http://theirs\r\n\r\n",
        "upgrade": "GET /ws HTTP/1.1\r\nHost: a\r\nOrigin: http://ours\r\n\r\n",
        "head": "nonsense\r\n\r\n",
    }
    for reason, head in heads.items():
        assert b"HTTP/1.1 4" in await exchange(f"127.0.0.1:{node.ports['http']}", head.encode())
        assert (await node.scrape())[f"handshakes_refused_total{{reason={reason}}}"] == 1
    samples = await sampled(node, "handshakes", 0)
    assert samples["handshakes_refused_total{reason=stopping}"] == samples["handshakes_accepted_total"] == 0
    await exchange(node.rpc.removeprefix("tcp://"), b"nonsense, which is no frame")
    assert (await node.scrape())["rpc_bad_frames_total"] == 1


async def test_the_work_of_workers_is_counted(with_worker: Node) -> None:
    node = with_worker
    async with client(node) as websocket:
        for topic in ("a", "private"):
            await websocket.send(f'{{"command":"join","topics":["{topic}"]}}')
            await websocket.recv()
    samples = await sampled(
        node, "workers{pool=websockets}{state=ready}", 1
    )  # it has answered, and then reads again
    assert samples["joins_refused_total{reason=authorization}"] == 1
    assert samples["joins_waiting"] == samples["joins_refused_total{reason=unanswered}"] == 0
    assert samples["worker_execs_total{pool=websockets}"] == 3
    assert 0 < samples["worker_exec_seconds_total{pool=websockets}"] < 60
    assert samples["workers_memory_bytes{pool=websockets}"] > 1_000_000
    assert (
        samples["workers_waiting{pool=websockets}"] == samples["workers{pool=websockets}{state=working}"] == 0
    )
    assert samples["worker_restarts_total{pool=websockets}"] == 0
    await node.kill_worker()
    await sampled(node, "worker_restarts_total{pool=websockets}", 1)


async def test_the_documented_metrics_are_those_that_are_served(make: Make) -> None:
    """Name, type and labels of each; a closed connection, because a close code is a label only then."""
    served = set()
    # Pages are made by PHP here, or passed on.
    for options in (WITH_WORKER, (*WITH_WORKER, "websockets.http.forward=http://127.0.0.1:1")):
        node = make(*options)
        await node.app.start()
        async with client(node):
            pass
        await sampled(node, "connections", 0)
        text = (await node.get("metrics", "/metrics")).text
        types = re.findall(r"^# TYPE (rr_ws_\w+) (\w+)$", text, re.MULTILINE)
        labels = {
            sample.name: ", ".join(f"`{label}`" for label in sample.labels)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        served |= {(name, kind, labels[name]) for name, kind in types}
    # Those of listener processes are compared in e2e/test_processes.py.
    rows = re.findall(r"^\| `(rr_ws_(?!listener)\w+)` \| (\w+) \| ([^|]*)\|", PAGE, re.MULTILINE)
    assert sorted(served) == sorted((name, kind, labels.strip()) for name, kind, labels in rows)


async def test_a_server_is_ready_from_the_end_of_its_start_to_the_beginning_of_its_stop(make: Make) -> None:
    node = make()
    plugins = ("websockets", "broadcast", "broadcast.main", "broadcast.other")
    await node.app.start()
    assert all([await node.is_ready(plugin) for plugin in plugins])
    # A client that does not answer the close frame holds the stop up.
    head = (
        "GET /ws HTTP/1.1\r\nHost: a\r\nOrigin: http://ours\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    )
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", node.ports["http"])
    writer.write((head + key).encode())
    await reader.readuntil(b"\r\n\r\n")
    stop = asyncio.create_task(node.app.stop(20.0))
    assert (await reader.readexactly(2))[0] == 0x88
    assert not any([await node.is_ready(plugin) for plugin in plugins])
    assert all([await node.is_healthy(plugin) for plugin in plugins])
    writer.close()
    assert await stop
    with pytest.raises(ConnectionRefusedError):
        await node.is_ready()


async def test_a_load_balancer_may_ask_for_readiness_where_it_sends_clients(
    make: Make, tmp_path: Path
) -> None:
    """Point 19: HAProxy, ALB and GCP ask a path of the port that they send clients to."""
    script = tmp_path / "worker"
    script.write_text(f"#!/bin/sh\nexec {PYTHON_WORKER}\n")
    script.chmod(0o755)
    node = make(
        "websockets.authorize=php",
        "websockets.pool.num_workers=1",
        "http.pool.num_workers=1",
        f"server.command={script}",
        "websockets.health_path=/alive",
    )
    await node.app.start()
    address = ("127.0.0.1", node.ports["http"])

    async def ask(request: str) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request.encode())
        answer = await reader.read()
        writer.close()
        return answer

    for request in ("GET /alive HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS /alive?a HTTP/1.0\r\n\r\n"):
        answer = await ask(request)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nready\n")
    assert (await ask("HEAD /alive HTTP/1.1\r\nHost: a\r\n\r\n")).endswith(b"\r\n\r\n")
    samples = await node.scrape()
    assert sum(value for name, value in samples.items() if name.startswith("handshakes_refused")) == 0
    script.unlink()
    await node.kill_worker()

    async def is_unready() -> bool:
        return (await ask("GET /alive HTTP/1.1\r\nHost: a\r\n\r\n")).startswith(b"HTTP/1.1 503 ")

    await eventually(is_unready)


async def test_a_server_is_not_ready_during_its_start(make: Make) -> None:
    """The workers are not there yet; nothing else listens before them."""
    node = make("websockets.authorize=php", "server.command=sleep 1000")
    start = asyncio.create_task(node.app.start())

    async def answers() -> bool:
        return not await node.is_ready()

    await eventually(answers)
    assert not await node.is_healthy()
    assert (await node.scrape())["workers{pool=websockets}{state=ready}"] == 0
    start.cancel()
    await asyncio.wait([start])


async def test_a_server_without_workers_is_neither_ready_nor_healthy(make: Make, tmp_path: Path) -> None:
    script = tmp_path / "worker"
    script.write_text(f"#!/bin/sh\nexec {PYTHON_WORKER}\n")
    script.chmod(0o755)
    node = make("websockets.authorize=php", "websockets.pool.num_workers=1", f"server.command={script}")
    await node.app.start()
    assert await node.is_ready() and await node.is_healthy()
    script.unlink()
    await node.kill_worker()

    async def is_ill() -> bool:
        return not await node.is_healthy()

    await eventually(is_ill)
    assert not await node.is_ready()
    assert await node.is_ready("broadcast")
    await sampled(node, "worker_restarts_total{pool=websockets}", 1)
    samples = await node.scrape()
    assert samples["workers{pool=websockets}{state=ready}"] == 0
    async with await RPCClient.connect(node.rpc) as rpc:
        assert await rpc.call_json("status.Status", "websockets") == {"Code": 503}
        assert await rpc.call_json("status.Ready", "broadcast") == {"Code": 200}


async def test_a_broker_that_is_away_is_not_ready(with_worker: Node) -> None:
    assert not await with_worker.is_ready("broadcast")
    assert not await with_worker.is_ready("broadcast.linked")
    assert await with_worker.is_ready("broadcast.main")
    assert await with_worker.is_ready("websockets")
    assert await with_worker.is_healthy("broadcast")
    samples = await with_worker.scrape()
    assert (samples["broker_ready{broker=main}"], samples["broker_ready{broker=linked}"]) == (1, 0)
    assert samples["redis_published_total{broker=linked}"] == 0


@pytest.mark.parametrize(
    ("overrides", "service", "key"),
    [
        ((), "metrics", "metrics.address"),
        ((), "status", "status.address"),
        (("websockets.metrics.address=127.0.0.1:{}",), "metrics", "websockets.metrics.address"),
        (("websockets.status.address=127.0.0.1:{}",), "status", "websockets.status.address"),
    ],
)
async def test_an_address_in_use_is_an_error_that_names_the_key(
    node: Node, make: Make, overrides: tuple[str, ...], service: str, key: str
) -> None:
    port = node.ports[service]
    other = make(*(override.format(port) for override in overrides), **({} if overrides else {service: port}))
    with pytest.raises(ConfigError, match=f"^{key}: cannot listen on 127.0.0.1:{port}: it is in use by"):
        await other.app.start()
    assert await node.is_ready()
