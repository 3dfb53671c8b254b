"""Polled transports do what those of the event loops do: one contract for all of them."""

from __future__ import annotations

import asyncio
import gc
import select
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from rr_py_ws.adapters.net.polled import PolledTransport
from rr_py_ws.adapters.net.poller import FIRST, Poller
from rr_py_ws.adapters.net.transports import remote_of
from rr_py_ws.address import format_peer
from support.loops import both_loops
from support.waiting import eventually

pytestmark = both_loops


class Recorder(asyncio.Protocol):
    """Keeps what it is told."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received = bytearray()
        self.error: Exception | None = None
        self.stays = False
        self.on_data: Callable[[], None] = lambda: None
        self.on_resume: Callable[[], None] = lambda: None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.on_data()

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.stays

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        self.events.append("lost")

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")
        self.on_resume()

    async def lost(self) -> None:
        await eventually(lambda: "lost" in self.events, "the end")
        await asyncio.sleep(0)  # the socket is closed behind it


class Peer:
    """The other end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (part := await asyncio.get_running_loop().sock_recv(self.socket, 65536)):
            data += part
        return data


Open = Callable[[Recorder], Awaitable[Peer]]


async def polled(connection: socket.socket, protocol: asyncio.Protocol) -> None:
    PolledTransport(Poller(), connection, format_peer(connection.getpeername()), protocol).begin()


async def of_the_loop(connection: socket.socket, protocol: asyncio.Protocol) -> None:
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: protocol, connection)


