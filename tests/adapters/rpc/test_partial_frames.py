"""Frames that arrive in part: how long one may take, and how much memory all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from rr_py_ws.adapters.rpc import Registry, RPCListener
from rr_py_ws.adapters.rpc.connection import RPCConnection
from rr_py_ws.adapters.rpc.metrics import RPCMetrics
from rr_py_ws.adapters.rpc.partial_frames import PartialFrames, Pause
from rr_py_ws.config import Limits
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.rpc import encode_request
from support.goridge_frames import FRAMES
from support.loops import both_loops
from support.rpc_peer import Peer
from support.waiting import DEADLINE

pytestmark = both_loops

PUBLISH = FRAMES["publish_proto"][0]
Connect = Callable[[RPCListener], Awaitable[Peer]]


@pytest.fixture
async def start(registry: Registry) -> AsyncIterator[Callable[[Limits], Awaitable[RPCListener]]]:
    servers: list[RPCListener] = []

    async def start(limits: Limits) -> RPCListener:
        servers.append(RPCListener(registry, "tcp://127.0.0.1:0", limits=limits))
        await servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        await server.stop(grace=1.0)


Start = Callable[[Limits], Awaitable[RPCListener]]


class TestTime:
    @pytest.mark.parametrize("sent", [1, 11, 12, 20, len(PUBLISH) - 1])
    async def test_half_a_frame_is_waited_for_and_then_closes(
        self, start: Start, registry: Registry, sent: int
    ) -> None:
        server = await start(Limits(rpc_frame_timeout=0.05))
        peer = await Peer.connect(server.address)
        peer.send(PUBLISH + PUBLISH[:sent])
        assert await peer.frame() == FRAMES["publish_ok"][1]
        assert await peer.rest() == b""
        assert registry.counters.slow_frames == 1
        await peer.close()

    async def test_bytes_that_drip_do_not_buy_time(self, start: Start, registry: Registry) -> None:
        server = await start(Limits(rpc_frame_timeout=0.05))
        peer = await Peer.connect(server.address)
        peer.send(encode_request(1, "rpc.Version", bytes(100_000), Flag.RAW)[:20])
        async with asyncio.timeout(DEADLINE):
            while not registry.counters.slow_frames:
                peer.send(b"x")
                await asyncio.sleep(0.005)
        assert await peer.rest() == b""
        await peer.close()

    async def test_what_is_passed_over_has_to_arrive_too(self, start: Start, registry: Registry) -> None:
        server = await start(Limits(rpc_frame_timeout=0.05, rpc_payload=100))
        peer = await Peer.connect(server.address)
        peer.send(encode_request(1, "rpc.Version", bytes(100_000), Flag.RAW)[:1000])
        assert (await peer.frame()).flags & Flag.ERROR
        assert await peer.rest() == b""
        assert registry.counters.slow_frames == 1
        await peer.close()

    async def test_between_frames_a_connection_may_be_idle(self, start: Start, registry: Registry) -> None:
        """PHP workers hold theirs for hours."""
        server = await start(Limits(rpc_frame_timeout=0.02))
        idle = await Peer.connect(server.address)
        idle.send(PUBLISH[:10])
        await asyncio.sleep(0)
        idle.send(PUBLISH[10:])
        assert await idle.frame() == FRAMES["publish_ok"][1]
        for count in (1, 2):  # longer than the time that a frame has, whatever the machine does
            slow = await Peer.connect(server.address)
            slow.send(PUBLISH[:5])
            assert await slow.rest() == b""
            assert registry.counters.slow_frames == count
            await slow.close()
        assert await idle.is_served()
        await idle.close()


class FakeConnection(RPCConnection):
    """A connection whose reading is switched by what is tested."""

    def __init__(self) -> None:
        self.paused = 0
        self.resumed = asyncio.Event()
        self.closed_late = asyncio.Event()

    @property
    def waits(self) -> bool:
        return bool(self.paused & Pause.MEMORY)

    def pause(self, reason: int, paused: bool) -> None:
        if self.paused & reason and not paused:
            self.resumed.set()
        self.paused = self.paused | reason if paused else self.paused & ~reason

    def close_late(self) -> None:
        self.closed_late.set()


async def turn() -> None:
    """Let what is scheduled for the end of the turn happen."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


