"""One connection: bad input, pipelining, back-pressure, the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from struct import pack
from zlib import crc32

import pytest

from rr_py_ws.adapters.rpc import Registry, RPCListener
from rr_py_ws.adapters.rpc.connection import RPCConnection
from rr_py_ws.adapters.rpc.partial_frames import PartialFrames
from rr_py_ws.adapters.rpc.unread import UnreadReplies
from rr_py_ws.config import Limits
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.goridge import Flag, Frame, encode_frame
from rr_py_ws.wire.values import decode_value
from support.goridge_frames import FRAMES
from support.loops import both_loops
from support.rpc_peer import Peer, RecordingPublisher

pytestmark = both_loops

Connect = Callable[[], Awaitable[Peer]]
PUBLISH = FRAMES["publish_proto"][0]
TO_A = b'{"messages":[{"topics":["a"]}]}'


def header(first: int, flags: int, length: int) -> bytes:
    prefix = pack("<BBI", first, flags, length)
    return prefix + pack("<IBB", crc32(prefix), 0, 0)


class TestBadInput:
    """The table of malformed frames; several of them kill a whole RoadRunner."""

    @pytest.mark.parametrize("count", [0, 1, *range(3, 11)])
    async def test_other_than_two_options_close(self, peer: Peer, count: int) -> None:
        peer.send(encode_frame(Flag.JSON, (0,) * count, b"rpc.Version"))
        assert await peer.rest() == b""

    @pytest.mark.parametrize("words", [0, 1, 2, 14, 15])
    async def test_illegal_header_lengths_close(self, peer: Peer, words: int) -> None:
        peer.send(header(0x10 | words, Flag.JSON, 11) + bytes(100))
        assert await peer.rest() == b""

    @pytest.mark.parametrize(
        ("size", "payload"), [(12, b"rpc.Version"), (1, b""), (101, b""), (2**32 - 1, b"a")]
    )
    async def test_a_method_longer_than_the_payload_closes(
        self, peer: Peer, size: int, payload: bytes
    ) -> None:
        peer.send(encode_frame(Flag.JSON, (1, size), payload))
        assert await peer.rest() == b""

    async def test_a_method_as_long_as_the_payload_is_a_call_without_argument(self, peer: Peer) -> None:
        assert await peer.call("rpc.Version", b"") == (Flag.JSON, b'"2.11.4"')

    async def test_an_empty_frame_is_an_ill_formed_call(self, peer: Peer) -> None:
        peer.send(encode_frame(Flag.JSON, (1, 0), b""))
        assert await peer.frame() == Frame(0x48, (1, 0), b"rpc: service/method request ill-formed: ")
        assert await peer.is_served()

    async def test_a_wrong_checksum_closes(self, peer: Peer) -> None:
        peer.send(PUBLISH[:6] + b"\0\0\0\0" + PUBLISH[10:])
        assert await peer.rest() == b""

    @pytest.mark.parametrize("cut", [1, 11, 12, 20, 21, len(PUBLISH) - 1])
    async def test_the_end_inside_a_frame_closes(
        self, peer: Peer, publisher: RecordingPublisher, cut: int
    ) -> None:
        """Also when exactly header and options came: RoadRunner takes the method name for NUL bytes."""
        peer.send(PUBLISH[:cut])
        peer.half_close()
        assert await peer.rest() == b""
        assert publisher.messages == []

    async def test_a_control_frame_closes(self, peer: Peer) -> None:
        peer.send(FRAMES["pid_to_worker"][0])
        assert await peer.rest() == b""

    async def test_text_closes(self, peer: Peer) -> None:
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await peer.rest() == b""

    async def test_an_unfinished_header_is_waited_for(self, peer: Peer, connect: Connect) -> None:
        peer.send(PUBLISH[:11])
        assert await (await connect()).is_served()
        peer.send(PUBLISH[11:])
        assert await peer.frame() == FRAMES["publish_ok"][1]

    @pytest.mark.parametrize("sequence", [0, 2**32 - 1])
    async def test_any_sequence_number_is_echoed(self, peer: Peer, sequence: int) -> None:
        peer.request(sequence, "rpc.Version", b"true")
        assert (await peer.frame()).options == (sequence, 11)

    @pytest.mark.parametrize("flag", [Flag.CONTROL, Flag.ERROR])
    async def test_control_and_error_bits_are_ignored(self, peer: Peer, flag: Flag) -> None:
        peer.request(1, "rpc.Version", b"true", Flag.JSON | flag)
        assert await peer.frame() == Frame(Flag.JSON, (1, 11), b'rpc.Version"2.11.4"')

    async def test_version_reserved_byte_and_stream_bits_are_ignored(self, peer: Peer) -> None:
        payload = b"rpc.Version"
        prefix = pack("<BBI", 0x95, Flag.JSON, len(payload))
        peer.send(prefix + pack("<IBBII", crc32(prefix), 0x0F, 7, 1, 11) + payload)
        assert await peer.frame() == Frame(Flag.JSON, (1, 11), b'rpc.Version"2.11.4"')

    async def test_a_payload_of_the_limit_is_served(self, peer: Peer) -> None:
        name = b"broadcast.Publish"
        body = TO_A + b" " * ((1 << 20) - len(name) - len(TO_A))
        assert await peer.call(name.decode(), body) == (Flag.JSON, b'{"ok":true}')

    async def test_a_payload_of_one_byte_more_is_an_error_reply_and_the_next_call_is_served(
        self, peer: Peer, publisher: RecordingPublisher
    ) -> None:
        size = (1 << 20) + 1
        body = bytes(size - len("broadcast.Publish"))
        assert await peer.call("broadcast.Publish", body, Flag.PROTO) == (
            Flag.PROTO | Flag.ERROR,
            b"payload of 1048577 bytes, the limit is 1048576 (websockets.limits.rpc_payload)",
        )
        assert publisher.messages == []
        assert await peer.is_served()

    async def test_the_error_comes_before_the_rest_of_what_is_too_large(self, peer: Peer) -> None:
        """So that a publisher which looks can stop; the rest is thrown away in whatever pieces it comes."""
        name = b"broadcast.Publish"
        peer.send(header(0x15, Flag.PROTO, 2 << 20) + pack("<II", 3, len(name)) + name + bytes(300))
        frame = await peer.frame()
        assert (frame.flags, frame.options) == (Flag.PROTO | Flag.ERROR, (3, len(name)))
        peer.send(bytes((2 << 20) - len(name) - 300))
        assert await peer.is_served()

    async def test_calls_around_one_that_is_too_large_keep_their_places(self, peer: Peer) -> None:
        large = encode_frame(Flag.JSON, (2, 11), b"rpc.Version" + bytes(1 << 20))
        peer.send(PUBLISH + large + PUBLISH + large)
        assert [(await peer.frame()).options[0] for _ in range(4)] == [1, 2, 1, 2]
        assert await peer.is_served()

    @pytest.mark.parametrize("options", [(), (1,), (1, 0, 0), (1, 257), (1, 2**32 - 1)])
    async def test_too_large_and_no_call_closes(self, peer: Peer, options: tuple[int, ...]) -> None:
        peer.send(encode_frame(Flag.JSON, options, bytes((1 << 20) + 1)))
        assert await peer.rest() == b""

    async def test_others_do_not_notice(self, peer: Peer, connect: Connect) -> None:
        other = await connect()
        peer.send(bytes(100))
        assert await peer.rest() == b""
        assert await other.is_served()


class TestPipelining:
    async def test_calls_that_arrive_byte_by_byte_are_served(self, peer: Peer) -> None:
        for byte in PUBLISH * 2:
            peer.send(bytes([byte]))
            await asyncio.sleep(0)
        assert await peer.frame() == FRAMES["publish_ok"][1]
        assert await peer.frame() == FRAMES["publish_ok"][1]

    async def test_many_calls_in_one_segment_are_answered_in_order(
        self, peer: Peer, publisher: RecordingPublisher
    ) -> None:
        for sequence in range(500):
            peer.request(sequence, "broadcast.Publish", b'{"messages":[{"topics":["%d"]}]}' % sequence)
        assert [(await peer.frame()).options[0] for _ in range(500)] == list(range(500))
        assert [topic for _, topic, _ in publisher.messages] == [str(n) for n in range(500)]

    async def test_replies_come_in_the_order_in_which_calls_finish(
        self, peer: Peer, publisher: RecordingPublisher
    ) -> None:
        futures = publisher.wait(3)
        for sequence in (1, 2, 3):
            peer.request(sequence, "broadcast.Publish", TO_A)
        assert await peer.is_served()
        for sequence in (2, 3, 1):
            futures[sequence - 1].set_result(None)
            assert (await peer.frame()).options[0] == sequence

    async def test_calls_with_the_same_sequence_number_are_both_answered(
        self, peer: Peer, publisher: RecordingPublisher
    ) -> None:
        """RoadRunner dies when the second of them finishes."""
        first, second = publisher.wait(2)
        peer.request(5, "broadcast.Publish", TO_A, Flag.JSON)
        peer.request(5, "broadcast.Publish", FRAMES["publish_proto"][1].payload[17:], Flag.PROTO)
        assert await peer.is_served()
        second.set_result(None)
        first.set_result(None)
        replies = {await peer.frame(), await peer.frame()}
        assert replies == {
            Frame(Flag.JSON, (5, 17), b'broadcast.Publish{"ok":true}'),
            Frame(Flag.PROTO, (5, 17), b"broadcast.Publish\x08\x01"),
        }


class TestBackPressure:
    async def test_a_peer_that_does_not_read_its_replies_is_not_read(
        self, server: RPCListener, registry: Registry, connect: Connect
    ) -> None:
        """Without this, a client that only writes would make the server keep all its replies."""
        calls = 0

        def big(_: object) -> bytes:
            nonlocal calls
            calls += 1
            return bytes(100_000)

        registry.add("test.Big", decode_value, big)
        greedy, other = await connect(), await connect()
        for sequence in range(1000):
            greedy.request(sequence, "test.Big", codec=Flag.RAW)
        for _ in range(50):
            assert await other.is_served()
        assert calls < 1000
        for sequence in range(1000):
            frame = await greedy.frame()
            assert (frame.options[0], len(frame.payload)) == (sequence, 100_008)

    async def test_a_peer_with_many_unfinished_calls_is_not_read(
        self, publisher: RecordingPublisher, connect: Connect
    ) -> None:
        most = Limits().max_rpc_calls
        busy, other = await connect(), await connect()
        futures = publisher.wait(most + 10)
        for sequence in range(most + 10):
            busy.request(sequence, "broadcast.Publish", TO_A)
        busy.half_close()
        while len(publisher.messages) < most:
            assert await other.is_served()
        for _ in range(20):
            assert await other.is_served()
        assert len(publisher.messages) == most
        for future in futures:
            future.set_result(None)
        assert {(await busy.frame()).options[0] for _ in futures} == set(range(most + 10))
        assert await busy.rest() == b""


class TestEnd:
    async def test_a_half_closed_peer_gets_the_replies_to_what_it_sent(
        self, peer: Peer, publisher: RecordingPublisher, connect: Connect
    ) -> None:
        [future] = publisher.wait(1)
        peer.request(1, "broadcast.Publish", TO_A)
        peer.request(2, "rpc.Version")
        peer.half_close()
        assert (await peer.frame()).options[0] == 2
        assert await (await connect()).is_served()
        future.set_result(None)
        assert (await peer.frame()).options[0] == 1
        assert await peer.rest() == b""

    async def test_calls_before_a_bad_frame_are_answered_before_the_end(
        self, peer: Peer, publisher: RecordingPublisher, connect: Connect
    ) -> None:
        [future] = publisher.wait(1)
        peer.request(1, "broadcast.Publish", TO_A)
        peer.request(2, "rpc.Version")
        peer.send(bytes(12))
        peer.request(3, "rpc.Version")
        assert (await peer.frame()).options[0] == 2
        assert await (await connect()).is_served()
        future.set_result(None)
        assert (await peer.frame()).options[0] == 1
        assert await peer.rest() == b""

    @pytest.mark.parametrize("how", [Peer.half_close, Peer.reset])
    async def test_a_call_goes_on_when_its_peer_leaves(
        self,
        peer: Peer,
        publisher: RecordingPublisher,
        connect: Connect,
        registry: Registry,
        how: Callable[[Peer], None],
    ) -> None:
        finished = asyncio.Event()
        may_finish = asyncio.Event()

        async def accept() -> None:
            await may_finish.wait()
            finished.set()

        other = await connect()
        publisher.later = [accept()]
        peer.request(1, "broadcast.Publish", TO_A)
        while not registry.running:
            assert await other.is_served()
        how(peer)
        for _ in range(5):
            assert await other.is_served()
        may_finish.set()
        await finished.wait()
        assert await other.is_served()

    async def test_a_failure_after_the_peer_has_left_concerns_nobody(
        self, peer: Peer, publisher: RecordingPublisher, connect: Connect, registry: Registry
    ) -> None:
        other = await connect()
        [future] = publisher.wait(1)
        peer.request(1, "broadcast.Publish", TO_A)
        while not registry.running:
            assert await other.is_served()
        peer.reset()
        for _ in range(5):
            assert await other.is_served()
        future.set_exception(BrokerError("connection lost"))
        while registry.running:
            assert await other.is_served()


class RecordingTransport(asyncio.Transport):
    """Keeps what is written, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))


async def test_replies_to_what_arrives_together_are_one_write_in_the_same_turn(registry: Registry) -> None:
    connection = RPCConnection(
        registry,
        Limits(),
        PartialFrames(1, 1.0, registry.counters),
        UnreadReplies(1, registry.counters),
        id,
        id,
    )
    transport = RecordingTransport()
    connection.connection_made(transport)
    connection.data_received(PUBLISH * 3)
    assert transport.writes == [FRAMES["publish_ok"][0] * 3]
