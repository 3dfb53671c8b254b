"""Calls from request frame to reply frame, and those of services that are not ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rr_py_ws.adapters.rpc import Registry, RPCListener, build_registry
from rr_py_ws.adapters.rpc.neighbour import GiveBack
from rr_py_ws.config import Limits
from rr_py_ws.core.hold import Gate
from rr_py_ws.errors import RPCError
from rr_py_ws.wire.goridge import Flag, Frame, encode_frame
from rr_py_ws.wire.rpc import Request, encode_error, encode_reply, encode_request, parse_request
from rr_py_ws.wire.values import decode_value
from support.goridge_frames import FRAMES
from support.rpc_peer import IdlePool, Peer, RecordingPublisher

GOB = b"\x07\xff\x81\x03\x01\x01\x00\xff"


class Other:
    """A server behind ours: keeps what it is given, and answers with what it is told to."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.requests: list[Request] = []
        self.replies: list[bytes | asyncio.Future[bytes] | Exception] = []

    def answer(self, frame: Frame, give_back: GiveBack, *, may_wait: bool) -> Gate | None:
        self.frames.append(frame)
        self.requests.append(request := parse_request(frame))
        reply = self.replies.pop(0) if self.replies else encode_reply(request, b"from the other")
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, bytes):
            give_back(reply)
        else:
            reply.add_done_callback(lambda done: give_back(done.exception() or done.result()))
        return None

    async def ask(self, method: str, argument: object, *, timely: bool = True) -> object:
        raise RPCError("the other does not answer us")


@pytest.fixture
def other() -> Other:
    return Other()


@pytest.fixture
async def registry(other: Other, publisher: RecordingPublisher, pool: IdlePool) -> Registry:
    return build_registry(
        publisher=publisher,
        pools={"websockets": pool},
        probes={},
        version="2.11.4",
        config=lambda: b"{}",
        limits=Limits(),
        neighbour=other,
    )


@pytest.fixture
async def peer(registry: Registry) -> AsyncIterator[Peer]:
    server = RPCListener(registry, "tcp://127.0.0.1:0", limits=Limits())
    await server.start()
    peer = await Peer.connect(server.address)
    yield peer
    await peer.close()
    await server.stop(grace=1.0)


