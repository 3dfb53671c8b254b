"""Bodies that are large in one piece: what is done with them in a turn of the event loop is bounded."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator

import msgpack
import pytest

from adapters.rpc.test_large_calls import with_transport
from rr_py_ws.adapters.rpc import Registry, RPCListener, build_registry
from rr_py_ws.adapters.rpc.neighbour import GiveBack
from rr_py_ws.config import Limits
from rr_py_ws.wire import push
from rr_py_ws.wire.goridge import Flag, Frame, encode_frame
from rr_py_ws.wire.publish import LONGEST_NAME, Message
from rr_py_ws.wire.publish_protobuf import encode_broadcast
from rr_py_ws.wire.rpc import encode_request
from support.rpc_peer import Peer, RecordingPublisher
from support.waiting import eventually

KIB = 1024


def text(value: bytes) -> bytes:
    """A text of msgpack, whatever bytes are in it."""
    return b"\xdb" + struct.pack(">I", len(value)) + value


def one_message(*fields: bytes) -> bytes:
    """A call with one message in msgpack."""
    return b"\x81\xa8messages\x91" + bytes((0x80 | len(fields) // 2,)) + b"".join(fields)


class Echo:
    """A neighbour that answers with the size of what it got."""

    def answer(self, frame: Frame, give_back: GiveBack, *, may_wait: bool) -> None:
        name = frame.payload[: frame.options[1]]
        give_back(encode_frame(Flag.RAW, frame.options, b"%b%d" % (name, len(frame.payload))))

    async def ask(self, method: str, argument: object, *, timely: bool = True) -> object:
        raise NotImplementedError


class TestTheLimitOfOurOwnMethods:
    """What goes on to RoadRunner is only copied, and may be larger."""

    LIMITS = Limits(rpc_own_payload=64 * KIB, rpc_payload=256 * KIB)

    @pytest.fixture
    async def peer(self, publisher: RecordingPublisher) -> AsyncIterator[Peer]:
        registry = build_registry(
            publisher=publisher,
            pools={},
            probes={},
            version="2.11.4",
            config=lambda: b"{}",
            limits=self.LIMITS,
            neighbour=Echo(),
        )
        server = RPCListener(registry, "tcp://127.0.0.1:0", limits=self.LIMITS)
        await server.start()
        peer = await Peer.connect(server.address)
        yield peer
        await peer.close()
        await server.stop(grace=1.0)

    @pytest.mark.parametrize("method", ["broadcast.Publish", "push.Publish", "rpc.Version"])
    async def test_more_is_an_error_that_names_it_and_the_next_call_is_served(
        self, peer: Peer, method: str
    ) -> None:
        size = 64 * KIB + 1 - len(method)
        assert await peer.call(method, bytes(size), Flag.PROTO) == (
            Flag.PROTO | Flag.ERROR,
            b"payload of 65537 bytes, the limit is 65536 (websockets.limits.rpc_own_payload)",
        )
        assert (await peer.call("rpc.Version", b"true"))[1] == b'"2.11.4"'

    async def test_a_call_that_goes_on_may_be_larger(self, peer: Peer) -> None:
        body = bytes(256 * KIB - len("kv.Set"))
        assert (await peer.call("kv.Set", body, Flag.RAW))[1] == b"262144"
        assert await peer.call("kv.Set", body + b"x", Flag.RAW) == (
            Flag.RAW | Flag.ERROR,
            b"payload of 262145 bytes, the limit is 262144 (websockets.limits.rpc_payload)",
        )
        assert (await peer.call("kv.Set", body, Flag.RAW))[1] == b"262144"

    async def test_a_method_that_nobody_has_may_not(self, server: RPCListener) -> None:
        peer = await Peer.connect(server.address)  # without a neighbour
        flags, said = await peer.call("kv.Set", bytes(1 << 20), Flag.RAW)
        assert (flags, said.partition(b",")[0]) == (Flag.RAW | Flag.ERROR, b"payload of 1048582 bytes")
        await peer.close()


class TestNames:
    """A topic of 60 MiB that was no UTF-8 held everybody up for half a second."""

    LONG = b"x" * (LONGEST_NAME + 1)

    @pytest.mark.parametrize(
        ("codec", "body"),
        [
            (Flag.MSGPACK, one_message(b"\xa6topics", b"\x91" + text(LONG.replace(b"x", b"\xff")))),
            (Flag.PROTO, encode_broadcast([Message("", [LONG.decode()], b"p")])),
            (Flag.JSON, b'{"messages":[{"topics":["%b"]}]}' % LONG),
        ],
        ids=["msgpack", "protobuf", "json"],
    )
    async def test_one_that_is_too_long_is_refused(
        self, peer: Peer, publisher: RecordingPublisher, codec: Flag, body: bytes
    ) -> None:
        assert await peer.call("broadcast.Publish", body, codec) == (
            codec | Flag.ERROR,
            b"a name of 262145 characters, 262144 are allowed",
        )
        assert publisher.messages == []
        assert await peer.is_served()

    async def test_a_broker_is_one_too(self, peer: Peer) -> None:
        body = one_message(b"\xa6broker", text(self.LONG), b"\xa6topics", b"\x91\xa1a")
        flags, said = await peer.call("websockets.Publish", body, Flag.MSGPACK)
        assert (flags, said[:6]) == (Flag.MSGPACK | Flag.ERROR, b"a name")

    @pytest.mark.parametrize("key", [text(b"\xff" * 300_000), text(b"PAYLOAD" * 50_000)])
    async def test_keys_that_are_no_field_are_not_looked_at(
        self, peer: Peer, publisher: RecordingPublisher, key: bytes
    ) -> None:
        body = one_message(key, b"\xa1x", b"\xa6topics", b"\x91\xa1a", b"\xa7Payload", b"\xa1p")
        assert (await peer.call("broadcast.Publish", body, Flag.MSGPACK))[0] == Flag.MSGPACK
        assert publisher.messages == [("", "a", b"p")]

    async def test_a_command_means_nothing_whatever_its_bytes(
        self, peer: Peer, publisher: RecordingPublisher
    ) -> None:
        body = one_message(b"\xa7command", text(b"\xff" * 300_000), b"\xa6topics", b"\x91\xa1a")
        assert (await peer.call("broadcast.Publish", body, Flag.MSGPACK))[0] == Flag.MSGPACK
        assert publisher.messages == [("", "a", b"")]

    async def test_many_long_ones_are_decoded_in_pieces(
        self, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        topics = [b"\xff%d" % number * 25_000 for number in range(40)]
        body = one_message(b"\xa6topics", msgpack.packb(topics))
        connection, transport = with_transport(registry)
        connection.data_received(encode_request(1, "broadcast.Publish", body, Flag.MSGPACK))
        turns = 0
        while not publisher.messages:
            await asyncio.sleep(0)
            turns += 1
        assert turns >= len(body) // (256 * KIB)
        await eventually(lambda: transport.written)
        assert [topic for _, topic, _ in publisher.messages] == [
            topic.decode("utf-8", "surrogateescape") for topic in topics
        ]


class TestPayloads:
    async def test_many_in_json_are_decoded_in_pieces(
        self, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        """Each of them is not large, and all are in one piece of messages."""
        payload = b"ab!" * 30_000
        one = b'{"topics":["a"],"payload":"%b"}' % base64.b64encode(payload)
        body = b'{"messages":[%b]}' % b",".join([one] * 30)
        connection, _ = with_transport(registry)
        connection.data_received(encode_request(1, "broadcast.Publish", body, Flag.JSON))
        turns = 0
        while not publisher.messages:
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 30 * len(payload) // (256 * KIB)
        await eventually(lambda: len(publisher.messages) == 30)
        assert publisher.messages == [("", "a", payload)] * 30

    @pytest.mark.parametrize(("heard", "least"), [(True, 16), (False, 0)])
    @pytest.mark.parametrize("method", ["broadcast.Publish", "broadcast.PublishAsync"])
    async def test_one_that_somebody_gets_is_encoded_before_in_pieces(
        self,
        registry: Registry,
        publisher: RecordingPublisher,
        monkeypatch: pytest.MonkeyPatch,
        heard: bool,
        least: int,
        method: str,
    ) -> None:
        """12 MiB of random bytes took 0.2 s of one turn."""
        encoded: list[int] = []
        encode_pieces = push.encode_pieces

        def recording(payload: bytes) -> object:
            for piece in encode_pieces(payload):
                encoded.append(len(publisher.messages))
                yield piece

        monkeypatch.setattr(push, "encode_pieces", recording)
        publisher.heard = heard
        body = encode_broadcast([Message("", ["a"], bytes(KIB * KIB)), Message("", ["b"], b"x")])
        connection, _ = with_transport(registry)
        connection.data_received(encode_request(1, method, body, Flag.PROTO))
        turns = 0
        while not publisher.messages:
            await asyncio.sleep(0)
            turns += 1
        assert (turns > len(encoded) >= least) and set(encoded) <= {0}
        await eventually(lambda: len(publisher.messages) == 2)
        assert not push._prepared


class TestOptions:
    """Calls of the service `push` are decoded in one go, so they are no larger than that allows."""

    @pytest.mark.parametrize(
        ("method", "most"),
        [("push.Publish", 4 * KIB * KIB), ("push.History", 16 * KIB), ("push.ClearHistory", 16 * KIB)],
    )
    @pytest.mark.parametrize("codec", [Flag.PROTO, Flag.JSON, Flag.MSGPACK])
    async def test_a_larger_one_is_refused_before_it_is_decoded(
        self, registry: Registry, method: str, most: int, codec: Flag
    ) -> None:
        call = Frame(codec, (1, len(method)), method.encode() + bytes(most + 1))
        reply = registry.call_large(call)
        assert isinstance(reply, bytes)
        assert reply.endswith(b"the argument has %d bytes, %d are allowed" % (most + 1, most))
