"""Frames that arrive in part: how long one may take, and how much memory all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from rr_py_ws.adapters.rpc import RPCLimits, RPCServer, Services
from rr_py_ws.adapters.rpc.partial_frames import Unfinished
from rr_py_ws.adapters.rpc.stats import RPCStats
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.rpc import encode_request
from support.goridge_frames import FRAMES
from support.patience import DEADLINE
from support.rpc_peer import Peer

PUBLISH = FRAMES["publish_proto"][0]
Connect = Callable[[RPCServer], Awaitable[Peer]]


@pytest.fixture
async def start(services: Services) -> AsyncIterator[Callable[[RPCLimits], Awaitable[RPCServer]]]:
    servers: list[RPCServer] = []

    async def start(limits: RPCLimits) -> RPCServer:
        servers.append(RPCServer(services, "tcp://127.0.0.1:0", limits=limits))
        await servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        await server.stop(grace=1.0)


Start = Callable[[RPCLimits], Awaitable[RPCServer]]


class TestTime:
    @pytest.mark.parametrize("sent", [1, 11, 12, 20, len(PUBLISH) - 1])
    async def test_half_a_frame_is_waited_for_and_then_given_up(
        self, start: Start, services: Services, sent: int
    ) -> None:
        server = await start(RPCLimits(frame_timeout=0.05))
        peer = await Peer.connect(server.address)
        peer.send(PUBLISH + PUBLISH[:sent])
        assert await peer.frame() == FRAMES["publish_ok"][1]
        assert await peer.rest() == b""
        assert services.stats.slow_frames == 1
        await peer.close()

    async def test_bytes_that_drip_do_not_buy_time(self, start: Start, services: Services) -> None:
        server = await start(RPCLimits(frame_timeout=0.05))
        peer = await Peer.connect(server.address)
        peer.send(encode_request(1, "rpc.Version", bytes(100_000), Flag.RAW)[:20])
        async with asyncio.timeout(DEADLINE):
            while not services.stats.slow_frames:
                peer.send(b"x")
                await asyncio.sleep(0.005)
        assert await peer.rest() == b""
        await peer.close()

    async def test_what_is_passed_over_has_to_arrive_too(self, start: Start, services: Services) -> None:
        server = await start(RPCLimits(frame_timeout=0.05, payload=100))
        peer = await Peer.connect(server.address)
        peer.send(encode_request(1, "rpc.Version", bytes(100_000), Flag.RAW)[:1000])
        assert (await peer.frame()).flags & Flag.ERROR
        assert await peer.rest() == b""
        assert services.stats.slow_frames == 1
        await peer.close()

    async def test_between_frames_a_connection_may_be_idle(self, start: Start, services: Services) -> None:
        """PHP workers hold theirs for hours."""
        server = await start(RPCLimits(frame_timeout=0.02))
        idle = await Peer.connect(server.address)
        idle.send(PUBLISH[:10])
        await asyncio.sleep(0)
        idle.send(PUBLISH[10:])
        assert await idle.frame() == FRAMES["publish_ok"][1]
        for count in (1, 2):  # longer than the time that a frame has, whatever the machine does
            slow = await Peer.connect(server.address)
            slow.send(PUBLISH[:5])
            assert await slow.rest() == b""
            assert services.stats.slow_frames == count
            await slow.close()
        assert await idle.is_served()
        await idle.close()


class FakePeer:
    """A connection whose reading is switched by what is tested."""

    def __init__(self) -> None:
        self.busy = False
        self.parked = False
        self.released = asyncio.Event()
        self.given_up = asyncio.Event()

    @property
    def blocked(self) -> bool:
        return self.busy or self.parked

    def park(self, parked: bool) -> None:
        if self.parked and not parked:
            self.released.set()
        self.parked = parked

    def give_up(self) -> None:
        self.given_up.set()


async def turn() -> None:
    """Let what is scheduled for the end of the turn happen."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


class TestMemory:
    async def test_over_the_limit_only_the_frame_that_was_begun_first_is_read_on(self) -> None:
        stats = RPCStats()
        unfinished, peers = Unfinished(100, 60.0, stats), [FakePeer() for _ in range(3)]
        for peer in peers:
            unfinished.update(peer, 30, 30, another=True)
        await turn()
        assert not any(peer.parked for peer in peers)
        unfinished.update(peers[2], 20, 50, another=False)
        await turn()
        assert [peer.parked for peer in peers] == [False, True, True]
        unfinished.update(peers[0], 500, 530, another=False)
        await turn()
        assert [peer.parked for peer in peers] == [False, True, True]
        unfinished.finished(peers[0])
        await turn()
        assert stats.unfinished == 80
        assert not any(peer.parked for peer in peers)
        unfinished.close()

    async def test_the_next_frame_of_a_peer_is_behind_those_of_the_others(self) -> None:
        unfinished, (one, two) = Unfinished(10, 60.0, RPCStats()), (FakePeer(), FakePeer())
        unfinished.update(one, 30, 30, another=True)
        unfinished.update(two, 30, 30, another=True)
        await turn()
        assert (one.parked, two.parked) == (False, True)
        unfinished.update(one, 30, 30, another=True)
        await turn()
        assert (one.parked, two.parked) == (True, False)
        unfinished.close()

    async def test_who_could_not_go_on_holds_nobody_up(self) -> None:
        """A peer that does not read its replies is not read, so its frame would be the first for ever."""
        unfinished, (one, two) = Unfinished(10, 60.0, RPCStats()), (FakePeer(), FakePeer())
        one.busy = True
        unfinished.update(one, 30, 30, another=True)
        unfinished.update(two, 30, 30, another=True)
        await turn()
        assert (one.parked, two.parked) == (True, False)
        unfinished.close()

    async def test_who_becomes_busy_later_holds_nobody_up_for_long(self) -> None:
        unfinished, (one, two) = Unfinished(10, 0.02, RPCStats()), (FakePeer(), FakePeer())
        unfinished.update(one, 30, 30, another=True)
        unfinished.update(two, 30, 30, another=True)
        await turn()
        one.busy = True
        await two.released.wait()
        unfinished.close()

    async def test_who_is_not_read_is_not_timed(self) -> None:
        unfinished, (one, two) = Unfinished(10, 0.01, RPCStats()), (FakePeer(), FakePeer())
        unfinished.update(one, 30, 30, another=True)
        unfinished.update(two, 30, 30, another=True)
        await one.given_up.wait()
        assert two.parked
        assert not two.given_up.is_set()
        unfinished.finished(one)
        await two.given_up.wait()
        unfinished.close()

    async def test_large_frames_at_once_take_turns_and_all_arrive(
        self, start: Start, services: Services
    ) -> None:
        """Ten publishers send 2 MiB each where only 1 MiB may wait; small calls pass meanwhile."""
        server = await start(RPCLimits(unfinished=1 << 20))
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
