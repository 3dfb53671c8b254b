"""A server as a process of its own, whose memory is measured; on both event loops with TLS.

Tests reach a bound of the table in `docs/reliability.md` ("Memory") and compare what the process has grown by
with the formula that stands there. What was there before is warm: each kind of connection was served once.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support import tls as certificates
from support.blocking import run
from support.http_peer import exchange
from support.memory import MIB, Memory
from support.ports import free_port
from support.process import Server, Servers, configuration
from support.rpc_peer import Peer
from support.waiting import eventually
from support.ws_peer import Client, command, request

REFUSALS = 2 * MIB
"""`refusal_memory`, less than by default so that fewer clients reach it."""

PAGES = 8 * MIB
"""`page_memory`, less than by default for the same reason."""


class Site:
    """A running server, and what clients need to reach it.

    Attributes:
        server: the process.
        loop: the name of its event loop.
        clients: closed after the test.
    """

    def __init__(self, server: Server, loop: str, certificate: Path) -> None:
        self.server = server
        self.loop = loop
        self._context = certificates.client_context(certificate)
        self.clients: list[Client] = []

    async def warm_up(self) -> None:
        """Let the server do everything once."""
        for tls in (False, True):
            await self.join("warm", 5, tls=tls)
            for target in ("/ws?do=bytes-100", "/ws?do=bytes-60000"):
                await (await self.connect(tls=tls)).refused(target)
            page = await self.connect(tls=tls)
            await page.send(b"GET /page?do=bytes-100000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await page.response()
        await self.publish("warm", 100_000)
        await self.metric("rr_ws_connections")
        await self.leave()

    def measure(self) -> Memory:
        """What the server grows by from now on."""
        return Memory(self.server.process.pid)

    async def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        head = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
        page = await exchange(self.server.config["metrics"]["address"], head)
        return float(
            next(line for line in page.decode().splitlines() if line.startswith(name + " ")).split()[1]
        )

    async def reaches(self, name: str, value: float) -> None:
        """Wait until a metric has this value, or more."""

        async def reached() -> bool:
            return await self.metric(name) >= value

        await eventually(reached, f"{name} {value}", pause=0.05)

    async def connect(self, *, tls: bool = False, **options: Any) -> Client:
        """A TCP connection."""
        address = self.server.address
        if tls:
            host, _, port = self.server.config["http"]["ssl"]["address"].rpartition(":")
            address, options["tls"] = (host, int(port)), self._context
        self.clients.append(await Client.connect(address, **options))
        return self.clients[-1]

    async def sends(self, count: int, data: bytes, *, tls: bool = False) -> None:
        """Many clients that send something, and read nothing; their windows are small."""
        for _ in range(count):
            client = await self.connect(tls=tls, receive_buffer=4096)
            await client.send(data)

    async def join(self, topic: str, count: int, *, tls: bool = False, **options: Any) -> list[Client]:
        """WebSockets in a topic."""
        clients = [await self.connect(tls=tls, **options) for _ in range(count)]
        for client in clients:
            await client.send(request("/ws") + command("join", [topic]))
            await client.head()
            await client.frame()
        return clients

    async def leave(self) -> None:
        """Close all clients, and wait until the server has noticed."""
        for client in self.clients:
            client.close()
        self.clients.clear()

        async def gone() -> bool:
            return await self.metric("rr_ws_places_taken") == 0

        await eventually(gone, pause=0.05)

    async def publish(self, topic: str, size: int, count: int = 1) -> None:
        """Publish messages by RPC, each of so many bytes, and return when the last one is on its way."""
        peer = await Peer.connect(self.server.rpc)
        body = b'{"messages":[{"topics":["%b"],"payload":"%b"}]}' % (topic.encode(), b"x" * size)
        for _ in range(count):
            await peer.call("broadcast.Publish", body)
        await peer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def loop(request: pytest.FixtureRequest) -> str:
    """The event loop of the server; tests are parametrized with it."""
    return str(request.param)


@pytest.fixture(scope="module")
def allocator() -> dict[str, str]:
    """What the C library is told by the environment: free means free, mallopt(3)."""
    return {"MALLOC_MMAP_THRESHOLD_": "32768", "MALLOC_TRIM_THRESHOLD_": "32768"}


@pytest.fixture(scope="module")
def server(
    loop: str, allocator: dict[str, str], tmp_path_factory: pytest.TempPathFactory, certificate: Path
) -> Iterator[Server]:
    """With workers that do as they are told (`workers/obedient.php`), and limits that are the defaults."""
    directory = tmp_path_factory.mktemp("server")
    env = dict(allocator)
    if loop == "asyncio":  # as where uvloop is not installed
        (directory / "without").mkdir()
        (directory / "without" / "uvloop.py").write_text("raise ImportError")
        env["PYTHONPATH"] = os.pathsep.join((str(directory / "without"), os.environ.get("PYTHONPATH", "")))
    config = configuration(
        "obedient.php",
        http={
            "ssl": {
                "address": f"127.0.0.1:{free_port()}",
                "cert": str(certificate),
                "key": str(certificate),
            }
        },
        metrics={"address": f"127.0.0.1:{free_port()}"},
        websockets={
            "authorize_timeout": "600s",
            "limits": {"refusal_memory": REFUSALS, "page_memory": PAGES},
        },
        logs={"level": "error"},
    )
    with ExitStack() as stack:
        server = Servers(stack, tmp_path_factory.mktemp).add(Server(directory, config, env=env))
        run(Site(server, loop, certificate).warm_up())
        yield server


@pytest.fixture
async def site(server: Server, loop: str, certificate: Path) -> AsyncIterator[Site]:
    """The server, without clients."""
    site = Site(server, loop, certificate)
    yield site
    await site.leave()
