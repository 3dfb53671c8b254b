"""Listening and stopping."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import socket
import stat
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from rr_py_ws.adapters.rpc import Registry, RPCListener
from rr_py_ws.address import UnixAddress, parse_dsn
from rr_py_ws.config import Limits
from rr_py_ws.errors import ConfigError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.values import decode_value
from support.loops import both_loops
from support.ports import needs_ipv6
from support.rpc_peer import IdlePool, Peer, RecordingPublisher
from support.waiting import eventually

pytestmark = both_loops

TO_A = b'{"messages":[{"topics":["a"]}]}'


@pytest.mark.parametrize(
    "dsn",
    ["tcp://127.0.0.1:0", "tcp://:0", pytest.param("tcp://[::1]:0", marks=needs_ipv6), "tcp://localhost:0"],
)
async def test_tcp_addresses_are_served(registry: Registry, dsn: str) -> None:
    server = RPCListener(registry, dsn, limits=Limits())
    await server.start()
    assert re.fullmatch(re.escape(dsn[:-1]) + r"\d{4,5}", server.address)
    peer = await Peer.connect(server.address)
    assert await peer.is_served()
    await peer.close()
    await server.stop(grace=1)


async def test_an_empty_host_means_every_ipv4_address(registry: Registry) -> None:
    server = RPCListener(registry, "tcp://:0", limits=Limits())
    await server.start()
    port = server.address.rpartition(":")[2]
    peer = await Peer.connect(f"tcp://127.0.0.2:{port}")
    assert await peer.is_served()
    await peer.close()
    await server.stop(grace=1)


async def test_peers_that_have_vanished_are_found_out(server: RPCListener, peer: Peer) -> None:
    """By the kernel: between two frames nobody else would ever notice, and they would use up the limit."""
    assert await peer.is_served()
    port = int(server.address.rpartition(":")[2])
    [descriptor] = [
        connection.fd
        for connection in psutil.Process().net_connections("tcp")
        if connection.laddr[1:] == (port,) and connection.raddr
    ]
    with socket.socket(fileno=os.dup(descriptor)) as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 60


async def test_each_inherited_socket_is_served(registry: Registry) -> None:
    server = RPCListener(registry, "tcp://127.0.0.1:1", limits=Limits())
    sockets = [socket.create_server((host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
    addresses = ["tcp://{}:{}".format(*sock.getsockname()) for sock in sockets]
    await server.start(sockets)
    assert server.addresses == addresses
    for address in addresses:
        peer = await Peer.connect(address)
        assert await peer.is_served()
        await peer.close()
    await server.stop(grace=1)


async def test_a_unix_socket_is_served_and_removed(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "rpc.sock"
    server = RPCListener(registry, f"unix://{path}", limits=Limits())
    await server.start()
    assert server.address == f"unix://{path}"
    peer = await Peer.connect(server.address)
    assert await peer.is_served()
    await peer.close()
    await server.stop(grace=1)
    assert not path.exists()


async def test_a_stale_socket_file_is_replaced(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "rpc.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = RPCListener(registry, f"unix://{path}", limits=Limits())
    await server.start()
    peer = await Peer.connect(server.address)
    assert await peer.is_served()
    await peer.close()
    await server.stop(grace=1)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
async def test_the_socket_file_has_its_permissions_before_anybody_can_connect(
    registry: Registry, tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rpc.sock"
    monkeypatch.setattr(os, "chmod", chmod := Recorder(os.chmod))
    server = RPCListener(registry, f"unix://{path}", mode=mode, limits=Limits())
    await server.start()
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert chmod.outcomes == [ConnectionRefusedError]
    peer = await Peer.connect(server.address)
    assert await peer.is_served()
    await peer.close()
    await server.stop(grace=1)
    assert not path.exists()


class Recorder:
    """In place of `chmod`: notes what happens to one who connects just before."""

    def __init__(self, chmod: Callable[..., None]) -> None:
        self._chmod = chmod
        self.outcomes: list[type[OSError] | None] = []

    def __call__(self, path: Path, mode: int, **options: bool) -> None:
        with socket.socket(socket.AF_UNIX) as early:
            try:
                early.connect(str(path))
            except OSError as error:
                self.outcomes.append(type(error))
            else:
                self.outcomes.append(None)
        self._chmod(path, mode, **options)


async def test_without_a_mode_the_umask_decides(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "rpc.sock"
    before = os.umask(0o027)
    try:
        server = RPCListener(registry, f"unix://{path}", limits=Limits())
        await server.start()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    await server.stop(grace=1)


async def test_the_socket_file_of_a_successor_is_left_alone(registry: Registry, tmp_path: Path) -> None:
    """Somebody has removed it by hand and started a new process before the old one ends."""
    path = tmp_path / "rpc.sock"
    old, new = (RPCListener(registry, f"unix://{path}", limits=Limits()) for _ in range(2))
    await old.start()
    path.unlink()
    await new.start()
    await old.stop(grace=1)
    peer = await Peer.connect(new.address)
    assert await peer.is_served()
    await peer.close()
    await new.stop(grace=1)
    assert not path.exists()


async def test_a_second_start_does_not_take_the_socket_away(registry: Registry, tmp_path: Path) -> None:
    """It did: all PHP workers spoke to the second server then, which had nothing to tell them to."""
    path = tmp_path / "rpc.sock"
    first, second = (RPCListener(registry, f"unix://{path}", limits=Limits()) for _ in range(2))
    await first.start()
    with pytest.raises(ConfigError) as caught:
        await second.start()
    assert str(caught.value) == (
        f"rpc.listen: cannot listen on {path}: it is in use by another process (a server still running?), or"
        " by a socket of systemd"
    )
    await second.stop(grace=1)
    peer = await Peer.connect(first.address)
    assert await peer.is_served()
    await peer.close()
    await first.stop(grace=1)
    assert not path.exists()


async def test_a_file_that_is_no_socket_is_not_removed(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    server = RPCListener(registry, f"unix://{path}", limits=Limits())
    with pytest.raises(ConfigError) as caught:
        await server.start()
    assert str(caught.value) == (f"rpc.listen: cannot listen on {path}: the file exists and is not a socket")
    await server.stop(grace=1)
    assert path.read_text() == "mine"


async def test_an_address_in_use_is_one_clear_line(registry: Registry, server: RPCListener) -> None:
    second = RPCListener(registry, server.address, key="websockets.rpc.listen", limits=Limits())
    with pytest.raises(ConfigError) as caught:
        await second.start()
    assert str(caught.value) == (
        f"websockets.rpc.listen: cannot listen on {server.address.removeprefix('tcp://')}: it is in use by"
        " another process (a server still running?), or by a socket of systemd"
    )
    await second.stop(grace=1)


async def test_a_directory_that_does_not_exist_is_one_clear_line(registry: Registry, tmp_path: Path) -> None:
    server = RPCListener(registry, f"unix://{tmp_path}/none/rpc.sock", limits=Limits())
    with pytest.raises(ConfigError, match=r"rpc\.sock: No such file or directory$"):
        await server.start()


async def test_a_host_that_does_not_resolve_is_one_clear_line(registry: Registry) -> None:
    server = RPCListener(registry, "tcp://no-such-host.invalid:0", limits=Limits())
    with pytest.raises(
        ConfigError, match=r"^rpc\.listen: cannot listen on no-such-host\.invalid:0: it cannot be resolved"
    ):
        await server.start()


async def test_what_is_no_address_is_refused_at_once(registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"^rpc\.listen: 'localhost' is not an address"):
        RPCListener(registry, "localhost", limits=Limits())


async def test_several_listeners_share_the_registry(
    registry: Registry, server: RPCListener, publisher: RecordingPublisher, tmp_path: Path
) -> None:
    second = RPCListener(registry, f"unix://{tmp_path}/rpc.sock", limits=Limits())
    await second.start()
    for address in (server.address, second.address):
        peer = await Peer.connect(address)
        assert (await peer.call("broadcast.Publish", TO_A))[1] == b'{"ok":true}'
        await peer.close()
    assert len(publisher.messages) == 2
    await second.stop(grace=1)


async def test_many_connections_are_served_at_once(connect: Callable[[], Awaitable[Peer]]) -> None:
    """One PHP process may open fifty, and none of them is ever closed for being idle."""
    peers = [await connect() for _ in range(200)]
    for _ in range(2):
        assert all(await asyncio.gather(*(peer.is_served() for peer in peers)))


class TestTooManyConnections:
    async def test_one_more_is_closed_at_once_and_its_place_can_be_taken_again(
        self, registry: Registry
    ) -> None:
        server = RPCListener(registry, "tcp://127.0.0.1:0", limits=Limits(max_rpc_connections=2))
        await server.start()
        first, second, third = [await Peer.connect(server.address) for _ in range(3)]
        assert await first.is_served()
        assert await second.is_served()
        assert await third.rest() == b""
        assert registry.counters.refused == 1
        await first.close()
        while registry.counters.connections == 2:
            assert await second.is_served()
        fourth = await Peer.connect(server.address)
        assert await fourth.is_served()
        for peer in (second, third, fourth):
            await peer.close()
        await server.stop(grace=1)


@pytest.mark.parametrize("dsn", ["tcp://127.0.0.1:0", "unix://rpc.sock"])
async def test_without_free_descriptors_new_connections_wait_and_old_ones_are_served(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsn: str
) -> None:
    """uvloop's own server closed all that waited in the queue, and nothing was logged or counted."""
    monkeypatch.chdir(tmp_path)
    server = RPCListener(registry, dsn, limits=Limits())
    await server.start()
    here = await Peer.connect(server.address)
    assert await here.is_served()
    address = parse_dsn(server.address)
    late = socket.socket(socket.AF_UNIX if isinstance(address, UnixAddress) else socket.AF_INET)
    late.setblocking(False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # below what is in use: every accept fails
    try:
        place = address.path if isinstance(address, UnixAddress) else (address.host, address.port)
        await asyncio.get_running_loop().sock_connect(late, place)
        while not registry.counters.accept_failures:
            assert await here.is_served()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if isinstance(address, UnixAddress):
        waiting = Peer(*await asyncio.open_unix_connection(sock=late))
    else:
        waiting = Peer(*await asyncio.open_connection(sock=late))
    assert await waiting.is_served()
    [failures] = [sample for sample in registry.metrics() if sample.name == "rpc_accept_failures"]
    assert failures.values == {(): registry.counters.accept_failures}
    for peer in (here, waiting):
        await peer.close()
    await server.stop(grace=1)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
async def test_an_inherited_socket_is_served_and_stays(
    registry: Registry, publisher: RecordingPublisher, tmp_path: Path, family: socket.AddressFamily
) -> None:
    """It is another process's too: connections that come after the stop wait for who listens next."""
    with socket.socket(family) as holder:
        holder.bind(("127.0.0.1", 0) if family is socket.AF_INET else f"{tmp_path}/rpc.sock")
        holder.listen()
        for number in range(2):
            server = RPCListener(registry, "tcp://127.0.0.1:1", limits=Limits())
            await server.start([holder.dup()])
            peer = await Peer.connect(server.address)
            assert (await peer.call("broadcast.Publish", TO_A))[1] == b'{"ok":true}'
            await peer.close()
            assert len(publisher.messages) == number + 1
            await server.stop(grace=1)
        waiting = await Peer.connect(server.address)
        await waiting.close()


class TestPause:
    async def test_nobody_is_read_until_it_ends(
        self, server: RPCListener, registry: Registry, connect: Callable[[], Awaitable[Peer]]
    ) -> None:
        old = await connect()
        assert await old.is_served()
        server.pause(True)
        new = await connect()
        for peer in (old, new):
            peer.request(1, "rpc.Version", b"true")
        for _ in range(50):
            await asyncio.sleep(0)
        assert registry.counters.answered[b"rpc.Version"] == 1
        server.pause(False)
        assert (await old.frame()).options[0] == 1
        assert (await new.frame()).options[0] == 1

    async def test_publishers_that_each_fill_a_turn_take_turns(
        self, server: RPCListener, registry: Registry, connect: Callable[[], Awaitable[Peer]]
    ) -> None:
        """Also those that have sent so much that they could go on without being read."""
        served: list[bytes] = []

        def fill(name: bytes) -> bytes:
            served.append(name)
            server.pause(True)
            asyncio.get_running_loop().call_later(0, server.pause, False)
            return b""

        registry.add("test.Fill", lambda _, body: body, fill, lambda _, result: result)
        peers = [await connect() for _ in range(5)]
        for peer in peers:
            assert await peer.is_served()
        server.pause(True)
        for name, peer in enumerate(peers):
            for sequence in range(20):
                peer.request(sequence, "test.Fill", b"%d" % name)
        for _ in range(5):  # uvloop writes at the end of a turn
            await asyncio.sleep(0)
        server.pause(False)
        for peer in peers:
            for sequence in range(20):
                assert (await peer.frame()).options[0] == sequence
        for end in range(10, 100, 5):
            counts = Counter(served[:end])
            assert max(counts.values()) - min(counts[b"%d" % name] for name in range(5)) <= 2

    async def test_a_stop_does_not_wait_for_it(self, registry: Registry) -> None:
        server = RPCListener(registry, "tcp://127.0.0.1:0", limits=Limits())
        await server.start()
        peer = await Peer.connect(server.address)
        assert await peer.is_served()
        server.pause(True)
        await server.stop(grace=60)
        assert await peer.rest() == b""
        await peer.close()


class TestStop:
    async def test_idle_connections_are_closed_and_new_ones_refused(
        self, registry: Registry, tmp_path: Path
    ) -> None:
        server = RPCListener(registry, "tcp://127.0.0.1:0", limits=Limits())
        await server.start()
        peer = await Peer.connect(server.address)
        assert await peer.is_served()
        await server.stop(grace=60)
        assert await peer.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await Peer.connect(server.address)
        await peer.close()

    async def test_a_running_call_is_answered_first(
        self, server: RPCListener, peer: Peer, publisher: RecordingPublisher
    ) -> None:
        [future] = publisher.wait(1)
        peer.request(1, "broadcast.Publish", TO_A)
        assert await peer.is_served()
        stopping = asyncio.create_task(server.stop(grace=60))
        await asyncio.sleep(0)
        peer.request(2, "broadcast.Publish", TO_A)  # too late
        future.set_result(None)
        assert (await peer.frame()).options[0] == 1
        assert await peer.rest() == b""
        await stopping
        assert len(publisher.messages) == 1

    async def test_a_call_that_takes_too_long_is_cancelled(
        self, server: RPCListener, peer: Peer, pool: IdlePool, registry: Registry
    ) -> None:
        pool.may_finish.clear()
        peer.request(1, "resetter.Reset", b'"websockets"')
        assert await peer.is_served()
        await server.stop(grace=0.01)
        assert await peer.rest() == b""
        await asyncio.sleep(0)
        assert not registry.running

    async def test_what_publish_async_began_is_finished(
        self, server: RPCListener, peer: Peer, publisher: RecordingPublisher
    ) -> None:
        [future] = publisher.wait(1)
        await peer.call("broadcast.PublishAsync", TO_A)
        stopping = asyncio.create_task(server.stop(grace=60))
        assert await peer.rest() == b""
        assert not stopping.done()
        future.set_result(None)
        await stopping

    async def test_a_peer_that_does_not_read_cannot_hold_it_up(
        self, server: RPCListener, peer: Peer, registry: Registry, connect: Callable[[], Awaitable[Peer]]
    ) -> None:
        registry.add("test.Big", decode_value, lambda _: bytes(100_000_000))
        peer.request(1, "test.Big", codec=Flag.RAW)
        assert await (await connect()).is_served()
        await server.stop(grace=0.01)

    @pytest.mark.parametrize("turns", range(6))
    async def test_a_connection_that_is_just_being_accepted_is_closed(
        self, server: RPCListener, turns: int
    ) -> None:
        peer = await Peer.connect(server.address)
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.stop(grace=60)
        assert await peer.rest() == b""
        await peer.close()

    async def test_it_is_safe_without_start_and_twice(self, registry: Registry) -> None:
        server = RPCListener(registry, "tcp://127.0.0.1:0", limits=Limits())
        await server.stop(grace=1)
        await server.stop(grace=1)


async def test_a_stop_waits_for_what_begins_meanwhile(registry: Registry, server: RPCListener) -> None:
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    registry.run(first, lambda _: registry.run(second, lambda _: None))
    stopping = asyncio.create_task(server.stop(grace=60))
    first.set_result(None)
    await eventually(lambda: first not in registry.running)
    assert not stopping.done()
    second.set_result(None)
    assert await stopping == 0
