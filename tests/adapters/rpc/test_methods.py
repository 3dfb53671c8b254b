"""What each method answers, on a real connection, in each codec."""

from __future__ import annotations

import base64
from typing import Any

import msgpack
import orjson
import pytest

from rr_py_ws.adapters.rpc import Registry
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.pb import broadcast_pb2, websockets_pb2
from support.loops import both_loops
from support.rpc_peer import IdlePool, Peer, RecordingPublisher

ERROR = Flag.ERROR
BROADCAST = broadcast_pb2.Request(
    messages=[
        broadcast_pb2.Message(command="publish", topics=["a", "b"], payload=b"1"),
        broadcast_pb2.Message(topics=["a"], payload=b"\x00\xff"),
    ]
).SerializeToString()
WEBSOCKETS = websockets_pb2.Request(
    messages=[
        websockets_pb2.Message(broker="memory", topics=["a", "b"], payload=b"1"),
        websockets_pb2.Message(topics=["a"], payload=b"\x00\xff"),
    ]
).SerializeToString()
FIELDS: dict[str, Any] = {
    "messages": [
        {"broker": "memory", "topics": ["a", "b"], "payload": b"1"},
        {"topics": ["a"], "payload": b"\x00\xff"},
    ]
}
JSON = orjson.dumps(FIELDS, default=lambda data: base64.b64encode(data).decode())
MSGPACK = msgpack.packb(FIELDS)

OK = {Flag.PROTO: b"\x08\x01", Flag.JSON: b'{"ok":true}', Flag.MSGPACK: msgpack.packb({"Ok": True})}
METHODS = pytest.mark.parametrize("method", ["Publish", "PublishAsync"])
EVERY = pytest.mark.parametrize(
    "method", ["broadcast.Publish", "broadcast.PublishAsync", "websockets.Publish", "websockets.PublishAsync"]
)
WAITING = pytest.mark.parametrize("method", ["broadcast.Publish", "websockets.Publish"])
AT_ONCE = pytest.mark.parametrize("method", ["broadcast.PublishAsync", "websockets.PublishAsync"])


def published(broker: str) -> list[tuple[str, str, bytes]]:
    return [(broker, "a", b"1"), (broker, "b", b"1"), ("", "a", b"\x00\xff")]


