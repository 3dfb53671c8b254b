"""Calls that are dear to decode or to carry out: they are refused in time, or let others have their turns."""

from __future__ import annotations

import asyncio
import base64
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import msgpack
import orjson
import pytest

from rr_py_ws.adapters.rpc import Registry, RPCListener, build_registry, publishing
from rr_py_ws.adapters.rpc.connection import RPCConnection
from rr_py_ws.adapters.rpc.partial_frames import PartialFrames
from rr_py_ws.adapters.rpc.publishing import Publishing
from rr_py_ws.adapters.rpc.turns import BUDGET, CALL, SHARE
from rr_py_ws.adapters.rpc.unread import UnreadReplies
from rr_py_ws.config import Limits
from rr_py_ws.wire import publish, publish_protobuf, values
from rr_py_ws.wire.elements import count_elements
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.publish import Message
from rr_py_ws.wire.publish_protobuf import encode_broadcast
from rr_py_ws.wire.rpc import encode_request
from support.loops import both_loops
from support.rpc_peer import IdlePool, Peer, RecordingPublisher
from support.waiting import eventually

Connect = Callable[[], Awaitable[Peer]]

MOST = Limits().rpc_elements
TOO_MANY = b"more than 65536 messages, topics and other fields (websockets.limits.rpc_elements)"
OK = b"\x08\x01"


def many(count: int, topics: int = 1, payload: bytes = b"x") -> bytes:
    """So many messages, each to other topics."""
    return encode_broadcast(
        Message("", [f"{number}.{topic}" for topic in range(topics)], payload) for number in range(count)
    )


def topics_of(body: bytes) -> list[str]:
    return [topic for message in publish.decode_broadcast(Flag.PROTO, body) for topic in message.topics]


DEAR = {
    "messages": (Flag.PROTO, b"\x0a\x00" * 400_000),
    "topics": (Flag.PROTO, b"\x0a\x80\xb5\x18" + b"\x12\x00" * 200_000),
    "unknown fields": (Flag.PROTO, b"\x78\x00" * 400_000),
    "groups": (Flag.PROTO, b"\x7b\x7c" * 400_000),
    "json messages": (Flag.JSON, b'{"messages":[' + b"{}," * 300_000 + b"{}]}"),
    "json topics": (Flag.JSON, b'{"messages":[{"topics":[' + b'"",' * 300_000 + b'""]}]}'),
    "json, nested and unknown": (Flag.JSON, b'{"x":' + b"[" * 500 + b"[],{}," * 100_000),
    "json, deep": (Flag.JSON, b"[" * 900_000),
    "json, behind blanks": (Flag.JSON, b" " * 65_536 + b'{"x":[' + b"0," * 80_000 + b"0]}"),
    "json payload of numbers": (Flag.JSON, b'{"messages":[{"payload":[' + b"1," * 300_000 + b"1]}]}"),
    "msgpack messages": (Flag.MSGPACK, b"\x81\xa8messages\xdd\x00\x0c\x35\x00" + b"\x80" * 800_000),
    "msgpack, unknown": (Flag.MSGPACK, b"\x81\xa1x\xdd\x00\x0c\x35\x00" + b"\xc0" * 800_000),
    "msgpack, deep": (Flag.MSGPACK, b"\x91" * 900_000),
}


