"""The accept loop: what it tells, and what it does when the system has nothing left."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws import logs
from rr_py_ws.adapters.net import acceptor as module
from rr_py_ws.adapters.net.acceptor import Acceptor
from rr_py_ws.address import TCPAddress
from support.loops import both_loops
from support.ports import needs_ipv6
from support.tls import client_context, server_context
from support.waiting import eventually
from support.ws_peer import Client

pytestmark = both_loops


class Greeter(asyncio.Protocol):
    """Greets and closes, and keeps what the event loop told it."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.events: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.events.append("made")
        transport.write(b"hello")
        transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append("lost")


class Server:
    """An acceptor whose connections are greeted, or closed at once when `full`."""

    def __init__(self, listening: socket.socket, **options: Any) -> None:
        self.accepted: list[Greeter] = []
        self.full = False
        self.failures = 0
        self.acceptor = Acceptor(listening, self._accept, on_failure=self._failed, **options)

    def _accept(self, connection: socket.socket, peer: str) -> Greeter | None:
        assert not connection.getblocking()
        if self.full:
            return None
        self.accepted.append(Greeter(peer))
        return self.accepted[-1]

    def _failed(self) -> None:
        self.failures += 1

    async def connect(self, **options: Any) -> Client:
        address = self.acceptor.address
        assert isinstance(address, TCPAddress)
        return await Client.connect((address.host, address.port), **options)


Start = Callable[..., Server]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    servers: list[Server] = []

    def start(listening: socket.socket | None = None, **options: Any) -> Server:
        servers.append(Server(listening or socket.create_server(("127.0.0.1", 0)), **options))
        return servers[-1]

    yield start
    for server in servers:
        server.acceptor.close()
        server.acceptor.close()


async def test_connections_are_accepted_until_it_is_closed(start: Start) -> None:
    server = start()
    clients = [await server.connect() for _ in range(40)]  # more than in one turn of the loop
    for client in clients:
        assert await client.rest() == b"hello"
        client.close()
    await eventually(lambda: [one.events for one in server.accepted] == [["made", "lost"]] * 40)
    assert {one.peer for one in server.accepted} == {"127.0.0.1"}
    address = server.acceptor.address
    server.acceptor.close()
    with pytest.raises(ConnectionRefusedError):
        await Client.connect((address.host, address.port))  # type: ignore[union-attr]


async def test_a_connection_that_is_not_wanted_is_closed_at_once(start: Start) -> None:
    server = start()
    server.full = True
    client = await server.connect()
    assert await client.rest() == b""
    client.close()
    assert server.accepted == []


async def test_the_peer_of_a_unix_socket_has_no_address(start: Start, tmp_path: Path) -> None:
    server = start(socket.create_server(str(tmp_path / "s"), family=socket.AF_UNIX))
    assert str(server.acceptor.address) == str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        await eventually(lambda: len(server.accepted) == 1)
        assert server.accepted[0].peer == ""
        await eventually(lambda: server.accepted[0].events == ["made", "lost"])


@needs_ipv6
async def test_an_ipv4_peer_of_a_socket_for_both_families_has_its_ipv4_address(start: Start) -> None:
    """Such are the sockets of systemd."""
    server = start(socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True))
    port = server.acceptor.address.port  # type: ignore[union-attr]
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port)).close()
    await eventually(lambda: len(server.accepted) == 2)
    assert {one.peer for one in server.accepted} == {"127.0.0.1", "::1"}
    await eventually(lambda: all(one.events[-1:] == ["lost"] for one in server.accepted))


async def test_without_free_descriptors_connections_wait_in_the_kernels_queue(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """uvloop's own server would close the listening socket, asyncio's would try without end."""
    monkeypatch.setattr(logs, "get_limited", logs.get_logger)
    monkeypatch.setattr(module, "_PAUSE", 0.02)
    server = start(channel="rpc")
    late = socket.socket()
    late.setblocking(False)
    address = server.acceptor.address
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        await asyncio.get_running_loop().sock_connect(late, (address.host, address.port))  # type: ignore[union-attr]
        await eventually(lambda: server.failures >= 2)
        assert server.accepted == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    client = Client(late)
    assert await client.rest() == b"hello"
    client.close()
    [first, *_] = capsys.readouterr().err.splitlines()
    assert "cannot accept connections, trying again" in first
    assert "rpc" in first
    assert f'"address": "{address}", "error": "Too many open files"' in first
    await eventually(lambda: server.accepted[0].events == ["made", "lost"])


async def test_a_pause_ends_with_the_acceptor(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    server = start()
    server.acceptor._pause(OSError(errno.EMFILE, ""))
    server.acceptor.close()
    assert server.failures == 1
    await asyncio.sleep(0.02)  # a timer that is left would watch a closed socket, and raise


async def test_an_error_of_one_connection_does_not_keep_the_next_waiting(start: Start) -> None:
    server = start()
    real = server.acceptor._socket

    class Failing:
        """A listening socket whose first connection was reset before it was accepted (accept(2))."""

        failed = False

        def accept(self) -> Any:
            if not self.failed:
                self.failed = True
                raise ConnectionAbortedError(errno.ECONNABORTED, "")
            return real.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    server.acceptor._socket = Failing()  # type: ignore[assignment]
    client = await server.connect()
    assert await client.rest() == b"hello"
    client.close()
    assert server.failures == 0
    server.acceptor._socket = real
    await eventually(lambda: server.accepted[0].events == ["made", "lost"])


async def test_tls_a_connection_is_told_of_before_it_is_secure(start: Start, certificate: Path) -> None:
    server = start(tls=server_context(certificate))
    silent = await server.connect()
    await eventually(lambda: len(server.accepted) == 1)
    assert server.accepted[0].events == []
    client = await server.connect(tls=client_context(certificate))
    assert await client.receive() == b"hello"
    client.close()
    silent.close()
    await eventually(lambda: server.accepted[0].events == ["lost"])
    await eventually(lambda: server.accepted[1].events == ["made", "lost"])


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""], ids=["plain", "cut", "silent"]
)
async def test_tls_a_handshake_that_fails_is_lost_and_never_made(
    start: Start, certificate: Path, sent: bytes
) -> None:
    server = start(tls=server_context(certificate))
    client = await server.connect()
    await client.send(sent)
    client.end_writing()
    await client.ended()
    client.close()
    await eventually(lambda: "lost" in server.accepted[0].events)
    assert "made" not in server.accepted[0].events
