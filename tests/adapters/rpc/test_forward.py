"""Calls of services that are not ours: to RoadRunner and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from rr_py_ws.adapters.rpc import CallTurns, Registry, RPCListener, build_registry
from rr_py_ws.adapters.rpc import forward as forward_module
from rr_py_ws.adapters.rpc.forward import Forward
from rr_py_ws.adapters.rpc.turns import CALL
from rr_py_ws.config import Limits
from rr_py_ws.core.ports import Probe
from rr_py_ws.errors import ConfigError
from rr_py_ws.wire.goridge import Flag, Frame, encode_frame
from rr_py_ws.wire.rpc import encode_reply, parse_request
from support.loops import both_loops
from support.roadrunner_rpc import RoadRunner, echo, plugins
from support.rpc_peer import IdlePool, Peer, RecordingPublisher
from support.waiting import DEADLINE, eventually

pytestmark = both_loops

GOB = b"\x07\xff\x81\x03\x01\x01\x00\xff"
ERROR = Flag.JSON | Flag.ERROR
LIMITS = Limits(rpc_payload=1 << 20, rpc_memory=4 << 20)
TOPIC = b'{"messages":[{"topics":["a"],"payload":"eA=="}]}'


@pytest.fixture
async def roadrunner() -> AsyncIterator[RoadRunner]:
    roadrunner = RoadRunner()
    await roadrunner.start()
    yield roadrunner
    await roadrunner.stop()


@pytest.fixture
def limits() -> Limits:
    return LIMITS


class RecordingTurns(CallTurns):
    """Remembers how many units were left at the end of each turn that was used up by half."""

    def __init__(self) -> None:
        super().__init__()
        self.least: list[int] = []

    def _begin(self) -> None:
        self.least.append(self.left)
        super()._begin()


@pytest.fixture
def turns() -> RecordingTurns:
    return RecordingTurns()


@pytest.fixture
async def forward(roadrunner: RoadRunner, limits: Limits, turns: CallTurns) -> AsyncIterator[Forward]:
    forward = Forward(roadrunner.address, limits, turns)
    await forward.start()
    yield forward
    await forward.close()


@pytest.fixture
async def registry(
    forward: Forward, publisher: RecordingPublisher, pool: IdlePool, limits: Limits, turns: CallTurns
) -> Registry:
    return build_registry(
        publisher=publisher,
        pools={"websockets": pool},
        probes={"websockets": Probe(healthy=lambda: True, ready=lambda: False)},
        version="2.11.4",
        config=lambda: b"{}",
        limits=limits,
        neighbour=forward,
        turns=turns,
    )


@pytest.fixture
async def server(registry: Registry, limits: Limits) -> AsyncIterator[RPCListener]:
    server = RPCListener(registry, "tcp://127.0.0.1:0", limits=limits)
    await server.start()
    yield server
    await server.stop(grace=1.0)


Connect = Callable[[], Awaitable[Peer]]


def sample(forward: Forward, name: str, *labels: str) -> float:
    """One metric of the forwarding."""
    [found] = [one for one in forward.metrics() if one.name == name]
    return found.values[labels]


class TestOneCall:
    @pytest.mark.parametrize(
        "flags",
        [Flag.GOB, Flag.GOB | Flag.PROTO, Flag.RAW, Flag.JSON | 0x02, 0, Flag.MSGPACK | Flag.CONTROL, 0xFF],
    )
    @pytest.mark.parametrize("stream", [0, 0x01, 0x04, 0xFF])
    async def test_it_arrives_as_it_was_sent(
        self, peer: Peer, roadrunner: RoadRunner, flags: int, stream: int
    ) -> None:
        peer.send(encode_frame(flags, (2**32 - 1, 9), b"jobs.Push" + GOB, stream))
        await peer.frame()
        [frame] = roadrunner.frames
        assert frame == Frame(flags, (frame.options[0], 9), b"jobs.Push" + GOB, stream)

    @pytest.mark.parametrize("flags", [Flag.GOB, Flag.GOB | Flag.ERROR, Flag.PROTO, 0x02, 0xFF])
    @pytest.mark.parametrize("more", [(), (77,), tuple(range(8))])
    async def test_its_answer_comes_back_byte_for_byte(
        self, peer: Peer, roadrunner: RoadRunner, flags: int, more: tuple[int, ...]
    ) -> None:
        roadrunner.answer = lambda frame: encode_frame(
            flags, (frame.options[0], 9, *more), b"jobs.Push" + GOB, 0x05
        )
        peer.request(0, "jobs.Push", GOB, Flag.GOB)
        assert await peer.frame() == Frame(flags, (0, 9, *more), b"jobs.Push" + GOB, 0x05)

    async def test_an_empty_answer_is_one(self, peer: Peer, roadrunner: RoadRunner) -> None:
        roadrunner.answer = lambda frame: encode_frame(Flag.PROTO, (frame.options[0], 0), b"")
        peer.request(3, "kv.Clear", b"", Flag.PROTO)
        assert await peer.frame() == Frame(Flag.PROTO, (3, 0), b"")

    async def test_a_unix_socket_will_do(self, tmp_path: Path, limits: Limits, turns: CallTurns) -> None:
        roadrunner = RoadRunner()
        await roadrunner.start(f"unix://{tmp_path}/rr.sock")
        forward = Forward(roadrunner.address, limits, turns)
        await forward.start()
        body = b'"over a file"'
        roadrunner.answer = lambda frame: encode_reply(parse_request(frame), body)
        assert await forward.ask("kv.Has", None) == "over a file"
        await forward.close()
        await roadrunner.stop()

    def test_another_address_is_an_error_that_names_the_key(self, turns: CallTurns) -> None:
        with pytest.raises(ConfigError, match=r"websockets\.rpc\.forward.*tcp://host:port"):
            Forward("http://127.0.0.1:6001", LIMITS, turns)


class TestNumbers:
    async def test_two_publishers_may_use_the_same_one(
        self, connect: Connect, roadrunner: RoadRunner
    ) -> None:
        roadrunner.answer = lambda frame: None
        peers = [await connect() for _ in range(8)]
        for number, peer in enumerate(peers):
            peer.request(1, "kv.Get", b"%d" % number)
        frames = await roadrunner.calls(8)
        for frame in reversed(frames):
            roadrunner.send(echo(frame))
        for number, peer in enumerate(peers):
            assert await peer.frame() == Frame(Flag.JSON, (1, 6), b"kv.Get%d" % number)

    async def test_one_publisher_may_use_one_twice(self, peer: Peer, roadrunner: RoadRunner) -> None:
        """RoadRunner itself ends with a panic (the double fails) when a number is used twice."""
        roadrunner.answer = lambda frame: None
        for body in (b"a", b"b", b"c"):
            peer.request(5, "kv.Get", body)
        for frame in await roadrunner.calls(3):
            roadrunner.send(echo(frame))
        assert [(await peer.frame()).payload for _ in range(3)] == [b"kv.Geta", b"kv.Getb", b"kv.Getc"]

    async def test_pipelined_calls_keep_their_order_here_and_there(
        self, peer: Peer, roadrunner: RoadRunner, publisher: RecordingPublisher
    ) -> None:
        for number in range(300):
            peer.request(2 * number, "jobs.Push", b"%d" % number, Flag.GOB)
            peer.request(2 * number + 1, "broadcast.Publish", TOPIC.replace(b'"a"', b'"%d"' % number))
        options = [(await peer.frame()).options[0] for _ in range(600)]
        assert [number for number in options if not number % 2] == list(range(0, 600, 2))
        assert [frame.payload for frame in roadrunner.frames] == [b"jobs.Push%d" % n for n in range(300)]
        assert [topic for _, topic, _ in publisher.messages] == [str(number) for number in range(300)]


class TestAway:
    async def test_its_calls_fail_at_once_and_ours_do_not(
        self, peer: Peer, roadrunner: RoadRunner, forward: Forward
    ) -> None:
        await roadrunner.stop()
        await eventually(lambda: not sample(forward, "rpc_forward_connected"))
        flags, text = await peer.call("jobs.Push")
        assert flags == ERROR
        assert text.startswith(b"websockets.rpc.forward: RoadRunner at " + roadrunner.address.encode())
        assert b" is away: " in text
        assert await peer.is_served()
        assert sample(forward, "rpc_forward_failures", "away") == 1
        again = RoadRunner()
        await again.start(roadrunner.address)
        await eventually(lambda: sample(forward, "rpc_forward_connected"))
        assert await peer.call("jobs.Push", b"1") == (Flag.JSON, b"1")
        assert sample(forward, "rpc_forward_reconnects") == 1
        await again.stop()
        await roadrunner.start()  # for the fixture

    async def test_the_start_does_not_wait_for_it(self, turns: CallTurns) -> None:
        roadrunner = RoadRunner()
        await roadrunner.start()
        await roadrunner.stop()
        forward = Forward(roadrunner.address, LIMITS, turns)
        await forward.start()
        assert not sample(forward, "rpc_forward_connected")
        await forward.close()

    async def test_calls_in_flight_are_told_when_it_goes(
        self, connect: Connect, roadrunner: RoadRunner, forward: Forward
    ) -> None:
        roadrunner.answer = lambda frame: None
        peers = [await connect() for _ in range(3)]
        for peer in peers:
            for number in range(200):
                peer.request(number, "jobs.Push")
        await roadrunner.calls(600)
        roadrunner.drop()
        for peer in peers:
            frames = [await peer.frame() for _ in range(200)]
            assert [frame.options[0] for frame in frames] == list(range(200))
            assert all(b"the connection was lost before the answer" in frame.payload for frame in frames)
        assert sample(forward, "rpc_forward_failures", "lost") == 600
        roadrunner.answer = echo
        await eventually(lambda: sample(forward, "rpc_forward_connected"))
        assert await peers[0].call("jobs.Push", b"1") == (Flag.JSON, b"1")

    async def test_what_it_sent_before_it_went_is_given_back(
        self, peer: Peer, roadrunner: RoadRunner
    ) -> None:
        roadrunner.answer = lambda frame: None
        for number in range(3):
            peer.request(number, "jobs.Push", b"%d" % number)
        frames = await roadrunner.calls(3)
        roadrunner.send(echo(frames[0]) + echo(frames[2]))
        roadrunner.links[-1].transport.close()
        flags = {frame.options[0]: frame.flags for frame in [await peer.frame() for _ in range(3)]}
        assert flags == {0: Flag.JSON, 1: ERROR, 2: Flag.JSON}


def with_three_options(frame: Frame) -> bytes:
    """Answer as goridge may and RoadRunner does not."""
    sequence, size = frame.options
    return encode_frame(Flag.JSON, (sequence, size, 0), frame.payload[:size] + b"true")


NAME = b"jobs.Push"
BROKEN = {
    "noise": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "checksum": b"\x15\x08\x09\x00\x00\x00\xde\xad\xbe\xef\x00\x00" + bytes(8) + NAME,
    "unknown number": encode_frame(Flag.JSON, (4242, 9), NAME),
    "no options": encode_frame(Flag.CONTROL, (), b'{"stop":true}'),
    "pong": encode_frame(0, (), b"", 0x08),
    "one option": encode_frame(Flag.JSON, (1,), NAME),
    "name longer than all": encode_frame(Flag.JSON, (1, 10), NAME),
    "large and for nobody": encode_frame(Flag.JSON, (4242, 9), NAME + bytes(LIMITS.rpc_payload)),
    "large without options": encode_frame(Flag.JSON, (), bytes(LIMITS.rpc_payload + 1)),
}


class TestBroken:
    @pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
    async def test_what_is_no_answer_costs_one_reconnect_and_tells_the_calls_in_flight(
        self, peer: Peer, roadrunner: RoadRunner, forward: Forward, broken: bytes
    ) -> None:
        roadrunner.answer = lambda frame: None
        for number in range(3):
            peer.request(number, "jobs.Push")
        frames = await roadrunner.calls(3)
        roadrunner.send(echo(frames[1]) + broken)
        assert (await peer.frame()).options == (1, 9)
        for number in (0, 2):
            frame = await peer.frame()
            assert (frame.flags, frame.options[0]) == (ERROR, number)
            assert b"lost before the answer: what it sent is no answer: " in frame.payload
        roadrunner.answer = echo
        await eventually(lambda: sample(forward, "rpc_forward_connected"))
        assert await peer.call("jobs.Push", b"1") == (Flag.JSON, b"1")
        assert roadrunner.connects == 2

    async def test_what_cannot_be_read_as_an_answer_to_the_probe_is_one(self, turns: CallTurns) -> None:
        """It ended the task that connects: a server never started, or had no RoadRunner any more."""
        roadrunner = RoadRunner()
        roadrunner.answer_probe = with_three_options
        await roadrunner.start()
        forward = Forward(roadrunner.address, LIMITS, turns)
        async with asyncio.timeout(DEADLINE):
            await forward.start()
        assert sample(forward, "rpc_forward_connected")
        await forward.close()
        await roadrunner.stop()

    async def test_what_cannot_be_read_as_a_list_is_none(self, peer: Peer, roadrunner: RoadRunner) -> None:
        roadrunner.answer = with_three_options
        assert await peer.call("informer.List", b"true") == (Flag.JSON, b'["websockets"]')

    async def test_an_answer_that_is_too_large_costs_its_own_call_only(
        self, peer: Peer, roadrunner: RoadRunner
    ) -> None:
        sizes = iter((LIMITS.rpc_payload, LIMITS.rpc_payload + 1, 10))
        roadrunner.answer = lambda frame: encode_frame(
            Flag.GOB, (frame.options[0], 9), b"jobs.Push".ljust(next(sizes), b"x")
        )
        for number in range(3):
            peer.request(number, "jobs.Push", b"", Flag.GOB)
        first, second, third = [await peer.frame() for _ in range(3)]
        assert (first.flags, len(first.payload)) == (Flag.GOB, LIMITS.rpc_payload)
        assert (second.flags, second.options) == (Flag.GOB | Flag.ERROR, (1, 9))
        assert second.payload.startswith(
            b"jobs.PushRoadRunner's answer is too large: payload of 1048577 bytes"
        )
        assert second.payload.endswith(b"(websockets.limits.rpc_payload)")
        assert third.payload == b"jobs.Pushx"
        assert roadrunner.connects == 1

    @pytest.mark.parametrize("limits", [Limits(rpc_frame_timeout=0.05)])
    async def test_half_an_answer_is_not_waited_for(self, peer: Peer, roadrunner: RoadRunner) -> None:
        roadrunner.answer = lambda frame: None
        peer.request(1, "jobs.Push")
        [frame] = await roadrunner.calls(1)
        roadrunner.send(echo(frame)[:-1])
        frame = await peer.frame()
        assert frame.flags == ERROR
        assert b"half an answer for 0.05 s (websockets.limits.rpc_frame_timeout)" in frame.payload


class TestStandstill:
    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(forward_module, "_SILENCE", 0.02)
        monkeypatch.setattr(forward_module, "_CONNECT_TIMEOUT", 0.2)

    @pytest.mark.parametrize("size", [1, LIMITS.rpc_payload - 9])
    async def test_calls_do_not_wait_for_a_roadrunner_that_answers_nothing(
        self, connect: Connect, roadrunner: RoadRunner, forward: Forward, size: int
    ) -> None:
        """It took connections and calls, as a stopped process does, and publishers waited for ever."""
        peer = await connect()
        roadrunner.answer = lambda frame: None
        roadrunner.read(False)
        for number in range(4):
            peer.request(number, "jobs.Push", bytes(size), Flag.RAW)
        frames = [await peer.frame() for _ in range(4)]
        assert all(frame.flags == Flag.RAW | Flag.ERROR for frame in frames)
        assert b"the connection was lost before the answer: it answers nothing" in frames[0].payload
        roadrunner.answer = echo
        await eventually(lambda: roadrunner.connects >= 2 and sample(forward, "rpc_forward_connected"))
        assert await peer.call("kv.Get", b"1") == (Flag.JSON, b"1")

    async def test_a_call_that_takes_long_is_waited_for(
        self, connect: Connect, roadrunner: RoadRunner
    ) -> None:
        peer = await connect()
        roadrunner.answer = lambda frame: None
        peer.request(1, "jobs.Push", b"1")
        [frame] = await roadrunner.calls(1)
        await eventually(lambda: roadrunner.probes >= 3)  # the first with the connection
        roadrunner.send(echo(frame))
        assert (await peer.frame()).flags == Flag.JSON


class TestOverload:
    async def test_only_those_wait_whose_calls_it_does_not_take(
        self, connect: Connect, roadrunner: RoadRunner, forward: Forward, registry: Registry
    ) -> None:
        roadrunner.read(False)
        sender, other = await connect(), await connect()
        body = bytes(LIMITS.rpc_payload - 9)
        for number in range(64):
            sender.request(number, "jobs.Push", body, Flag.RAW)
        await eventually(lambda: registry.counters.held == 1)
        # A frame that was begun before the pause, and the transport's own 64 KiB.
        assert sample(forward, "rpc_forward_unsent_bytes") < 2 * LIMITS.rpc_payload
        assert await other.is_served()
        roadrunner.answer = lambda frame: encode_reply(parse_request(frame), b"")
        roadrunner.read(True)
        assert [(await sender.frame()).options[0] for _ in range(64)] == list(range(64))
        assert all(frame.payload == b"jobs.Push" + body for frame in roadrunner.frames)

    async def test_who_waits_is_told_when_it_goes(
        self, connect: Connect, roadrunner: RoadRunner, registry: Registry
    ) -> None:
        roadrunner.read(False)
        peer = await connect()
        for number in range(16):
            peer.request(number, "jobs.Push", bytes(LIMITS.rpc_payload - 9), Flag.RAW)
        await eventually(lambda: registry.counters.held == 1)
        roadrunner.drop()
        flags = {frame.options[0]: frame.flags for frame in [await peer.frame() for _ in range(16)]}
        assert sorted(flags) == list(range(16))
        assert flags[0] == Flag.RAW | Flag.ERROR
        assert registry.counters.held == 0

    @pytest.mark.parametrize("limits", [Limits(rpc_payload=1 << 20, rpc_memory=1 << 20)])
    async def test_without_room_to_wait_a_call_is_refused(
        self, connect: Connect, roadrunner: RoadRunner, forward: Forward
    ) -> None:
        roadrunner.read(False)
        peer = await connect()
        for number in range(16):
            peer.request(number, "jobs.Push", bytes(600_000), Flag.RAW)
        frame = await peer.frame()
        assert frame.flags == Flag.RAW | Flag.ERROR
        assert frame.payload.endswith(b"takes no more calls at the moment")
        assert sample(forward, "rpc_forward_failures", "full") > 0

    async def test_answers_that_are_not_read_cost_their_publisher_only(
        self, connect: Connect, roadrunner: RoadRunner, registry: Registry
    ) -> None:
        """4 MiB may wait; 32 calls are answered with a MiB each."""
        deaf, other = await connect(), await connect()
        answer = bytes(LIMITS.rpc_payload - 6)
        roadrunner.answer = lambda frame: encode_reply(parse_request(frame), answer)
        for number in range(32):
            deaf.request(number, "kv.Get")
        await eventually(lambda: registry.counters.unread == 1)
        roadrunner.answer = echo
        assert await other.call("kv.Get", b"1") == (Flag.JSON, b"1")
        assert roadrunner.connects == 1

    async def test_answers_for_publishers_that_left_are_dropped(
        self, connect: Connect, roadrunner: RoadRunner, registry: Registry, forward: Forward
    ) -> None:
        roadrunner.answer = lambda frame: None
        gone, other = await connect(), await connect()
        gone.request(1, "jobs.Push", b"carried out all the same")
        gone.reset()
        [frame] = await roadrunner.calls(1)
        await eventually(lambda: registry.counters.connections == 1)
        roadrunner.send(echo(frame))
        roadrunner.answer = echo
        assert await other.call("jobs.Push", b"1") == (Flag.JSON, b"1")
        assert sample(forward, "rpc_forward_running") == 0
        assert roadrunner.connects == 1

    async def test_very_many_answers_are_given_back_in_turns(
        self, connect: Connect, roadrunner: RoadRunner, turns: RecordingTurns
    ) -> None:
        roadrunner.answer = lambda frame: None
        peer = await connect()
        for number in range(1000):
            peer.request(number, "jobs.Push")
        frames = await roadrunner.calls(1000)
        turns.least.clear()
        roadrunner.send(b"".join(map(echo, frames)))
        assert [(await peer.frame()).options[0] for _ in range(1000)] == list(range(1000))
        assert len(turns.least) > 1  # that is more than one turn
        assert min(turns.least) > -CALL - 100


class TestBoth:
    @pytest.fixture(autouse=True)
    def _plugins(self, roadrunner: RoadRunner) -> None:
        roadrunner.answer = plugins("http", "jobs", "websockets")

    @pytest.mark.parametrize("method", ["informer.List", "resetter.List"])
    async def test_the_plugins_of_both_are_listed_ours_first(self, peer: Peer, method: str) -> None:
        assert await peer.call(method, b"true") == (Flag.JSON, b'["websockets","http","jobs"]')

    @pytest.mark.parametrize("method", ["informer.List", "resetter.List"])
    async def test_while_it_is_away_ours_are(
        self, peer: Peer, roadrunner: RoadRunner, forward: Forward, method: str
    ) -> None:
        await forward.close()
        assert await peer.call(method, b"true") == (Flag.JSON, b'["websockets"]')

    async def test_while_it_does_not_answer_ours_are(
        self, peer: Peer, roadrunner: RoadRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """PHP asks whether `websockets` is there, and must not wait for RoadRunner."""
        monkeypatch.setattr(forward_module, "_ANSWER_TIMEOUT", 0.01)
        roadrunner.answer = lambda frame: None
        assert await peer.call("informer.List", b"true") == (Flag.JSON, b'["websockets"]')
        [frame] = roadrunner.frames
        roadrunner.send(echo(frame))  # too late, and no harm
        assert await peer.is_served()

    @pytest.mark.parametrize("answer", [b"nonsense", b"{}", b"[1,null]", b"null"])
    async def test_a_list_that_is_none_is_no_plugin(
        self, peer: Peer, roadrunner: RoadRunner, answer: bytes
    ) -> None:
        roadrunner.answer = lambda frame: encode_reply(parse_request(frame), answer)
        assert await peer.call("informer.List", b"true") == (Flag.JSON, b'["websockets"]')

    async def test_workers_are_those_of_both(self, peer: Peer) -> None:
        _, body = await peer.call("informer.Workers", b'"websockets"')
        assert body.startswith(b'{"workers":[{"pid":4242,')
        assert body.endswith(b'},{"pid":99}]}')
        assert await peer.call("informer.Workers", b'"jobs"') == (Flag.JSON, b'{"workers":[{"pid":99}]}')

    async def test_a_reset_is_done_by_both(self, peer: Peer, roadrunner: RoadRunner, pool: IdlePool) -> None:
        assert await peer.call("resetter.Reset", b'"websockets"') == (Flag.JSON, b"true")
        assert pool.resets == 1
        assert await peer.call("resetter.Reset", b'"jobs"') == (Flag.JSON, b"true")
        assert pool.resets == 1
        resets = [frame.payload for frame in roadrunner.frames if b".Reset" in frame.payload]
        assert resets == [b'resetter.Reset"websockets"', b'resetter.Reset"jobs"']

    async def test_a_plugin_that_it_does_not_have_is_reset_here(
        self, peer: Peer, roadrunner: RoadRunner, pool: IdlePool
    ) -> None:
        roadrunner.answer = plugins("http")
        assert await peer.call("resetter.Reset", b'"websockets"') == (Flag.JSON, b"true")
        assert [frame.payload for frame in roadrunner.frames] == [b"resetter.Listtrue"]

    async def test_status_of_other_plugins_is_its_business(self, peer: Peer) -> None:
        assert await peer.call("status.Ready", b'"websockets"') == (Flag.JSON, b'{"Code":503}')
        assert await peer.call("status.Ready", b'"http"') == (ERROR, b'of roadrunner: "http"')

    @pytest.mark.parametrize(
        "method", ["informer.List", "informer.Workers", "resetter.List", "resetter.Reset", "status.Status"]
    )
    async def test_gob_goes_to_it_as_it_is(self, peer: Peer, roadrunner: RoadRunner, method: str) -> None:
        """`rr workers` and `rr reset` speak gob, which nobody here can read."""
        roadrunner.answer = echo
        assert await peer.call(method, GOB, Flag.GOB) == (Flag.GOB, GOB)

    @pytest.mark.parametrize("method", ["rpc.Version", "rpc.Config", "broadcast.Lost", "rpc.Lost"])
    async def test_what_is_ours_alone_never_goes_there(
        self, peer: Peer, roadrunner: RoadRunner, method: str
    ) -> None:
        await peer.call(method, b"true")
        assert roadrunner.frames == []


async def test_of_two_that_have_each_other_one_gives_up(
    publisher: RecordingPublisher, pool: IdlePool, tmp_path: Path
) -> None:
    """Otherwise each call would go round and round between them, and so would each reset."""
    addresses = [f"unix://{tmp_path}/{name}.sock" for name in "ab"]
    forwards, listeners = [], []
    for own, other in zip(addresses, reversed(addresses), strict=True):
        forward = Forward(other, LIMITS, turns := CallTurns())
        registry = build_registry(
            publisher=publisher,
            pools={"websockets": pool},
            probes={},
            version="2.11.4",
            config=lambda: b"{}",
            limits=LIMITS,
            neighbour=forward,
            turns=turns,
        )
        listeners.append(RPCListener(registry, own, limits=LIMITS))
        await listeners[-1].start()
        await forward.start()
        forwards.append(forward)
    for address in addresses:
        peer = await Peer.connect(address)
        async with asyncio.timeout(40):
            while b"calls come back from there" not in (await peer.call("jobs.Push", b"1"))[1]:
                pass
        flags, _ = await peer.call("resetter.Reset", b'"websockets"')
        assert not flags & Flag.ERROR
        await peer.close()
    for forward in forwards:
        await forward.close()
    for listener in listeners:
        await listener.stop(grace=1.0)


async def test_a_stop_waits_for_its_answers(
    roadrunner: RoadRunner, server: RPCListener, connect: Connect
) -> None:
    roadrunner.answer = lambda frame: None
    peer = await connect()
    peer.request(1, "jobs.Push", b"1")
    [frame] = await roadrunner.calls(1)
    stopping = asyncio.create_task(server.stop(grace=60))
    await asyncio.sleep(0)
    roadrunner.send(echo(frame))
    assert (await peer.frame()).payload == b"jobs.Push1"
    assert await stopping == 0