class TestTooMuch:
    @pytest.mark.parametrize("kind", DEAR)
    async def test_is_refused_before_it_is_decoded(
        self, peer: Peer, monkeypatch: pytest.MonkeyPatch, registry: Registry, kind: str
    ) -> None:
        """4 million empty messages in 8 MiB took up to 14 seconds and 2.4 GiB."""
        for module, name in ((publishing, "decode_pieces"), (publish, "decode_value")):
            monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it was decoded"))
        codec, body = DEAR[kind]
        flags, text = await peer.call("broadcast.Publish", body, codec)
        assert (flags, text) == (codec | Flag.ERROR, TOO_MANY)
        flags, text = await peer.call("websockets.PublishAsync", body, codec)
        assert (flags, text) == (codec | Flag.ERROR, TOO_MANY)
        assert await peer.is_served()
        assert registry.counters.oversized == 2

    async def test_the_limit_is_exact(
        self, peer: Peer, publisher: RecordingPublisher, registry: Registry
    ) -> None:
        assert await peer.call("broadcast.PublishAsync", b"\x0a\x00" * MOST, Flag.PROTO) == (Flag.PROTO, OK)
        flags, _ = await peer.call("broadcast.PublishAsync", b"\x0a\x00" * (MOST + 1), Flag.PROTO)
        assert flags == Flag.PROTO | Flag.ERROR
        assert publisher.messages == []

    @pytest.mark.parametrize("codec", [Flag.JSON, Flag.MSGPACK])
    @pytest.mark.parametrize("method", ["informer.Workers", "resetter.Reset", "status.Status", "rpc.Config"])
    async def test_arguments_that_are_names(
        self, peer: Peer, monkeypatch: pytest.MonkeyPatch, method: str, codec: Flag
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(values, "decode_value", lambda *_: pytest.fail("it was decoded"))
            flags, text = await peer.call(method, b"[" * 500_000, codec)
        assert flags == codec | Flag.ERROR
        assert b"the argument has 500000 bytes, 16384 are allowed" in text
        assert await peer.is_served()

    async def test_what_a_call_within_the_limit_takes(
        self, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        """The formula of docs/reliability.md: 300 bytes for each element, and a few times its bytes."""
        most = 8192
        calls = Publishing(publisher, registry.run, registry.turns, most, registry.counters)
        for codec, body in (
            (Flag.PROTO, b"\x0a\x00" * most),
            (Flag.JSON, b'{"messages":[' + b"{}," * (most // 2 - 3) + b"{}]}"),
            (Flag.MSGPACK, msgpack.packb({"messages": [{}] * (most - 10)})),
        ):
            tracemalloc.start()
            try:
                await calls.publish_in_pieces(codec, body, True, connected(registry), has_broker=False)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < most * 300 + 10 * len(body)

    @pytest.mark.parametrize(
        ("codec", "body"),
        [
            (Flag.JSON, b"[" + b"{}," * 70_000),
            (Flag.PROTO, many(1000) + b"\x0a\x05"),
            (Flag.PROTO, many(1000)),
        ],
    )
    async def test_an_error_keeps_nothing(
        self, peer: Peer, publisher: RecordingPublisher, codec: Flag, body: bytes
    ) -> None:
        """It once held what was decoded, until the garbage collector came."""
        publisher.refused = {"999.0"}
        assert await peer.is_served()
        tracemalloc.start()
        gc.disable()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(5):
                flags, _ = await peer.call("broadcast.Publish", body, codec)
                assert flags & Flag.ERROR
                publisher.messages.clear()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            gc.enable()
            tracemalloc.stop()
        assert after - before < 2 * len(body) + 200_000


async def test_a_connection_that_has_left_is_freed_at_once(connect: Connect) -> None:
    """With a call that is half there, and one of many messages; the garbage collector comes rarely."""

    def living() -> int:
        return sum(isinstance(one, RPCConnection) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = living()
        for body in (many(5000), many(3, topics=2000)):
            peer = await connect()
            peer.request(1, "broadcast.Publish", body, Flag.PROTO)
            peer.send(encode_request(2, "broadcast.Publish", body, Flag.PROTO)[:-1])
            assert (await peer.frame()).payload.endswith(OK)
            await peer.close()
        await eventually(lambda: living() == before, "all connections are freed")
    finally:
        gc.enable()


class TestInPieces:
    @pytest.mark.parametrize("body", [many(5000), many(3, topics=2000)])
    async def test_others_are_served_meanwhile(
        self, connect: Connect, publisher: RecordingPublisher, body: bytes
    ) -> None:
        peer, other = await connect(), await connect()
        assert await other.is_served()
        peer.request(1, "broadcast.Publish", body, Flag.PROTO)
        await eventually(lambda: publisher.messages, "the first piece")
        assert await other.is_served()
        seen = len(publisher.messages)
        assert (await peer.frame()).payload.endswith(OK)
        assert seen < len(publisher.messages) == len(topics_of(body))

    async def test_the_order_of_calls_holds(self, peer: Peer, publisher: RecordingPublisher) -> None:
        bodies = many(2), many(3000), many(2), many(1, topics=3000), many(1)
        for sequence, body in enumerate(bodies):
            peer.request(sequence, "broadcast.Publish", body, Flag.PROTO)
        assert [(await peer.frame()).options[0] for _ in range(5)] == [0, 1, 2, 3, 4]
        assert [topic for _, topic, _ in publisher.messages] == [
            topic for body in bodies for topic in topics_of(body)
        ]

    async def test_one_after_another_so_that_only_one_is_decoded(
        self, connect: Connect, publisher: RecordingPublisher
    ) -> None:
        peers = [await connect() for _ in range(4)]
        for number, peer in enumerate(peers):
            body = encode_broadcast([Message("", [str(number)], b"")] * 3000)
            peer.request(1, "broadcast.Publish", body, Flag.PROTO)
        for peer in peers:
            await peer.frame()
        topics = [topic for _, topic, _ in publisher.messages]
        assert sum(before != after for before, after in pairwise(topics)) == 3

    @pytest.mark.parametrize("codec", [Flag.PROTO, Flag.JSON, Flag.MSGPACK])
    @pytest.mark.parametrize("service", ["broadcast", "websockets"])
    async def test_all_codecs_of_both_services(
        self, peer: Peer, publisher: RecordingPublisher, service: str, codec: Flag
    ) -> None:
        messages = [{"topics": [f"t{number}", ""], "payload": b"p%d" % number} for number in range(2000)]
        encoded = {
            Flag.PROTO: lambda: many_of(service, messages),
            Flag.JSON: lambda: json_of(messages),
            Flag.MSGPACK: lambda: msgpack.packb({"messages": messages}),
        }[codec]()
        flags, _ = await peer.call(f"{service}.Publish", encoded, codec)
        assert flags == codec
        assert publisher.messages == [("", f"t{number}", b"p%d" % number) for number in range(2000)]

    @pytest.mark.parametrize("digits", [4, 6_000_000])
    async def test_a_large_payload_in_json_is_decoded_in_pieces(
        self, registry: Registry, publisher: RecordingPublisher, digits: int
    ) -> None:
        """60 MiB of base64 let nobody else have a turn for half a second."""
        payload = b"ab!" * (digits // 4)
        text = base64.b64encode(payload)
        body = b'{"messages":[{"topics":["a"],"Payload":"%s"},{"topics":["b"],"payload":"%s"}]}'
        connection, transport = with_transport(registry)
        connection.data_received(encode_request(1, "broadcast.Publish", body % (text, text), Flag.JSON))
        turns = 0
        while not transport.written:
            await asyncio.sleep(0)
            turns += 1
        assert publisher.messages == [("", "a", payload), ("", "b", payload)]
        assert turns >= 2 * digits // (256 * 1024)
        connection.data_received(
            encode_request(1, "broadcast.Publish", body % (text, text[:-2] + b"!="), Flag.JSON)
        )
        await eventually(lambda: registry.counters.failed[b"broadcast.Publish"] == 1)
        assert len(publisher.messages) == 2

    async def test_text_of_msgpack_is_not_decoded_for_a_payload(
        self, peer: Peer, publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Payloads of PHP are no UTF-8; to make a text of 60 MiB and bytes again took 0.8 s."""
        body = b"\x81\xa8messages\x91\x82\xa6topics\x91\xa2\xff\xfe\xa7payload\xdb\x00\x04\x00\x00"
        decoded = []
        unpack = msgpack.unpackb

        def recording(*args: Any, **options: Any) -> Any:
            decoded.append(options["raw"])
            return unpack(*args, **options)

        monkeypatch.setattr(values.msgpack, "unpackb", recording)
        payload = b"\xff" * 262_144
        assert await peer.call("broadcast.Publish", body + payload, Flag.MSGPACK) == (
            Flag.MSGPACK,
            msgpack.packb({"Ok": True}),
        )
        assert publisher.messages == [("", "\udcff\udcfe", payload)]
        assert decoded == [True]

    async def test_nothing_is_published_of_a_call_that_ends_badly(
        self, peer: Peer, publisher: RecordingPublisher
    ) -> None:
        for codec, body in (
            (Flag.PROTO, many(5000) + b"\x0a\x05"),
            (Flag.JSON, b'{"messages":[' + b'{"topics":["a"]},' * 5000 + b'{"topics":"a"}]}'),
            (Flag.JSON, b'{"messages":[' + b'{"topics":["a"]},' * 5000),
            (Flag.MSGPACK, msgpack.packb({"messages": [{"topics": ["a"]}] * 5000 + [1]})),
        ):
            flags, text = await peer.call("broadcast.Publish", body, codec)
            assert flags == codec | Flag.ERROR
            assert text.startswith((b"goridge_read_request_body: proto", b"json: ", b"msgpack: "))
        assert publisher.messages == []
        assert await peer.is_served()

    async def test_a_refusal_ends_the_call(self, peer: Peer, publisher: RecordingPublisher) -> None:
        publisher.refused = {"2000.0"}
        assert await peer.call("broadcast.Publish", many(5000), Flag.PROTO) == (
            Flag.PROTO | Flag.ERROR,
            b"broadcast_publish:\n\tbroadcast_plugin_publish: the broker is away",
        )
        assert 2000 <= len(publisher.messages) < 3000
        publisher.messages.clear()
        assert await peer.call("broadcast.PublishAsync", many(5000), Flag.PROTO) == (Flag.PROTO, OK)
        assert len(publisher.messages) == 4999

    async def test_a_refusal_while_others_wait_ends_the_call_too(
        self, peer: Peer, publisher: RecordingPublisher
    ) -> None:
        publisher.refused = {"2000.0"}
        futures = publisher.wait(2000)
        peer.request(1, "broadcast.Publish", many(5000), Flag.PROTO)
        peer.request(2, "rpc.Version")
        await eventually(lambda: len(publisher.messages) == 2000)
        for future in futures:
            future.set_result(None)
        frame = await peer.frame()
        assert (frame.options[0], frame.payload[-18:]) == (1, b"the broker is away")
        assert (await peer.frame()).options[0] == 2
        assert len(publisher.messages) == 2000

    async def test_brokers_are_waited_for(self, peer: Peer, publisher: RecordingPublisher) -> None:
        futures = publisher.wait(5000)
        peer.request(1, "broadcast.Publish", many(5000), Flag.PROTO)
        peer.request(2, "rpc.Version")
        await eventually(lambda: len(publisher.messages) == 5000)
        for future in futures:
            future.set_result(None)
        assert [(await peer.frame()).options[0] for _ in range(2)] == [1, 2]

    async def test_its_bytes_are_counted_while_it_waits(
        self, peer: Peer, publisher: RecordingPublisher, registry: Registry
    ) -> None:
        futures = publisher.wait(5000)
        body = many(5000)
        peer.request(1, "broadcast.Publish", body, Flag.PROTO)
        await eventually(lambda: len(publisher.messages) == 5000)
        assert registry.counters.partial_bytes >= len(body)
        for future in futures:
            future.set_result(None)
        await peer.frame()
        assert registry.counters.partial_bytes == 0

    async def test_a_stop_waits_for_it(
        self, server: RPCListener, peer: Peer, publisher: RecordingPublisher
    ) -> None:
        peer.request(1, "broadcast.Publish", many(5000), Flag.PROTO)
        await eventually(lambda: publisher.messages)
        assert await server.stop(grace=30.0) == 0
        assert len(publisher.messages) == 5000
        assert (await peer.frame()).payload.endswith(OK)


class TestManyTopicsWithALargePayload:
    """Each topic has a frame of its own: 252 KB to 500 topics took a second of one turn."""

    @pytest.mark.parametrize(("topics", "size"), [(100, 20_000), (500, 2000), (40, 240_000)])
    @pytest.mark.parametrize("method", ["broadcast.Publish", "broadcast.PublishAsync"])
    async def test_is_published_in_several_turns(
        self, registry: Registry, publisher: RecordingPublisher, topics: int, size: int, method: str
    ) -> None:
        connection = connected(registry)
        body = many(1, topics, bytes(size))
        connection.data_received(encode_request(1, method, body, Flag.PROTO))
        published = [len(publisher.messages)]
        while registry.running:
            await asyncio.sleep(0)
            published.append(len(publisher.messages))
        assert published[-1] == topics
        piece = 512 // (1 + size // 1024) + 1
        # Two turns of the loop may lie between two looks.
        assert max(after - before for before, after in pairwise(published)) <= 2 * piece

    async def test_waits_while_there_is_enough_to_write(
        self, peer: Peer, server: RPCListener, publisher: RecordingPublisher
    ) -> None:
        peer.request(1, "broadcast.Publish", many(1, topics=3000), Flag.PROTO)
        await eventually(lambda: publisher.messages, "the first piece")
        server.pause(True)
        seen = len(publisher.messages)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(publisher.messages) <= seen + 512
        server.pause(False)
        assert (await peer.frame()).payload.endswith(OK)
        assert len(publisher.messages) == 3000


def many_of(service: str, messages: list[dict[str, object]]) -> bytes:
    schema = getattr(publish_protobuf, f"{service}_pb2")
    encoded: bytes = schema.Request(messages=messages).SerializeToString()
    return encoded


def json_of(messages: list[dict[str, object]]) -> bytes:
    return orjson.dumps(
        {"messages": [{**m, "payload": base64.b64encode(m["payload"]).decode()} for m in messages]}  # type: ignore[arg-type]
    )


class TestAnswers:
    @pytest.mark.parametrize("name", ["x" * 257, "broadcast." + "P" * 500_000, "a." * 250_000])
    async def test_a_long_method_name_is_not_repeated(
        self, peer: Peer, registry: Registry, name: str
    ) -> None:
        peer.request(1, name)
        frame = await peer.frame()
        text = f"rpc: can't find a method whose name has {len(name)} bytes, no name has more than 256"
        assert (frame.options, frame.payload) == ((1, 256), (name[:256] + text).encode())
        assert await peer.is_served()

    async def test_an_error_does_not_repeat_everything(self, peer: Peer) -> None:
        name = "x" * 1020
        _, text = await peer.call("resetter.Reset", b'"%b"' % name.encode())
        assert text.endswith(b"xxx ...")
        assert len(text) == 1024 + 4

    @both_loops
    async def test_replies_that_nobody_takes_are_bounded_and_counted(
        self, server: RPCListener, connect: Connect
    ) -> None:
        """64 MiB for each connection were held, counted nowhere."""
        silent, other = await connect(), await connect()
        silent.send(encode_request(1, "x" * 60_000, b"", Flag.JSON) * 500)
        silent.send(encode_request(1, "resetter.Reset", b'"%b"' % (b"x" * 1000), Flag.JSON) * 20_000)
        for _ in range(100):
            assert await other.is_served()
        [unsent] = [sample for sample in server.metrics() if sample.name == "rpc_unsent_bytes"]
        assert 0 < sum(unsent.values.values()) < 1 << 20
        silent.reset()


class RecordingTransport(asyncio.Transport):
    """Counts what is written, and takes pauses."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        """`connection_lost` is called by the tests."""

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def connected(registry: Registry) -> RPCConnection:
    return with_transport(registry)[0]


def with_transport(
    registry: Registry, frames: PartialFrames | None = None
) -> tuple[RPCConnection, RecordingTransport]:
    connection = RPCConnection(
        registry,
        Limits(),
        frames or PartialFrames(1 << 30, 1.0, registry.counters),
        UnreadReplies(1 << 30, registry.counters),
        id,
        id,
    )
    transport = RecordingTransport()
    connection.connection_made(transport)
    return connection, transport


class TestOneBudgetForAll:
    async def test_of_many_connections(self, registry: Registry, publisher: RecordingPublisher) -> None:
        """48 of them, each with its own, made turns of 400 milliseconds."""
        connections = [connected(registry) for _ in range(48)]
        call = encode_request(1, "broadcast.Publish", many(1), Flag.PROTO)
        for connection in connections:
            connection.data_received(call * 100)
        published = [len(publisher.messages)]
        while published[-1] < 4800:
            await asyncio.sleep(0)
            published.append(len(publisher.messages))
        assert max(after - before for before, after in pairwise([0, *published])) <= BUDGET // CALL + 64

    async def test_each_gets_a_share_in_its_turn(
        self, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        flood, other = connected(registry), connected(registry)
        flood.data_received(encode_request(1, "broadcast.Publish", many(1), Flag.PROTO) * 5000)
        other.data_received(encode_request(1, "rpc.Version", b"true", Flag.JSON))
        assert not registry.counters.answered[b"rpc.Version"]
        while not registry.counters.answered[b"rpc.Version"]:  # noqa: ASYNC110 - turn by turn
            await asyncio.sleep(0)
        assert len(publisher.messages) <= 2 * BUDGET // CALL

    @pytest.mark.parametrize(
        ("codec", "body"),
        [
            (Flag.JSON, b'{"messages":[' + b"{}," * 300 + b"1]}"),
            (Flag.JSON, b'{"messages":[' + b"{}," * 1340 + b"1]}"),
            (Flag.MSGPACK, msgpack.packb({"messages": [{}] * 900 + [1]})),
            (Flag.PROTO, b"\x0a\x00" * 2000 + b"\x0a"),
        ],
    )
    async def test_calls_that_fail_are_charged(self, registry: Registry, codec: Flag, body: bytes) -> None:
        """57 calls of 4 KB, each decoded to be refused, were a turn of 372 milliseconds."""
        connected(registry).data_received(encode_request(1, "broadcast.Publish", body, codec) * 57)
        failed = registry.counters.failed
        assert failed[b"broadcast.Publish"] <= 8
        await eventually(lambda: failed[b"broadcast.Publish"] == 57)

    @pytest.mark.parametrize(
        ("codec", "body"),
        [
            (Flag.PROTO, b"\x78\x00" * 510),
            (Flag.PROTO, b"\x0a\x00" * 1990),
            (Flag.PROTO, many(1, topics=600)),
            (Flag.PROTO, b"\x0a\x00" * 1990 + b"\x0a"),
            (Flag.JSON, b'{"x":[' + b"0," * 510 + b"0]}"),
            (Flag.MSGPACK, msgpack.packb({"x": [None] * 20_000})),
        ],
    )
    async def test_a_call_is_charged_by_its_elements(
        self, registry: Registry, codec: Flag, body: bytes
    ) -> None:
        """Counting and decoding them took ten times as long as the bytes said, of which many fit a turn.

        A call of 4 KB in protobuf with 1,990 messages was decoded at once, to find out that it was too much.
        """
        connection, transport = with_transport(registry)
        before = connection.used
        connection.data_received(encode_request(1, "broadcast.Publish", body, codec))
        await eventually(lambda: transport.written)
        *_, elements = count_elements(codec, body)
        assert connection.used - before >= len(body) + 32 * elements

    @pytest.mark.parametrize(
        ("method", "body"),
        [
            ("broadcast.Publish", b'{"messages":[{"payload":"%s"}],"x":01}' % (b"A" * 4000)),
            ("websockets.PublishAsync", b'{"messages":[%s{}],"x":01}' % (b"{}," * 400)),
            ("informer.Workers", b'"' + b"\\ud800" * 600 + b'"'),
        ],
    )
    async def test_what_is_read_slowly_is_charged(self, registry: Registry, method: str, body: bytes) -> None:
        """Point 24: what only RoadRunner's rules can read takes a microsecond for each byte."""
        connected(registry).data_received(encode_request(1, method, body, Flag.JSON) * 57)
        answered = registry.counters.answered
        assert answered[method.encode()] <= 8
        await eventually(lambda: answered[method.encode()] == 57)

    async def test_asking_the_system_about_workers_is_charged(self, registry: Registry) -> None:
        connected(registry).data_received(
            encode_request(1, "informer.Workers", b'"websockets"', Flag.JSON) * 100
        )
        assert registry.counters.answered[b"informer.Workers"] <= 16
        await eventually(lambda: registry.counters.answered[b"informer.Workers"] == 100)

    async def test_resets_are_charged(self, registry: Registry, pool: IdlePool) -> None:
        pool.may_finish.clear()
        connected(registry).data_received(
            encode_request(1, "resetter.Reset", b'"websockets"', Flag.JSON) * 60
        )
        await asyncio.sleep(0)
        assert 0 < pool.resets <= 16
        pool.may_finish.set()
        await eventually(lambda: registry.counters.answered[b"resetter.Reset"] == 60)

    async def test_the_configuration_is_masked_once(self, publisher: RecordingPublisher) -> None:
        asked = []
        registry = build_registry(
            publisher=publisher,
            pools={},
            probes={},
            version="1",
            config=lambda: asked.append(1) or b"{}",  # type: ignore[func-returns-value]
            limits=Limits(),
        )
        connected(registry).data_received(encode_request(1, "rpc.Config", b"", Flag.RAW) * 3)
        assert (registry.counters.answered[b"rpc.Config"], len(asked)) == (3, 1)


class TestPeersThatLeave:
    """What was read of them is carried out: 1,000 small calls and a close published 860 messages."""

    @pytest.mark.parametrize("error", [None, ConnectionResetError()])
    async def test_calls_that_wait_for_their_turn(
        self, registry: Registry, publisher: RecordingPublisher, error: Exception | None
    ) -> None:
        connection = connected(registry)
        call = encode_request(1, "broadcast.PublishAsync", many(1), Flag.PROTO)
        connection.data_received(call * 1000 + call[:20])
        assert len(publisher.messages) < 1000
        connection.connection_lost(error)
        await connection.closed
        assert len(publisher.messages) == 1000
        assert registry.counters.partial_bytes == 0

    async def test_calls_behind_a_large_one(self, registry: Registry, publisher: RecordingPublisher) -> None:
        connection = connected(registry)
        small = encode_request(1, "broadcast.Publish", many(1), Flag.PROTO)
        connection.data_received(encode_request(1, "broadcast.Publish", many(3000), Flag.PROTO) + small)
        connection.connection_lost(None)
        await connection.closed
        assert len(publisher.messages) == 3001

    async def test_calls_that_had_to_wait_for_replies_to_be_taken(
        self, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        connection = connected(registry)
        connection.pause_writing()
        connection.data_received(encode_request(1, "broadcast.Publish", many(1), Flag.PROTO))
        connection.connection_lost(None)
        assert len(publisher.messages) == 1
        assert connection.closed.done()

    @pytest.mark.parametrize("at_once", [True, False])
    async def test_they_are_one_publisher_together(
        self, registry: Registry, publisher: RecordingPublisher, at_once: bool
    ) -> None:
        """A large call of one that is there waited for those of all that had left before: seconds."""
        large = encode_request(1, "broadcast.Publish", many(600), Flag.PROTO)
        gone = [connected(registry) for _ in range(20)]
        for connection in gone:
            connection.data_received(large)
            if at_once:
                connection.connection_lost(None)
        if not at_once:
            await asyncio.sleep(0)
            for connection in gone:
                connection.connection_lost(None)
        present, transport = with_transport(registry)
        for _ in range(3):
            before, written = len(publisher.messages), transport.written
            present.data_received(encode_request(1, "broadcast.Publish", many(700), Flag.PROTO))
            await eventually(lambda written=written: transport.written > written)
            assert len(publisher.messages) - before <= 600 + 600 + 700 + 600
        await asyncio.gather(*(connection.closed for connection in gone))
        assert len(publisher.messages) == 20 * 600 + 3 * 700
        assert registry.counters.partial_bytes == registry.counters.abandoned == 0

    async def test_what_they_leave_behind_has_a_part_of_the_memory(
        self, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        """While calls that nobody waits for fill the memory for all, nobody would be read."""
        large = encode_request(1, "broadcast.Publish", many(600), Flag.PROTO)
        frames = PartialFrames(4 * 3 * len(large), 1.0, registry.counters)
        gone = []
        for _ in range(10):
            gone.append(with_transport(registry, frames)[0])
            gone[-1].data_received(large)
            gone[-1].connection_lost(None)
        assert registry.counters.abandoned == 7
        await asyncio.gather(*(connection.closed for connection in gone))
        assert len(publisher.messages) == 3 * 600
        assert registry.counters.partial_bytes == 0
        again, _ = with_transport(registry, frames)
        again.data_received(large)
        again.connection_lost(None)
        await again.closed
        assert len(publisher.messages) == 4 * 600
        frames.close()

    async def test_a_large_call_that_has_begun_is_finished(
        self, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        frames = PartialFrames(1, 1.0, registry.counters)
        connection, _ = with_transport(registry, frames)
        connection.data_received(encode_request(1, "broadcast.Publish", many(3000), Flag.PROTO))
        await eventually(lambda: publisher.messages)
        connection.connection_lost(None)
        await connection.closed
        assert len(publisher.messages) == 3000
        assert registry.counters.abandoned == 0
        frames.close()

    async def test_one_that_was_cut_is_not_served(
        self, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        connection = connected(registry)
        connection.data_received(encode_request(1, "broadcast.Publish", many(1), Flag.PROTO) * 1000)
        before = len(publisher.messages)
        connection.abort()
        connection.connection_lost(None)
        assert connection.closed.done()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(publisher.messages) == before


class TestTurns:
    async def test_thousands_of_small_calls_are_served_in_several_turns(
        self, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        call = encode_request(1, "broadcast.Publish", many(1), Flag.PROTO)
        connection, transport = with_transport(registry)
        connection.data_received(call * 5000)
        served = []
        while len(publisher.messages) < 5000:
            served.append(len(publisher.messages))
            assert not transport.reading
            await asyncio.sleep(0)
        assert all(after - before <= 512 for before, after in pairwise(served))
        assert len(served) >= 10
        await asyncio.sleep(0)
        assert transport.reading

    async def test_one_call_does_not_stand_in_line_behind_a_flood_of_many_peers(
        self, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        """Beside 48 of them a publisher waited six turns for each of its calls."""
        call = encode_request(1, "broadcast.Publish", many(1), Flag.PROTO)
        for _ in range(48):
            connected(registry).data_received(call * 3000)
        for _ in range(3):  # the first time nobody knows that they bring much
            await asyncio.sleep(0)
        beside, transport = with_transport(registry)
        for _ in range(10):
            assert registry.turns.left <= 0
            transport.written = 0
            beside.data_received(call)
            assert not transport.written
            before = len(publisher.messages)
            await asyncio.sleep(0)
            assert transport.written
            assert len(publisher.messages) > before + 100  # the others go on

    @pytest.mark.parametrize("chunk", [5, 100])
    async def test_who_uses_less_does_not_wait_behind_who_uses_more(
        self, registry: Registry, publisher: RecordingPublisher, chunk: int
    ) -> None:
        """A publisher waited six turns behind 500 that sent five calls at a time."""
        call = encode_request(1, "broadcast.Publish", many(1), Flag.PROTO)
        floods = [with_transport(registry) for _ in range(2400 // chunk)]
        beside, transport = with_transport(registry)

        async def turn() -> None:
            for flood, itself in floods:
                if itself.reading:
                    flood.data_received(call * chunk)
            await asyncio.sleep(0)

        for _ in range(20):
            for _ in range(8):  # more than what it asks for is its share
                await turn()
            transport.written = 0
            beside.data_received(encode_request(1, "broadcast.Publish", many(1, 1, bytes(2000)), Flag.PROTO))
            for _ in range(2):
                if not transport.written:
                    await turn()
            assert transport.written

    async def test_all_that_wait_use_as_much(self, registry: Registry) -> None:
        """Whether they bring one call at a time or a hundred, and also beside a new peer for each call."""
        call = encode_request(1, "broadcast.Publish", many(1), Flag.PROTO)
        crowd = [(with_transport(registry), number % 2 * 99 + 1) for number in range(1000)]
        begun = [peer.used for (peer, _), _ in crowd]
        for _ in range(200):
            for (peer, transport), calls in crowd:
                if transport.reading:
                    peer.data_received(call * calls)
            connected(registry).data_received(call)
            await asyncio.sleep(0)
        used = [peer.used - before for ((peer, _), _), before in zip(crowd, begun, strict=True)]
        assert max(used) - min(used) <= SHARE

    async def test_the_next_large_call_is_that_of_who_has_used_least(
        self, registry: Registry, publisher: RecordingPublisher
    ) -> None:
        beside, transport = with_transport(registry)
        busy = [connected(registry) for _ in range(8)]
        large = encode_request(1, "broadcast.Publish", many(600), Flag.PROTO)
        for connection in busy:
            connection.data_received(large * 3)
        await eventually(lambda: len(publisher.messages) > 600 * 8)
        beside.data_received(encode_request(1, "broadcast.Publish", many(700), Flag.PROTO))
        before = len(publisher.messages)
        await eventually(lambda: transport.written)
        assert len(publisher.messages) - before <= 600 + 700 + 600
        await eventually(lambda: registry.counters.answered[b"broadcast.Publish"] == 25)

    @pytest.mark.parametrize("body", [b"\x0a\x00" * 2000, many(1, topics=500), many(300)])
    @pytest.mark.parametrize("method", ["broadcast.Publish", "broadcast.PublishAsync"])
    async def test_calls_that_are_short_and_publish_much(
        self, registry: Registry, body: bytes, method: str
    ) -> None:
        call = encode_request(1, method, body, Flag.PROTO)
        assert len(body) < 4096
        connection, transport = with_transport(registry)
        connection.data_received(call * 20)
        assert registry.counters.answered[method.encode()] <= 8
        assert not transport.reading
        await eventually(lambda: transport.reading)
        assert registry.counters.answered[method.encode()] == 20

    async def test_a_read_that_leaves_more_in_the_socket_ends_the_turn(self, registry: Registry) -> None:
        """libuv would read up to 32 times; here each is a part of one frame."""
        connection, transport = with_transport(registry)
        call = encode_request(1, "broadcast.Publish", many(1, payload=bytes(1 << 20)), Flag.PROTO)
        connection.data_received(call[:256_000])
        assert not transport.reading
        await asyncio.sleep(0)
        assert transport.reading
        connection.data_received(call[256_000:257_000])
        assert transport.reading

    async def test_a_flood_of_small_calls_leaves_others_their_turns(self, connect: Connect) -> None:
        flood, other = await connect(), await connect()
        assert await other.is_served()
        flood.send(encode_request(1, "rpc.Version", b"true", Flag.JSON) * 20_000)
        for _ in range(20):
            assert await other.is_served()
        for _ in range(20_000):
            await flood.frame()