class TestPublish:
    @METHODS
    @pytest.mark.parametrize(
        ("codec", "body"), [(Flag.PROTO, BROADCAST), (Flag.JSON, JSON), (Flag.MSGPACK, MSGPACK)]
    )
    async def test_broadcast_publishes_to_the_default_broker(
        self, peer: Peer, publisher: RecordingPublisher, method: str, codec: Flag, body: bytes
    ) -> None:
        assert await peer.call(f"broadcast.{method}", body, codec) == (codec, OK[codec])
        assert publisher.messages == published("")

    @METHODS
    @pytest.mark.parametrize(
        ("codec", "body"), [(Flag.PROTO, WEBSOCKETS), (Flag.JSON, JSON), (Flag.MSGPACK, MSGPACK)]
    )
    async def test_d21_websockets_publishes_each_message_once_to_each_topic_of_its_broker(
        self, peer: Peer, publisher: RecordingPublisher, method: str, codec: Flag, body: bytes
    ) -> None:
        """RoadRunner 2.3.0 pushed a message with n topics n times to each of them."""
        assert await peer.call(f"websockets.{method}", body, codec) == (codec, OK[codec])
        assert publisher.messages == published("memory")

    @EVERY
    async def test_a_go_client_gets_a_protobuf_answer(self, peer: Peer, method: str) -> None:
        assert await peer.call(method, b"", 0xA0) == (Flag.PROTO, OK[Flag.PROTO])

    @EVERY
    @pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"messages":[{"payload":"aGk="}]}'])
    async def test_nothing_to_publish_is_ok(
        self, peer: Peer, publisher: RecordingPublisher, method: str, body: bytes
    ) -> None:
        assert await peer.call(method, body) == (Flag.JSON, OK[Flag.JSON])
        assert publisher.messages == []

    @EVERY
    async def test_empty_topics_are_skipped(
        self, peer: Peer, publisher: RecordingPublisher, method: str
    ) -> None:
        body = b'{"messages":[{"topics":["","a",null,"b"]},{"topics":[""]}]}'
        assert await peer.call(method, body) == (Flag.JSON, OK[Flag.JSON])
        assert publisher.messages == [("", "a", b""), ("", "b", b"")]

    @WAITING
    @both_loops
    async def test_the_answer_waits_for_the_broker(
        self, peer: Peer, publisher: RecordingPublisher, method: str
    ) -> None:
        first, second = publisher.wait(2)
        peer.request(1, method, JSON)
        assert await peer.is_served()  # so the call before this one has not been answered
        assert len(publisher.messages) == 3  # all handed over before the first is accepted
        second.set_result(None)
        assert await peer.is_served()
        first.set_result(None)
        assert (await peer.frame()).payload == method.encode() + OK[Flag.JSON]

    @WAITING
    async def test_a_refused_topic_stops_the_message_it_is_in(
        self, peer: Peer, publisher: RecordingPublisher, method: str
    ) -> None:
        publisher.refused = {"b"}
        flags, _ = await peer.call(method, b'{"messages":[{"topics":["a","b","c"]}]}')
        assert flags == Flag.JSON | ERROR
        assert publisher.messages == [("", "a", b"")]

    @WAITING
    async def test_a_refusal_stops_the_call_and_says_why(
        self, peer: Peer, publisher: RecordingPublisher, method: str
    ) -> None:
        publisher.refused = {"b"}
        body = b'{"messages":[{"topics":["a"]},{"topics":["b"]},{"topics":["c"]}]}'
        text = b"broadcast_publish:\n\tbroadcast_plugin_publish: the broker is away"
        assert await peer.call(method, body) == (Flag.JSON | ERROR, text)
        assert publisher.messages == [("", "a", b"")]
        assert await peer.is_served()

    @WAITING
    @pytest.mark.parametrize("failing", [0, 1])
    async def test_a_later_refusal_fails_the_call(
        self, peer: Peer, publisher: RecordingPublisher, method: str, failing: int
    ) -> None:
        futures = publisher.wait(2)
        peer.request(1, method, JSON)
        assert await peer.is_served()
        futures[failing].set_exception(BrokerError("connection lost"))
        futures[1 - failing].set_result(None)
        frame = await peer.frame()
        assert frame.flags == Flag.JSON | ERROR
        assert frame.payload.endswith(b"broadcast_plugin_publish: connection lost")

    @WAITING
    async def test_a_refusal_after_a_message_that_waits_is_told_when_that_is_settled(
        self, peer: Peer, publisher: RecordingPublisher, method: str
    ) -> None:
        [future] = publisher.wait(1)
        publisher.refused = {"b"}
        peer.request(1, method, b'{"messages":[{"topics":["a"]},{"topics":["b"]},{"topics":["c"]}]}')
        assert await peer.is_served()
        future.set_result(None)
        assert (await peer.frame()).payload.endswith(b"the broker is away")
        assert publisher.messages == [("", "a", b"")]

    @AT_ONCE
    async def test_async_answers_before_the_broker_does(
        self, peer: Peer, publisher: RecordingPublisher, registry: Registry, method: str
    ) -> None:
        publisher.wait(2)
        assert await peer.call(method, JSON) == (Flag.JSON, OK[Flag.JSON])
        assert len(registry.running) == 2
        for future in registry.running:
            future.set_result(None)

    @AT_ONCE
    async def test_async_logs_failures_and_goes_on(
        self, peer: Peer, publisher: RecordingPublisher, method: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        publisher.refused = {"b"}
        [future] = publisher.wait(1)
        body = b'{"messages":[{"topics":["a","b","c"]},{"topics":["b","d"]}]}'
        assert await peer.call(method, body) == (Flag.JSON, OK[Flag.JSON])
        assert [topic for _, topic, _ in publisher.messages] == ["a", "c", "d"]
        future.set_exception(BrokerError("connection lost"))
        assert await peer.is_served()

    @EVERY
    @pytest.mark.parametrize(
        ("codec", "body", "text"),
        [
            (Flag.PROTO, b"\xff", b"goridge_read_request_body: proto: cannot parse invalid wire-format data"),
            (Flag.JSON, b"z", b"invalid character 'z' looking for beginning of value"),
            (Flag.JSON, b"[]", b"invalid character '[' looking for beginning of value"),
            (Flag.MSGPACK, b"\xc1", b"msgpack: "),
            (Flag.RAW, b"x", b"unknown Raw payload type"),
            (Flag.GOB, b"\x03\x04\x00", b"goridge_read_request_body: gob is not supported"),
            (0, b"x", b"goridge_read_request_body: unknown decoder used in frame"),
        ],
    )
    async def test_an_undecodable_body_is_an_error_reply(
        self, peer: Peer, publisher: RecordingPublisher, method: str, codec: int, body: bytes, text: bytes
    ) -> None:
        flags, answer = await peer.call(method, body, codec)
        assert flags == (codec or Flag.GOB) | ERROR
        assert answer.startswith(text)
        assert publisher.messages == []
        assert await peer.is_served()


class TestInformer:
    @pytest.mark.parametrize("argument", [b"true", b"false", b"null", b""])
    async def test_list_names_the_plugins(self, peer: Peer, argument: bytes) -> None:
        """PHP's `isAvailable()` looks for `websockets` in it."""
        assert await peer.call("informer.List", argument) == (Flag.JSON, b'["websockets","http"]')

    async def test_list_takes_a_bool_only(self, peer: Peer) -> None:
        flags, _ = await peer.call("informer.List", b"[]")
        assert flags == Flag.JSON | ERROR
        assert await peer.is_served()

    async def test_workers_describes_each_worker(self, peer: Peer) -> None:
        """The keys and their order are those of RoadRunner 2.11.2 and newer."""
        assert await peer.call("informer.Workers", b'"websockets"') == (
            Flag.JSON,
            b'{"workers":[{"pid":4242,"status":1,"numExecs":3,"created":1700000000000000000,'
            b'"memoryUsage":30000000,"CPUPercent":1.5,"command":"php worker.php","statusStr":"ready"}]}',
        )

    async def test_workers_of_a_plugin_without_workers_are_none(self, peer: Peer) -> None:
        assert await peer.call("informer.Workers", b'"http"') == (Flag.JSON, b'{"workers":[]}')

    async def test_workers_of_an_unknown_plugin_are_null(self, peer: Peer) -> None:
        assert await peer.call("informer.Workers", b'"jobs"') == (Flag.JSON, b'{"workers":null}')
        assert await peer.call("informer.Workers", b"") == (Flag.JSON, b'{"workers":null}')

    async def test_jobs_are_always_null(self, peer: Peer) -> None:
        assert await peer.call("informer.Jobs", b'"websockets"') == (Flag.JSON, b"null")

    async def test_msgpack_has_gos_field_names(self, peer: Peer) -> None:
        flags, body = await peer.call("informer.Workers", msgpack.packb("websockets"), Flag.MSGPACK)
        assert flags == Flag.MSGPACK
        [state] = msgpack.unpackb(body)["Workers"]
        assert state["Pid"] == 4242
        assert state["StatusStr"] == "ready"

    @pytest.mark.parametrize("body", [b"", b"\x08\x01"])
    async def test_protobuf_is_refused(self, peer: Peer, body: bytes) -> None:
        """An empty body makes RoadRunner panic."""
        assert await peer.call("informer.List", body, Flag.PROTO) == (
            Flag.PROTO | ERROR,
            b"goridge_read_request_body: message type is not a proto",
        )

    async def test_raw_has_no_form_for_a_list(self, peer: Peer) -> None:
        assert await peer.call("informer.List", b"x", Flag.RAW) == (
            Flag.RAW | ERROR,
            b"unknown Raw payload type",
        )


class TestResetter:
    async def test_list_names_what_can_be_reset(self, peer: Peer) -> None:
        assert await peer.call("resetter.List", b"true") == (Flag.JSON, b'["websockets","http"]')

    async def test_reset_answers_when_it_is_done(self, peer: Peer, pool: IdlePool) -> None:
        pool.may_finish.clear()
        peer.request(1, "resetter.Reset", b'"websockets"')
        assert await peer.is_served()
        assert pool.resets == 1
        pool.may_finish.set()
        assert (await peer.frame()).payload == b"resetter.Resettrue"

    async def test_reset_of_a_plugin_without_workers_is_done_at_once(self, peer: Peer) -> None:
        assert await peer.call("resetter.Reset", b'"http"') == (Flag.JSON, b"true")

    @pytest.mark.parametrize("name", ["foo", ""])
    async def test_reset_of_an_unknown_plugin_has_roadrunners_text(self, peer: Peer, name: str) -> None:
        assert await peer.call("resetter.Reset", orjson.dumps(name)) == (
            Flag.JSON | ERROR,
            f"resetter_rpc_reset:\n\tresetter_plugin_reset_by_name: no such plugin: {name}".encode(),
        )

    async def test_a_failed_reset_says_why(self, peer: Peer, pool: IdlePool) -> None:
        pool.broken = True
        assert await peer.call("resetter.Reset", b'"websockets"') == (
            Flag.JSON | ERROR,
            b"resetter_rpc_reset:\n\tresetter_plugin_reset_by_name: worker exited with 255",
        )


class TestStatus:
    @pytest.mark.parametrize(
        ("method", "plugin", "code"),
        [
            ("Status", b"websockets", 200),
            ("Ready", b"websockets", 200),
            ("Status", b"broadcast", 200),
            ("Ready", b"broadcast", 503),
        ],
    )
    async def test_a_plugin_tells_how_it_is(self, peer: Peer, method: str, plugin: bytes, code: int) -> None:
        assert await peer.call(f"status.{method}", b'"%b"' % plugin) == (Flag.JSON, b'{"Code":%d}' % code)

    @pytest.mark.parametrize("method", ["Status", "Ready"])
    async def test_an_unknown_plugin_is_an_error_with_roadrunners_text(self, peer: Peer, method: str) -> None:
        name = method.lower()
        assert await peer.call(f"status.{method}", b'"http"') == (
            Flag.JSON | ERROR,
            f"checker_rpc_{name}:\n\tchecker_plugin_{name}: no such plugin: http".encode(),
        )


class TestAbout:
    async def test_version_is_a_string(self, peer: Peer) -> None:
        assert await peer.call("rpc.Version", b"true") == (Flag.JSON, b'"2.11.4"')

    async def test_config_is_bytes(self, peer: Peer) -> None:
        assert await peer.call("rpc.Config", b"", Flag.RAW) == (Flag.RAW, b'{"rpc":{}}')
        flags, body = await peer.call("rpc.Config", b"true")
        assert flags == Flag.JSON
        assert base64.b64decode(orjson.loads(body)) == b'{"rpc":{}}'


@pytest.mark.parametrize("codec", [Flag.JSON, Flag.PROTO, Flag.RAW, Flag.MSGPACK, Flag.GOB])
@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("Publish", "rpc: service/method request ill-formed: Publish"),
        ("", "rpc: service/method request ill-formed: "),
        ("nosvc.Foo", "rpc: can't find service nosvc.Foo"),
        ("kv.Has.More", "rpc: can't find service kv.Has.More"),
        (".Publish", "rpc: can't find service .Publish"),
        ("informer.Lost", "rpc: can't find method informer.Lost"),
        ("informer.list", "rpc: can't find method informer.list"),
        ("broadcast.", "rpc: can't find method broadcast."),
    ],
)
async def test_unknown_methods_have_net_rpcs_texts(peer: Peer, codec: Flag, method: str, text: str) -> None:
    assert await peer.call(method, b"true", codec) == (codec | ERROR, text.encode())
    assert await peer.is_served()


async def test_an_unexpected_failure_is_an_error_reply_and_a_log_line(
    peer: Peer, publisher: RecordingPublisher
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    publisher.publish = fail  # type: ignore[method-assign, assignment]
    assert await peer.call("broadcast.Publish", BROADCAST, Flag.PROTO) == (
        Flag.PROTO | ERROR,
        b"internal error; the log of the server has the reason",
    )
    assert await peer.is_served()