class TestNeighbour:
    @pytest.mark.parametrize(
        "flags", [Flag.GOB, Flag.GOB | Flag.PROTO, Flag.RAW, Flag.JSON | 0x02, 0, Flag.MSGPACK | Flag.CONTROL]
    )
    async def test_it_gets_the_frame_as_it_came_whatever_its_codec(
        self, peer: Peer, other: Other, flags: int
    ) -> None:
        """Go's clients speak gob, which we cannot read: nobody may try to."""
        peer.send(encode_frame(flags, (2**32 - 1, 9), b"jobs.Push" + GOB, 0x05))
        await peer.frame()
        assert other.frames == [Frame(flags, (2**32 - 1, 9), b"jobs.Push" + GOB, 0x05)]
        [request] = other.requests
        assert (request.sequence, request.method, request.body) == (2**32 - 1, b"jobs.Push", GOB)

    async def test_its_reply_goes_back_byte_for_byte(self, peer: Peer, other: Other) -> None:
        """Also one with flags, options and stream bits that we would not send."""
        other.replies = [encode_frame(Flag.GOB | 0x02, (5, 9, 77), b"jobs.Push" + GOB, 0x03)]
        peer.request(5, "jobs.Push", GOB, Flag.GOB)
        assert await peer.frame() == Frame(Flag.GOB | 0x02, (5, 9, 77), b"jobs.Push" + GOB, 0x03)

    async def test_pipelined_calls_are_given_to_it_in_their_order(self, peer: Peer, other: Other) -> None:
        stream = b""
        for sequence in range(0, 200, 2):
            stream += encode_request(sequence, "jobs.Push", b"%d" % sequence, Flag.GOB)
            stream += encode_request(sequence + 1, "rpc.Version", b"true", Flag.JSON)
        peer.send(stream)
        assert sorted([(await peer.frame()).options[0] for _ in range(200)]) == list(range(200))
        assert [request.body for request in other.requests] == [b"%d" % number for number in range(0, 200, 2)]

    async def test_later_replies_overtake_one_another(self, peer: Peer, other: Other) -> None:
        first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
        other.replies = [first, second]
        peer.request(1, "jobs.Push")
        peer.request(2, "jobs.Stat")
        assert await peer.is_served()
        second.set_result(encode_reply(other.requests[1], b"2"))
        assert (await peer.frame()).payload == b"jobs.Stat2"
        first.set_result(encode_reply(other.requests[0], b"1"))
        assert (await peer.frame()).payload == b"jobs.Push1"

    async def test_an_unknown_method_of_our_service_is_our_error(self, peer: Peer, other: Other) -> None:
        text = b"rpc: can't find method broadcast.Lost"
        assert await peer.call("broadcast.Lost") == (Flag.JSON | Flag.ERROR, text)
        text = b"rpc: service/method request ill-formed: Publish"
        assert await peer.call("Publish") == (Flag.JSON | Flag.ERROR, text)
        assert other.frames == []

    async def test_an_unknown_method_of_a_service_of_both_is_given_to_it(
        self, peer: Peer, other: Other
    ) -> None:
        for method in ("informer.AddWorker", "resetter.Future", "status.Lost"):
            assert await peer.call(method) == (Flag.JSON, b"from the other")

    @pytest.mark.parametrize("later", [False, True])
    async def test_its_failure_is_an_error_reply(self, peer: Peer, other: Other, later: bool) -> None:
        errors = [RPCError("the other is away"), OSError("a defect")]
        other.replies = [_failing(error) if later else error for error in errors]
        assert await peer.call("jobs.Push") == (Flag.JSON | Flag.ERROR, b"the other is away")
        text = b"internal error; the log of the server has the reason"
        assert await peer.call("jobs.Push") == (Flag.JSON | Flag.ERROR, text)
        assert await peer.is_served()

    async def test_its_calls_are_counted_together(self, peer: Peer, other: Other, registry: Registry) -> None:
        """The names of other services come from callers: there is no end to them."""
        failed = encode_error(Request(7, b"jobs.Push", b"", Flag.JSON, Flag.JSON), "no such queue")
        other.replies = [failed, encode_frame(Flag.GOB, (7, 7), b"kv.HasZ")]
        assert await peer.call("jobs.Push") == (Flag.JSON | Flag.ERROR, b"no such queue")
        await peer.call("kv.HasZ")
        assert registry.counters.failed[b"unknown"] == 1
        assert registry.counters.answered[b"unknown"] == 1

    async def test_a_stop_waits_for_its_replies(self, registry: Registry, other: Other) -> None:
        server = RPCListener(registry, "tcp://127.0.0.1:0", limits=Limits())
        await server.start()
        peer = await Peer.connect(server.address)
        reply = asyncio.get_running_loop().create_future()
        other.replies = [reply]
        peer.request(1, "jobs.Push")
        assert await peer.is_served()
        stopping = asyncio.create_task(server.stop(grace=60))
        await asyncio.sleep(0)
        reply.set_result(encode_reply(other.requests[0], b"done"))
        assert (await peer.frame()).payload == b"jobs.Pushdone"
        assert await stopping == 0
        await peer.close()


def _failing(error: Exception) -> asyncio.Future[bytes]:
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


async def test_codecs_are_the_business_of_the_registration(registry: Registry) -> None:
    """A handler sees a decoded argument; its errors get the names of the operation, those of codecs none."""

    def decode(codec: Flag, body: bytes) -> int:
        if not body.isdigit():
            raise RPCError("not a number")
        return int(body)

    def half(number: int) -> int:
        if number % 2:
            raise RPCError("it is odd")
        return number // 2

    registry.add("test.Half", decode, half, lambda codec, result: b"=%d" % result, "test_half:\n\thalf")
    replies = [
        registry.call(Frame(Flag.JSON, (number, 9), b"test.Half" + body))
        for number, body in enumerate((b"8", b"7", b"x"))
    ]
    assert replies == [
        encode_frame(Flag.JSON, (0, 9), b"test.Half=4"),
        encode_frame(Flag.JSON | Flag.ERROR, (1, 9), b"test.Halftest_half:\n\thalf: it is odd"),
        encode_frame(Flag.JSON | Flag.ERROR, (2, 9), b"test.Halfnot a number"),
    ]


async def test_a_later_result_that_cannot_be_encoded_is_an_error_reply(registry: Registry) -> None:
    async def later(_: object) -> object:
        return object()

    registry.add("test.Later", decode_value, later)
    reply = registry.call(Frame(Flag.JSON, (1, 10), b"test.Later"))
    assert isinstance(reply, asyncio.Future)
    assert b"the result has no form in this codec" in await reply


async def test_a_publish_that_is_accepted_at_once_is_answered_at_once(registry: Registry) -> None:
    assert registry.call(FRAMES["publish_proto"][1]) == FRAMES["publish_ok"][0]
    assert not registry.running
