"""Calls to topics that hold their publishers: they wait, in order, and nobody else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import pytest

from rr_py_ws.adapters.rpc import Registry, RPCListener, build_registry
from rr_py_ws.config import Limits
from rr_py_ws.core.hold import Hold, Topic
from rr_py_ws.wire.goridge import Flag
from support.loops import both_loops
from support.rpc_peer import Peer, RecordingPublisher
from support.waiting import eventually

pytestmark = both_loops


class Brake:
    """Holds the publishers of topics when a test says so."""

    def __init__(self) -> None:
        self.held: dict[Topic, Hold] = {}
        self.asked = 0

    def find_hold(self, broker: str, topics: Iterable[str]) -> Hold | None:
        self.asked += 1
        return next((self.held["", topic] for topic in topics if ("", topic) in self.held), None)

    def hold(self, topic: str, again: Hold | None = None) -> Hold:
        hold = self.held["", topic] = again or Hold(("", topic), 0)
        assert hold.begin(0)
        return hold

    def release(self, topic: str) -> Hold:
        hold = self.held.pop(("", topic))
        hold.end(0)
        hold.release()
        return hold


@pytest.fixture
def brake() -> Brake:
    return Brake()


@pytest.fixture
async def registry(publisher: RecordingPublisher, brake: Brake) -> Registry:
    return build_registry(
        publisher=publisher,
        holds=brake,
        pools={},
        probes={},
        version="2.11.4",
        config=lambda: b"{}",
        limits=Limits(),
    )


@pytest.fixture
async def small(registry: Registry) -> AsyncIterator[RPCListener]:
    """A listener with room for the frames of 2,000 bytes, and for half as many that are held."""
    server = RPCListener(registry, "tcp://127.0.0.1:0", limits=Limits(rpc_memory=2000))
    await server.start()
    yield server
    await server.stop(grace=1.0)


def to(*topics: str, payload: str = "") -> bytes:
    names = ",".join(f'"{topic}"' for topic in topics)
    return b'{"messages":[{"topics":[%s],"payload":"%s"}]}' % (names.encode(), payload.encode())


def published(publisher: RecordingPublisher) -> list[str]:
    return [topic for _, topic, _ in publisher.messages]


async def settle(peer: Peer) -> None:
    """Let everything that was sent arrive, and be served as far as it can be: another is served after it."""
    for _ in range(5):  # uvloop writes at the end of a turn
        await asyncio.sleep(0)
        assert await peer.is_served()


Connect = Callable[[], Awaitable[Peer]]


@pytest.mark.parametrize("service", ["broadcast", "websockets"])
@pytest.mark.parametrize("method", ["Publish", "PublishAsync"])
async def test_a_call_waits_with_what_follows_it_and_others_are_served(
    brake: Brake,
    connect: Connect,
    publisher: RecordingPublisher,
    registry: Registry,
    service: str,
    method: str,
) -> None:
    peer, other = await connect(), await connect()
    brake.hold("slow")
    method = f"{service}.{method}"
    for number, topic in enumerate(("first", "slow", "after", "slow")):
        peer.request(number, method, to(topic))
    peer.request(4, "rpc.Version", b"true")
    assert (await peer.frame()).options[0] == 0
    for _ in range(3):
        assert (await other.call(method, to("healthy")))[1] == b'{"ok":true}'
    await settle(other)
    assert published(publisher) == ["first", *["healthy"] * 3]
    assert registry.counters.held == 1
    brake.release("slow")
    assert [(await peer.frame()).options[0] for _ in range(4)] == [1, 2, 3, 4]
    assert published(publisher)[4:] == ["slow", "after", "slow"]
    assert registry.counters.held == 0


async def test_a_call_to_several_topics_waits_for_all_of_them(
    brake: Brake, connect: Connect, publisher: RecordingPublisher
) -> None:
    """And nothing of it is published before."""
    peer, other = await connect(), await connect()
    first, second = brake.hold("b"), brake.hold("c")
    peer.request(1, "broadcast.Publish", to("a", "b", "c"))
    await settle(other)
    assert (len(first.waiting), len(second.waiting)) == (1, 0)
    brake.release("b")
    await settle(other)
    assert published(publisher) == []
    assert len(second.waiting) == 1
    brake.release("c")
    assert (await peer.frame()).options[0] == 1
    assert published(publisher) == ["a", "b", "c"]


async def test_who_waits_goes_on_in_the_order_of_arrival(
    brake: Brake, connect: Connect, publisher: RecordingPublisher
) -> None:
    peers = [await connect() for _ in range(5)]
    other = await connect()
    brake.hold("slow")
    for number, peer in enumerate(peers):
        peer.request(1, "broadcast.Publish", to("slow", f"{number}"))
        await settle(other)
    brake.release("slow")
    for peer in peers:
        assert (await peer.frame()).options[0] == 1
    assert published(publisher)[1::2] == ["0", "1", "2", "3", "4"]


async def test_while_nothing_is_held_nobody_asks(brake: Brake, peer: Peer) -> None:
    await peer.call("broadcast.Publish", to("a"))
    assert brake.asked == 0


async def test_half_a_frame_behind_a_held_call_is_not_late(
    brake: Brake, registry: Registry, connect: Connect
) -> None:
    server = RPCListener(registry, "tcp://127.0.0.1:0", limits=Limits(rpc_frame_timeout=0.02))
    await server.start()
    peer, other = await Peer.connect(server.address), await connect()
    hold = brake.hold("slow")
    peer.request(1, "broadcast.Publish", to("slow"))
    peer.send(b"\x15")
    await eventually(lambda: hold.waiting)
    await asyncio.sleep(0.05)
    assert await other.is_served()
    assert registry.counters.slow_frames == 0
    brake.release("slow")
    assert (await peer.frame()).options[0] == 1
    assert await peer.rest() == b""
    assert registry.counters.slow_frames == 1
    await peer.close()
    await server.stop(grace=1)


async def test_a_half_closed_peer_gets_its_answer(
    brake: Brake, peer: Peer, connect: Connect, publisher: RecordingPublisher
) -> None:
    brake.hold("slow")
    peer.request(1, "broadcast.Publish", to("slow"))
    peer.half_close()
    await settle(await connect())
    brake.release("slow")
    assert (await peer.frame()).options[0] == 1
    assert await peer.rest() == b""


async def test_a_connection_that_is_cut_leaves_nothing(
    brake: Brake, peer: Peer, server: RPCListener, registry: Registry, publisher: RecordingPublisher
) -> None:
    hold = brake.hold("slow")
    peer.request(1, "broadcast.Publish", to("slow"))
    await eventually(lambda: hold.waiting)
    [connection] = server._connections
    connection.abort()
    assert await peer.rest() == b""
    await eventually(lambda: not server._connections)
    assert not hold.waiting
    assert (registry.counters.held, registry.counters.partial_bytes) == (0, 0)
    brake.release("slow")
    assert published(publisher) == []


async def test_a_stop_carries_out_what_is_held(
    brake: Brake, peer: Peer, connect: Connect, server: RPCListener, publisher: RecordingPublisher
) -> None:
    """A call that has begun is answered; what has only arrived behind it is not begun any more."""
    brake.hold("slow")
    peer.request(1, "broadcast.Publish", to("slow"))
    peer.request(2, "broadcast.Publish", to("slow"))
    await settle(await connect())
    await server.stop(grace=60)
    assert (await peer.frame()).options[0] == 1
    assert await peer.rest() == b""
    assert published(publisher) == ["slow"]


async def test_a_stop_waits_for_the_broker_that_takes_what_was_held(
    brake: Brake, peer: Peer, connect: Connect, server: RPCListener, publisher: RecordingPublisher
) -> None:
    brake.hold("slow")
    peer.request(1, "broadcast.Publish", to("slow"))
    await settle(await connect())
    [future] = publisher.wait(1)
    stopping = asyncio.create_task(server.stop(grace=60))
    await eventually(lambda: published(publisher) == ["slow"])
    assert not stopping.done()
    future.set_result(None)
    assert (await peer.frame()).options[0] == 1
    await stopping


async def test_many_that_waited_are_served_in_line(
    brake: Brake, connect: Connect, publisher: RecordingPublisher
) -> None:
    """The end of a hold does not serve a whole turn of each of them at once."""
    peers = [await connect() for _ in range(5)]
    brake.hold("slow")
    for peer in peers:
        peer.request(1, "broadcast.Publish", to("slow"))
    await settle(await connect())
    brake.release("slow")
    assert published(publisher) == []
    for peer in peers:
        assert (await peer.frame()).options[0] == 1


class TestLargeCalls:
    """A large call waits as a small one does: as bytes, counted, and a stop carries it out."""

    @staticmethod
    def body(topic: str = "slow") -> bytes:
        return to(topic, payload="A" * 300_000)

    async def test_waits_as_bytes(
        self, brake: Brake, connect: Connect, publisher: RecordingPublisher, registry: Registry
    ) -> None:
        """Decoded it took 25 times as much, and was counted nowhere."""
        peer, other = await connect(), await connect()
        hold = brake.hold("slow")
        peer.request(1, "broadcast.Publish", self.body())
        peer.request(2, "broadcast.Publish", to("after"))
        await eventually(lambda: hold.waiting)
        await settle(other)
        assert registry.counters.held == 1
        assert registry.counters.partial_bytes >= len(b"broadcast.Publish" + self.body())
        assert not registry.running
        assert (await other.call("broadcast.Publish", self.body("fine")))[1] == b'{"ok":true}'
        brake.release("slow")
        assert [(await peer.frame()).options[0] for _ in range(2)] == [1, 2]
        assert published(publisher) == ["fine", "slow", "after"]
        assert (registry.counters.held, registry.counters.partial_bytes) == (0, 0)

    async def test_one_that_is_short_and_publishes_much(
        self, brake: Brake, peer: Peer, connect: Connect, publisher: RecordingPublisher, registry: Registry
    ) -> None:
        hold = brake.hold("slow")
        topics = ["slow", *(f"t{number}" for number in range(99))]
        peer.request(1, "broadcast.Publish", to(*topics, payload="A" * 20_000))
        await eventually(lambda: hold.waiting)
        assert published(publisher) == []
        brake.release("slow")
        assert (await peer.frame()).options[0] == 1
        assert published(publisher) == topics

    async def test_a_topic_that_is_held_while_it_waits_for_its_turn(
        self, brake: Brake, connect: Connect, publisher: RecordingPublisher
    ) -> None:
        first, second = await connect(), await connect()
        first.request(1, "broadcast.Publish", to(*(f"t{number}" for number in range(3000))))
        await eventually(lambda: publisher.messages)
        second.request(1, "broadcast.Publish", self.body())
        hold = brake.hold("slow")
        await eventually(lambda: hold.waiting)
        assert (await first.frame()).options[0] == 1
        brake.release("slow")
        assert (await second.frame()).options[0] == 1

    async def test_a_hold_that_ends_and_begins_again(
        self, brake: Brake, peer: Peer, publisher: RecordingPublisher
    ) -> None:
        hold = brake.hold("slow")
        peer.request(1, "broadcast.Publish", self.body())
        for _ in range(3):
            await eventually(lambda: hold.waiting)
            brake.release("slow")
            brake.hold("slow", hold)
        await eventually(lambda: hold.waiting)
        assert published(publisher) == []
        brake.release("slow")
        assert (await peer.frame()).options[0] == 1

    async def test_a_stop_carries_it_out(
        self, brake: Brake, peer: Peer, server: RPCListener, publisher: RecordingPublisher
    ) -> None:
        hold = brake.hold("slow")
        peer.request(1, "broadcast.Publish", self.body())
        await eventually(lambda: hold.waiting)
        assert await server.stop(grace=60) == 0
        assert (await peer.frame()).options[0] == 1
        assert published(publisher) == ["slow"]

    async def test_a_stop_carries_out_one_that_has_not_found_its_hold_yet(
        self, brake: Brake, peer: Peer, server: RPCListener, publisher: RecordingPublisher, registry: Registry
    ) -> None:
        brake.hold("slow")
        registry.turns.pause(True)
        peer.request(1, "broadcast.Publish", self.body())
        await eventually(lambda: registry.running)
        stopping = asyncio.create_task(server.stop(grace=60))
        await asyncio.sleep(0)
        registry.turns.pause(False)
        assert await stopping == 0
        assert (await peer.frame()).options[0] == 1
        assert published(publisher) == ["slow"]

    async def test_without_room_it_is_carried_out(
        self, brake: Brake, small: RPCListener, publisher: RecordingPublisher, registry: Registry
    ) -> None:
        brake.hold("slow")
        peer = await Peer.connect(small.address)
        peer.request(1, "broadcast.Publish", self.body())
        assert (await peer.frame()).options[0] == 1
        assert published(publisher) == ["slow"]
        assert registry.counters.held == 0
        await peer.close()

    async def test_what_a_peer_that_leaves_has_sent_is_carried_out_when_the_hold_ends(
        self,
        brake: Brake,
        peer: Peer,
        connect: Connect,
        server: RPCListener,
        publisher: RecordingPublisher,
    ) -> None:
        hold = brake.hold("slow")
        peer.request(1, "broadcast.PublishAsync", self.body())
        peer.request(2, "broadcast.PublishAsync", to("after"))
        await eventually(lambda: hold.waiting)
        [connection] = server._connections
        connection._transport.abort()  # as when the system says so
        await settle(await connect())
        assert not connection.closed.done()
        brake.release("slow")
        await connection.closed
        assert published(publisher) == ["slow", "after"]


class TestMemory:
    async def test_what_is_held_counts_as_what_has_arrived_in_part(
        self, brake: Brake, peer: Peer, connect: Connect, registry: Registry
    ) -> None:
        hold = brake.hold("slow")
        body = to("slow", payload="x" * 5000)
        peer.request(1, "broadcast.Publish", body)
        await eventually(lambda: hold.waiting)
        assert registry.counters.partial_bytes == len(b"broadcast.Publish" + body)
        brake.release("slow")
        await peer.frame()
        assert registry.counters.partial_bytes == 0

    async def test_over_half_of_the_limit_nothing_more_is_held(
        self, brake: Brake, small: RPCListener, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        """The other half is for the frames of those whose topics are fine; send queues have limits, too."""
        brake.hold("slow")
        peers = [await Peer.connect(small.address) for _ in range(3)]
        for peer in peers:
            peer.request(1, "broadcast.Publish", to("slow", payload="a" * 600))
            peer.request(2, "broadcast.Publish", to("after"))
            await eventually(lambda: registry.counters.held or publisher.messages)
        for peer in peers[1:]:
            assert [(await peer.frame()).options[0] for _ in range(2)] == [1, 2]
        assert registry.counters.held == 1
        assert published(publisher) == ["slow", "after"] * 2
        brake.release("slow")
        assert [(await peers[0].frame()).options[0] for _ in range(2)] == [1, 2]
        for peer in peers:
            await peer.close()

    async def test_large_frames_that_are_held_do_not_keep_others_from_being_read(
        self, brake: Brake, small: RPCListener, registry: Registry
    ) -> None:
        """Over `rpc_memory` only the frame that began first is read on, and held ones are not it."""
        hold = brake.hold("slow")
        held, other = [await Peer.connect(small.address) for _ in range(2)]
        held.request(1, "broadcast.Publish", to("slow", payload="a" * 800))
        held.send(bytes([0x15]) * 4)
        await eventually(lambda: hold.waiting)
        other.request(1, "broadcast.Publish", to("healthy", payload="a" * 100_000))
        assert (await other.frame()).options[0] == 1
        await other.close()
        await held.close()


async def test_what_is_held_again_before_it_had_its_turn_is_not_even_decoded(
    brake: Brake, peer: Peer, connect: Connect, server: RPCListener, publisher: RecordingPublisher
) -> None:
    """A full turn pauses everybody; when it is written, the topic may be slow again."""
    other = await connect()
    brake.hold("slow")
    peer.request(1, "broadcast.Publish", to("slow"))
    await settle(other)
    server.pause(True)
    hold = brake.release("slow")
    brake.hold("slow", hold)
    asked = brake.asked
    server.pause(False)
    await settle(other)
    assert brake.asked == asked
    assert published(publisher) == []
    brake.release("slow")
    assert (await peer.frame()).options[0] == 1


async def test_what_was_released_in_a_full_turn_goes_on_with_the_next(
    brake: Brake, peer: Peer, connect: Connect, server: RPCListener, publisher: RecordingPublisher
) -> None:
    brake.hold("slow")
    peer.request(1, "broadcast.Publish", to("slow"), Flag.JSON)
    await settle(await connect())
    server.pause(True)
    brake.release("slow")
    assert published(publisher) == []
    server.pause(False)
    assert (await peer.frame()).options[0] == 1
