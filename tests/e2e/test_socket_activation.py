"""Sockets that a service manager holds: the test is the service manager, and outlives the servers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.client import Connect
from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.errors import RPCError
from rr_py_ws.wire.publish import Message
from support.process import Server, Servers, configuration
from support.ws_peer import Client, push, request

VISITORS = 20
BACKLOG = 1024


@pytest.fixture
def http() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as sock:
        yield sock


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "rpc.sock"))
        sock.listen(BACKLOG)
        yield sock


def using(
    http: socket.socket, rpc: socket.socket, worker: str | None = None, **sections: Any
) -> dict[str, Any]:
    """A configuration whose addresses are those of the sockets."""
    return configuration(
        worker,
        http={"address": f"127.0.0.1:{http.getsockname()[1]}"},
        rpc={"listen": f"unix://{rpc.getsockname()}"},
        **sections,
    )


def test_inherited_sockets_are_served_and_stay(
    http: socket.socket, rpc: socket.socket, servers: Servers, connect: Connect, tmp_path: Path
) -> None:
    """By their addresses; PHP workers get neither the sockets nor the variables."""
    config = using(http, rpc, "ok.php")
    server = servers.add(Server(tmp_path, config, sockets={"app.socket": http, "": rpc}))
    browser = connect(server)
    browser.join("news")
    server.php("$broadcast->publish('news', 'hello');")
    browser.expect(push("news", "hello"))
    inodes = {f"socket:[{os.fstat(sock.fileno()).st_ino}]" for sock in (http, rpc)}
    for worker in server.family():
        assert not [name for name in worker.environ() if name.startswith("LISTEN_")]
        assert inodes.isdisjoint(map(os.readlink, Path(f"/proc/{worker.pid}/fd").iterdir()))
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert (tmp_path / "rpc.sock").is_socket()
    for sock in (http, rpc):
        with socket.socket(sock.family) as client:
            client.connect(sock.getsockname())  # the kernel lets it wait for the next server


def test_a_name_says_what_a_socket_is_for(
    http: socket.socket, rpc: socket.socket, servers: Servers, connect: Connect, tmp_path: Path
) -> None:
    """Whatever the configuration has for an address; what is not inherited is bound as ever."""
    server = servers.add(Server(tmp_path, configuration(), sockets={"http": http}))
    server.config = {"http": {"address": f"127.0.0.1:{http.getsockname()[1]}"}, "rpc": server.config["rpc"]}
    browser = connect(server)
    browser.join("news")
    server.php("$broadcast->publish('news', 'hello');")
    browser.expect(push("news", "hello"))


def test_a_socket_by_which_others_may_publish_is_warned_of(servers: Servers, tmp_path: Path) -> None:
    """Whatever address the configuration has."""
    with socket.create_server(("0.0.0.0", 0)) as public:
        server = servers.add(Server(tmp_path, configuration(), sockets={"rpc": public}))
        server.config = {**server.config, "rpc": {"listen": f"tcp://127.0.0.1:{public.getsockname()[1]}"}}
        warning = server.log.wait_for("has no password")
        assert f"tcp://0.0.0.0:{public.getsockname()[1]}" in warning


def test_a_socket_at_no_address_of_the_configuration_ends_the_start(
    http: socket.socket, tmp_path: Path
) -> None:
    server = Server(tmp_path, configuration(), sockets={"app.socket": http})
    try:
        assert server.wait() == 1
        assert f"at 127.0.0.1 port {http.getsockname()[1]} is at no address" in str(server.log)
    finally:
        server.end()


def test_a_service_manager_is_told_of_the_start_and_the_stop(servers: Servers, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(str(tmp_path / "notify"))
        service_manager.settimeout(20.0)
        server = servers.add(
            Server(tmp_path, configuration(), env={"NOTIFY_SOCKET": str(tmp_path / "notify")}), wait=False
        )
        assert service_manager.recv(100) == b"READY=1"
        server.wait_until_ready()
        server.signal(signal.SIGTERM)
        assert service_manager.recv(100) == b"STOPPING=1"
        assert server.wait() == 0


class Crowd:
    """Browsers and publishers that come without a pause, whatever the servers do.

    Attributes:
        counts: how often each thing has happened.
    """

    def __init__(self, address: tuple[str, int], rpc: str) -> None:
        self.counts: Counter[str] = Counter()
        self._address = address
        self._rpc = rpc
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Crowd:
        self._tasks += [asyncio.create_task(self._visit_again_and_again()) for _ in range(VISITORS)]
        self._tasks += [asyncio.create_task(self._publish_again_and_again()) for _ in range(2)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for problem in await asyncio.gather(*self._tasks, return_exceptions=True):
            assert isinstance(problem, asyncio.CancelledError), problem

    async def wait_for_more(self, visits: int) -> None:
        """Wait until so many more browsers, and at least one more publisher, have been served."""
        visits += self.counts["served"]
        publishes = self.counts["published"]
        while self.counts["served"] < visits or self.counts["published"] == publishes:
            assert not any(task.done() for task in self._tasks), [task for task in self._tasks if task.done()]
            await asyncio.sleep(0.01)

    async def _visit_again_and_again(self) -> None:
        """Any error is a failure; so is any answer but 101, and the 503 of a server that is stopping."""
        while True:
            client = await Client.connect(self._address)
            try:
                await client.send(request())
                head = await client.head()
                if head.startswith(b"HTTP/1.1 101 "):
                    self.counts["served"] += 1
                else:
                    assert head.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 1\r\n" in head, head
                    self.counts["told to come again"] += 1
            finally:
                client.reset()
            await asyncio.sleep(0.005)

    async def _publish_again_and_again(self) -> None:
        """A new connection for each call; it may be closed before it is answered, but never refused."""
        while True:
            try:
                async with await RPCClient.connect(self._rpc) as client:
                    await client.publish([Message("", ["news"], b"x")])
                    self.counts["published"] += 1
            except RPCError as error:
                assert any(end in str(error) for end in ("closed", "reset", "Broken pipe")), error
            await asyncio.sleep(0.005)


async def test_a_restart_refuses_nobody(
    http: socket.socket, rpc: socket.socket, servers: Servers, tmp_path: Path
) -> None:
    """One server ends under a stream of new connections; they wait in the kernel until the next is there."""
    config = using(http, rpc)
    sockets = {"http": http, "rpc": rpc}
    server = servers.add(Server(tmp_path, config, sockets=sockets))
    async with Crowd(server.address, server.rpc) as crowd:
        for _ in range(2):
            await crowd.wait_for_more(2 * VISITORS)
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait) == 0
            server = servers.add(Server(tmp_path, config, sockets=sockets), wait=False)
        await crowd.wait_for_more(2 * VISITORS)