class TestMemory:
    async def test_over_the_limit_only_the_frame_that_was_begun_first_is_read_on(self) -> None:
        counters = RPCMetrics()
        partial, connections = PartialFrames(100, 60.0, counters), [FakeConnection() for _ in range(3)]
        for connection in connections:
            partial.update(connection, 30, 30, another=True)
        await turn()
        assert not any(connection.waits for connection in connections)
        partial.update(connections[2], 20, 50, another=False)
        await turn()
        assert [connection.waits for connection in connections] == [False, True, True]
        partial.update(connections[0], 500, 530, another=False)
        await turn()
        assert [connection.waits for connection in connections] == [False, True, True]
        partial.discard(connections[0])
        await turn()
        assert counters.partial_bytes == 80
        assert not any(connection.waits for connection in connections)
        partial.close()

    async def test_the_next_frame_of_a_peer_is_behind_those_of_the_others(self) -> None:
        partial, (one, two) = PartialFrames(10, 60.0, RPCMetrics()), (FakeConnection(), FakeConnection())
        partial.update(one, 30, 30, another=True)
        partial.update(two, 30, 30, another=True)
        await turn()
        assert (one.waits, two.waits) == (False, True)
        partial.update(one, 30, 30, another=True)
        await turn()
        assert (one.waits, two.waits) == (True, False)
        partial.close()

    async def test_one_that_could_not_go_on_delays_no_other(self) -> None:
        """A peer that does not read its replies is not read, so its frame would be the first for ever."""
        partial, (one, two) = PartialFrames(10, 60.0, RPCMetrics()), (FakeConnection(), FakeConnection())
        one.paused |= Pause.CALLS
        partial.update(one, 30, 30, another=True)
        partial.update(two, 30, 30, another=True)
        await turn()
        assert (one.waits, two.waits) == (True, False)
        partial.close()

    async def test_one_that_becomes_busy_later_delays_no_other_for_long(self) -> None:
        partial, (one, two) = PartialFrames(10, 0.02, RPCMetrics()), (FakeConnection(), FakeConnection())
        partial.update(one, 30, 30, another=True)
        partial.update(two, 30, 30, another=True)
        await turn()
        one.paused |= Pause.CALLS
        await two.resumed.wait()
        partial.close()

    async def test_one_that_is_not_read_is_not_timed(self) -> None:
        partial, (one, two) = PartialFrames(10, 0.01, RPCMetrics()), (FakeConnection(), FakeConnection())
        partial.update(one, 30, 30, another=True)
        partial.update(two, 30, 30, another=True)
        await one.closed_late.wait()
        assert two.waits
        assert not two.closed_late.is_set()
        partial.discard(one)
        await two.closed_late.wait()
        partial.close()

    async def test_large_frames_at_once_take_turns_and_all_arrive(
        self, start: Start, registry: Registry
    ) -> None:
        """Ten publishers send 2 MiB each where only 1 MiB may wait; small calls pass meanwhile."""
        server = await start(Limits(rpc_memory=1 << 20))
        peers = [await Peer.connect(server.address) for _ in range(10)]
        small = await Peer.connect(server.address)
        body = b'"' + b"x" * (2 << 20) + b'"'
        half = len(body) // 2
        for sequence, peer in enumerate(peers):
            peer.send(encode_request(sequence, "informer.Jobs", body, Flag.JSON)[:half])
        assert await small.is_served()
        for sequence, peer in enumerate(peers):
            peer.send(encode_request(sequence, "informer.Jobs", body, Flag.JSON)[half:])
        assert await small.is_served()
        for sequence, peer in enumerate(peers):
            assert (await peer.frame()).options[0] == sequence
        for peer in (*peers, small):
            await peer.close()