@pytest.fixture(params=[polled, of_the_loop], ids=lambda make: make.__name__)
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Connect a protocol over TCP."""
    protocols: list[Recorder] = []
    peers: list[Peer] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        async def connect(protocol: Recorder) -> Peer:
            peer = Peer(socket.create_connection(server.getsockname()))
            accepted, _ = server.accept()
            accepted.setblocking(False)
            protocols.append(protocol)
            peers.append(peer)
            await request.param(accepted, protocol)
            await eventually(lambda: protocol.events, "the connection")
            return peer

        yield connect
    for peer in peers:
        peer.socket.close()
    for protocol in protocols:
        if "lost" not in protocol.events:
            protocol.transport.set_protocol(protocol)
            protocol.transport.abort()
            await protocol.lost()


async def test_what_arrives_is_told_in_order(connect: Open) -> None:
    protocol = Recorder()
    peer = await connect(protocol)
    await peer.send(b"one")
    await eventually(lambda: protocol.received == b"one")
    large = bytes(range(256)) * 4096  # more than is read at a time
    await peer.send(large)
    await eventually(lambda: len(protocol.received) == 3 + len(large))
    assert protocol.received == b"one" + large
    assert protocol.events == ["made"]


@pytest.mark.parametrize("size", [FIRST - 1, FIRST, FIRST + 1])
async def test_as_many_bytes_as_are_asked_for_first_are_not_the_end(connect: Open, size: int) -> None:
    protocol = Recorder()
    protocol.on_data = lambda: protocol.events.append(f"{len(protocol.received)} bytes")
    peer = await connect(protocol)
    data = bytes(range(250)) * 20
    await peer.send(data[:size])
    await eventually(lambda: len(protocol.received) == size)
    peer.socket.shutdown(socket.SHUT_WR)
    await protocol.lost()
    assert protocol.received == data[:size]
    assert protocol.events == ["made", f"{size} bytes", "eof", "lost"]
    assert protocol.error is None


async def test_what_is_written_arrives_in_order_however_slow_the_peer(connect: Open) -> None:
    protocol = Recorder()
    peer = await connect(protocol)
    parts = [b"%07d" % number * 4096 for number in range(400)]
    protocol.transport.writelines(parts[:2])
    protocol.transport.write(parts[2])
    protocol.transport.writelines([*parts[3:200], b""])
    for part in parts[200:]:
        protocol.transport.write(memoryview(part))
    assert protocol.transport.get_write_buffer_size() > 0
    whole = b"".join(parts)
    assert await peer.read(len(whole)) == whole
    await eventually(lambda: protocol.events == ["made", "pause", "resume"])
    assert protocol.transport.get_write_buffer_size() == 0


async def test_many_small_parts_arrive_as_they_were_given(connect: Open) -> None:
    protocol = Recorder()
    peer = await connect(protocol)
    parts = [b"%05d" % number for number in range(5000)]
    protocol.transport.writelines(parts)
    protocol.transport.writelines([])
    protocol.transport.write(b"end")
    assert await peer.read(25003) == b"".join(parts) + b"end"


async def test_without_a_buffer_the_protocol_is_paused_by_the_first_byte_that_waits(connect: Open) -> None:
    """WebSockets rely on it: what is sent past the transport must not overtake what waits in it."""
    protocol = Recorder()
    peer = await connect(protocol)
    protocol.transport.set_write_buffer_limits(0)
    written = 0
    while "pause" not in protocol.events:
        assert protocol.transport.get_write_buffer_size() == 0
        protocol.transport.write(b"x" * 65536)
        written += 65536
    assert protocol.transport.get_write_buffer_size() > 0
    sizes: list[int] = []
    protocol.on_resume = lambda: sizes.append(protocol.transport.get_write_buffer_size())
    assert len(await peer.read(written)) == written
    await eventually(lambda: "resume" in protocol.events)
    assert sizes == [0]


async def test_what_is_written_when_it_resumes_comes_behind(connect: Open) -> None:
    protocol = Recorder()
    peer = await connect(protocol)
    protocol.on_resume = lambda: protocol.transport.write(b"behind")
    size = 8 * 1024 * 1024
    protocol.transport.write(b"x" * size)
    assert (await peer.read(size + 6))[-8:] == b"xxbehind"


@pytest.mark.parametrize("ends", ["close", "write_eof"])
async def test_the_end_comes_behind_what_waits(connect: Open, ends: str) -> None:
    protocol = Recorder()
    peer = await connect(protocol)
    size = 8 * 1024 * 1024
    protocol.transport.write(b"x" * size)
    getattr(protocol.transport, ends)()
    assert protocol.transport.is_closing() == (ends == "close")
    assert len(await peer.read(size + 1)) == size
    peer.socket.close()
    await protocol.lost()
    assert protocol.events.count("lost") == 1


@pytest.mark.parametrize("ends", ["close", "abort"])
async def test_the_end_while_it_resumes_is_told_once(connect: Open, ends: str) -> None:
    protocol = Recorder()
    peer = await connect(protocol)
    protocol.on_resume = lambda: getattr(protocol.transport, ends)()
    size = 8 * 1024 * 1024
    protocol.transport.write(b"x" * size)
    assert len(await peer.read(size + 1)) == size
    await protocol.lost()
    assert protocol.events == ["made", "pause", "resume", "lost"]


async def test_after_write_eof_it_is_read_on(connect: Open) -> None:
    protocol = Recorder()
    peer = await connect(protocol)
    assert protocol.transport.can_write_eof()
    protocol.transport.write(b"bye")
    protocol.transport.write_eof()
    protocol.transport.write_eof()
    with pytest.raises(RuntimeError):
        protocol.transport.write(b"more")
    assert await peer.read(4) == b"bye"
    await peer.send(b"you too")
    await eventually(lambda: protocol.received == b"you too")
    peer.socket.close()
    await protocol.lost()
    assert protocol.events == ["made", "eof", "lost"]


async def test_a_peer_that_ends_its_side_is_answered_if_the_protocol_stays(connect: Open) -> None:
    protocol = Recorder()
    protocol.stays = True
    peer = await connect(protocol)
    peer.socket.shutdown(socket.SHUT_WR)
    await eventually(lambda: "eof" in protocol.events)
    protocol.transport.write(b"answer")
    assert await peer.read(6) == b"answer"
    protocol.transport.close()
    await protocol.lost()
    assert protocol.events == ["made", "eof", "lost"]
    assert protocol.error is None


async def test_a_reset_is_told(connect: Open) -> None:
    protocol = Recorder()
    peer = await connect(protocol)
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.socket.close()
    await protocol.lost()
    assert protocol.events[-1] == "lost"
    assert isinstance(protocol.error, ConnectionResetError)


async def test_a_reset_while_much_waits_is_told(connect: Open) -> None:
    """Also while it is not read: a socket that can only be written tells of its end all the same."""
    protocol = Recorder()
    peer = await connect(protocol)
    protocol.transport.pause_reading()
    protocol.transport.write(b"x" * 16 * 1024 * 1024)
    assert protocol.events == ["made", "pause"]
    peer.socket.close()
    await protocol.lost()
    assert protocol.events == ["made", "pause", "lost"]


async def test_a_paused_transport_reads_nothing(connect: Open) -> None:
    protocol = Recorder()
    peer = await connect(protocol)
    protocol.on_data = protocol.transport.pause_reading
    await peer.send(b"one")
    await eventually(lambda: protocol.received == b"one")
    assert not protocol.transport.is_reading()
    await peer.send(b"two")
    protocol.transport.write(b"written meanwhile")
    assert await peer.read(17) == b"written meanwhile"
    assert protocol.received == b"one"
    protocol.transport.resume_reading()
    assert protocol.transport.is_reading()
    await eventually(lambda: protocol.received == b"onetwo")


async def test_another_protocol_is_told_what_follows(connect: Open) -> None:
    protocol, successor = Recorder(), Recorder()
    peer = await connect(protocol)
    protocol.on_data = lambda: protocol.transport.set_protocol(successor)
    await peer.send(b"head")
    await eventually(lambda: protocol.received == b"head")
    assert protocol.transport.get_protocol() is successor
    await peer.send(b"frames")
    await eventually(lambda: successor.received == b"frames")
    peer.socket.close()
    await successor.lost()
    assert (protocol.events, successor.events) == (["made"], ["eof", "lost"])
    protocol.events.append("lost")  # its connection has gone on


async def test_an_abort_drops_what_waits(connect: Open) -> None:
    protocol = Recorder()
    peer = await connect(protocol)
    size = 16 * 1024 * 1024
    protocol.transport.write(b"x" * size)
    protocol.transport.abort()
    assert protocol.transport.is_closing()
    assert "lost" not in protocol.events  # whoever aborts is not interrupted by it
    await protocol.lost()
    assert len(await peer.read(size)) < size
    assert protocol.error is None


async def test_an_error_of_the_protocol_ends_its_connection_alone(connect: Open) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    protocol, other = Recorder(), Recorder()
    peer, other_peer = await connect(protocol), await connect(other)

    def fail() -> None:
        raise ValueError("a mistake")

    protocol.on_data = fail
    await peer.send(b"x")
    await other_peer.send(b"y")
    await protocol.lost()
    await eventually(lambda: other.received == b"y")
    assert [str(context["exception"]) for context in told] == ["a mistake"]
    other.transport.close()
    await other.lost()


async def test_a_transport_knows_its_ends(connect: Open) -> None:
    protocol = Recorder()
    peer = await connect(protocol)
    transport = protocol.transport
    assert transport.get_extra_info("peername") == peer.socket.getsockname()
    assert transport.get_extra_info("sockname") == peer.socket.getpeername()
    assert transport.get_extra_info("socket").fileno() >= 0
    assert transport.get_extra_info("sslcontext") is None
    assert transport.get_extra_info("cipher", "none") == "none"
    transport.close()
    await protocol.lost()


async def test_who_it_was_can_be_told_after_a_reset(connect: Open) -> None:
    """The log names a client that breaks the rules, and those do not wait for it."""
    protocol = Recorder()
    peer = await connect(protocol)
    name = peer.socket.getsockname()
    protocol.transport.pause_reading()
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.socket.close()
    await asyncio.sleep(0)
    assert remote_of(protocol.transport) == format_peer(name)
    protocol.transport.resume_reading()
    await protocol.lost()
    assert remote_of(protocol.transport) == format_peer(name)


# What is ours alone


async def open_many(count: int) -> tuple[list[Recorder], list[Peer]]:
    """Make polled connections that share a poller."""
    poller = Poller()
    protocols, peers = [], []
    for _ in range(count):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        protocols.append(Recorder())
        peers.append(Peer(theirs))
        PolledTransport(poller, ours, "", protocols[-1]).begin()
    return protocols, peers


async def test_many_that_become_readable_at_once_are_all_read() -> None:
    protocols, peers = await open_many(200)
    for peer in peers:
        await peer.send(b"x")
    await eventually(lambda: all(protocol.received for protocol in protocols))
    for peer in peers:
        peer.socket.close()
    for protocol in protocols:
        await protocol.lost()


async def test_what_waits_does_not_change_with_the_buffer_that_it_came_in() -> None:
    (protocol,), (peer,) = await open_many(1)
    size = 8 * 1024 * 1024
    buffer = bytearray(b"x" * size)
    protocol.transport.write(buffer)
    buffer[:] = b"y" * size
    protocol.transport.writelines([buffer, b""])
    buffer[:] = b"z" * size
    data = await peer.read(2 * size)
    assert (data[:size].count(b"x"), data[size:].count(b"y")) == (size, size)
    protocol.transport.abort()
    await protocol.lost()
    peer.socket.close()


async def test_what_waits_of_one_message_is_held_once() -> None:
    """A hundred clients that are behind wait with the same megabytes."""
    protocols, peers = await open_many(100)
    message = bytes(8 * 1024 * 1024)
    before = sys.getrefcount(message)
    for protocol in protocols:
        protocol.transport.set_write_buffer_limits(0)
        protocol.transport.writelines([message, message])
    assert sys.getrefcount(message) > before + 100
    for protocol, peer in zip(protocols, peers, strict=True):
        assert protocol.events == ["made", "pause"]
        protocol.transport.abort()
        await protocol.lost()
        peer.socket.close()
    assert sys.getrefcount(message) == before


async def test_who_is_closed_by_another_in_the_same_turn_is_told_nothing_more() -> None:
    protocols, peers = await open_many(2)

    def close_all() -> None:
        for protocol in protocols:
            protocol.transport.abort()

    for protocol, peer in zip(protocols, peers, strict=True):
        protocol.on_data = close_all
        await peer.send(b"x")
    for protocol in protocols:
        await protocol.lost()
    assert sorted(len(protocol.received) for protocol in protocols) == [0, 1]
    for peer in peers:
        peer.socket.close()


async def test_an_idle_poller_is_watched_by_nobody_and_nothing_stays_of_it() -> None:
    """A server that is stopped leaves no descriptor behind."""
    epolls: list[Any] = []
    real = select.epoll

    def epoll() -> Any:
        epolls.append(real())
        return epolls[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(select, "epoll", epoll)
        protocols, peers = await open_many(2)
    for protocol in protocols:
        protocol.transport.close()
        await protocol.lost()
    (watched,) = epolls
    assert not asyncio.get_running_loop().remove_reader(watched.fileno())
    for peer in peers:
        peer.socket.close()


async def test_a_connection_that_is_gone_is_freed_at_once() -> None:
    (protocol,), (peer,) = await open_many(1)
    gc.collect()
    gc.disable()
    try:
        protocol.transport.abort()
        await protocol.lost()
        del protocol.transport
        assert not any(isinstance(thing, PolledTransport) for thing in gc.get_objects())
    finally:
        gc.enable()
    peer.socket.close()


async def test_behind_the_end_nothing_is_told_and_nothing_is_wrong() -> None:
    (protocol,), (peer,) = await open_many(1)
    protocol.stays = True
    peer.socket.shutdown(socket.SHUT_WR)
    await eventually(lambda: "eof" in protocol.events)
    transport = protocol.transport
    transport.resume_reading()  # there is nothing to read any more
    assert not transport.is_reading()
    transport.close()
    for end in (transport.close, transport.abort, transport.write_eof):
        end()
    await protocol.lost()
    for call in (transport.close, transport.abort, transport.pause_reading, transport.resume_reading):
        call()
    transport.write(b"into the void")
    await asyncio.sleep(0)
    assert protocol.events == ["made", "eof", "lost"]
    assert transport.get_extra_info("sockname", "gone") == "gone"
    peer.socket.close()


async def test_an_error_at_the_beginning_ends_the_connection() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    class Failing(Recorder):
        def connection_made(self, transport: Any) -> None:
            raise ValueError("a mistake")

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    protocol = Failing()
    PolledTransport(Poller(), ours, "", protocol).begin()
    await protocol.lost()
    assert ours.fileno() == -1
    assert len(told) == 1
    theirs.close()
