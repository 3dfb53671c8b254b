from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import RPCError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.pb import websockets_pb2
from rr_py_ws.wire.publish import Message, decode_broadcast, decode_websockets, encode_ok
from rr_py_ws.wire.publish_protobuf import decode_ok, encode_broadcast
from rr_py_ws.wire.rpc import NO_CODEC, parse_request
from support.goridge_frames import FRAMES

Decode = Callable[[Flag, bytes], list[Message]]
BOTH = pytest.mark.parametrize("decode", [decode_broadcast, decode_websockets])
MESSAGES = st.lists(
    st.builds(
        Message, st.text(max_size=9), st.lists(st.text(max_size=9), max_size=4), st.binary(max_size=40)
    ),
    max_size=5,
)


def test_the_worked_publish_is_decoded() -> None:
    request = parse_request(FRAMES["publish_proto"][1])
    assert decode_broadcast(request.codec, request.body) == [Message("", ["chat"], b"hi")]


def test_what_the_php_library_sends_is_decoded() -> None:
    """`publish(['a', 'b'], 'hi')` of spiral/roadrunner-broadcast."""
    body = bytes.fromhex("0a 0a 12 01 61 12 01 62 1a 02 68 69")
    assert decode_broadcast(Flag.PROTO, body) == [Message("", ["a", "b"], b"hi")]


def test_the_old_schema_has_a_broker_and_other_numbers() -> None:
    body = bytes.fromhex("0a 12 12 06 6d 65 6d 6f 72 79 1a 01 61 1a 01 62 22 02 68 69")
    assert decode_websockets(Flag.PROTO, body) == [Message("memory", ["a", "b"], b"hi")]


@BOTH
def test_an_empty_protobuf_body_is_a_request_without_messages(decode: Decode) -> None:
    assert decode(Flag.PROTO, b"") == []


@BOTH
def test_unknown_protobuf_fields_are_skipped(decode: Decode) -> None:
    assert decode(Flag.PROTO, bytes.fromhex("0a 03 7a 01 61 52 01 78")) == [Message("", [], b"")]


@BOTH
@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05\x12", b"zz", b"\xff" * 12])
def test_undecodable_protobuf_is_an_error_with_goridges_text(decode: Decode, body: bytes) -> None:
    with pytest.raises(
        RPCError, match=r"^goridge_read_request_body: proto: cannot parse invalid wire-format data$"
    ):
        decode(Flag.PROTO, body)


@given(MESSAGES)
def test_messages_survive_protobuf_in_the_new_schema(messages: list[Message]) -> None:
    assert decode_broadcast(Flag.PROTO, encode_broadcast(messages)) == [
        message._replace(broker="") for message in messages
    ]


@given(MESSAGES)
def test_messages_survive_protobuf_in_the_old_schema(messages: list[Message]) -> None:
    request = websockets_pb2.Request(
        messages=[websockets_pb2.Message(broker=b, topics=t, payload=p) for b, t, p in messages]
    )
    assert decode_websockets(Flag.PROTO, request.SerializeToString()) == messages


@given(MESSAGES)
def test_messages_survive_json_and_msgpack(messages: list[Message]) -> None:
    packed = msgpack.packb({"messages": [message._asdict() for message in messages]})
    json = orjson.dumps(
        {
            "messages": [
                {**message._asdict(), "payload": base64.b64encode(message.payload).decode()}
                for message in messages
            ]
        }
    )
    without_broker = [message._replace(broker="") for message in messages]
    for codec, body in ((Flag.JSON, json), (Flag.MSGPACK, packed)):
        assert decode_websockets(codec, body) == messages
        assert decode_broadcast(codec, body) == without_broker


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (b"", []),
        (b"null", []),
        (b"{}", []),
        (b'{"messages":null}', []),
        (b'{"messages":[]}', []),
        (b'{"messages":[null]}', [Message("", [], b"")]),
        (b' {"Messages" : [{"TOPICS":["a"],"PayLoad":"aGk="}]} ', [Message("", ["a"], b"hi")]),
        (b'{"messages":[{"topics":["a"],"payload":[104,105]}]}', [Message("", ["a"], b"hi")]),
        (b'{"messages":[{"topics":["a"],"payload":null}]}', [Message("", ["a"], b"")]),
        (b'{"messages":[{"topics":["a"],"payload":"aG\\nk="}]}', [Message("", ["a"], b"hi")]),
        (b'{"messages":[{"topics":null,"payload":""}]}', [Message("", [], b"")]),
        (b'{"messages":[{"topics":[null,"a"]}],"x":[{}]}', [Message("", ["", "a"], b"")]),
        (b'{"messages":[{"command":"publish","topics":["\\u00e9\\/"]}]}', [Message("", ["é/"], b"")]),
    ],
)
def test_json_is_read_as_leniently_as_go_does(body: bytes, messages: list[Message]) -> None:
    assert decode_broadcast(Flag.JSON, body) == messages


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"a"',
        b'{"messages":{}}',
        b'{"messages":[1]}',
        b'{"messages":[{"topics":"a"}]}',
        b'{"messages":[{"topics":[1]}]}',
        b'{"messages":[{"payload":"a"}]}',
        b'{"messages":[{"payload":"aGk"}]}',
        b'{"messages":[{"payload":"\xc3\xa9aGk="}]}',
        b'{"messages":[{"payload":"aGk=aGk="}]}',
        b'{"messages":[{"payload":[256]}]}',
        b'{"messages":[{"payload":[-1]}]}',
        b'{"messages":[{"payload":[1e400]}]}',
        b'{"messages":[{"payload":["a"]}]}',
        b'{"messages":[{"payload":{}}]}',
        b'{"messages":[{"payload":true}]}',
    ],
)
def test_json_of_another_shape_is_an_error(body: bytes) -> None:
    with pytest.raises(RPCError, match=r"."):
        decode_broadcast(Flag.JSON, body)


def test_a_broker_of_another_type_is_an_error_in_the_old_schema_only() -> None:
    body = b'{"messages":[{"broker":1,"topics":["a"]}]}'
    with pytest.raises(RPCError, match=r"cannot unmarshal number into Go struct field Message\.Broker"):
        decode_websockets(Flag.JSON, body)
    assert decode_broadcast(Flag.JSON, body) == [Message("", ["a"], b"")]


@pytest.mark.parametrize("payload", [b"\x00\xff", "hi", None])
@pytest.mark.parametrize("topic", ["a", b"a"])
def test_msgpack_takes_bytes_and_strings_alike(payload: Any, topic: str | bytes) -> None:
    body = msgpack.packb({"Messages": [{"Topics": [topic], "Payload": payload, "x": 2}]})
    expected = payload.encode() if isinstance(payload, str) else bytes(payload or b"")
    assert decode_broadcast(Flag.MSGPACK, body) == [Message("", ["a"], expected)]


def test_a_binary_payload_that_php_packs_as_a_string_keeps_its_bytes() -> None:
    """PHP has one string type; its msgpack extension marks it as text whatever is in it."""
    body = b"\x81\xa8messages\x91\x81\xa7payload\xa3\xff\x00\xe9"
    assert decode_broadcast(Flag.MSGPACK, body) == [Message("", [], b"\xff\x00\xe9")]


@BOTH
def test_a_raw_call_has_a_zero_argument_and_no_possible_answer(decode: Decode) -> None:
    assert decode(Flag.RAW, b"anything") == []
    with pytest.raises(RPCError, match=r"^unknown Raw payload type$"):
        encode_ok(Flag.RAW)


@BOTH
@pytest.mark.parametrize(
    ("codec", "text"), [(Flag.GOB, "gob is not supported"), (NO_CODEC, "unknown decoder")]
)
def test_other_codecs_are_refused(decode: Decode, codec: Flag, text: str) -> None:
    with pytest.raises(RPCError, match=text):
        decode(codec, b"")


@BOTH
@pytest.mark.parametrize("codec", [Flag.PROTO, Flag.JSON, Flag.MSGPACK])
@given(body=st.binary(max_size=60))
def test_any_body_gives_messages_or_an_rpc_error(decode: Decode, codec: Flag, body: bytes) -> None:
    try:
        messages = decode(codec, body)
    except RPCError as error:
        assert str(error)
    else:
        assert all(isinstance(payload, bytes) for _, _, payload in messages)


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-300, 300) | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "topics", "payload", "broker", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(ANY_VALUE)
def test_any_value_gives_messages_or_an_rpc_error(value: Any) -> None:
    try:
        decode_websockets(Flag.MSGPACK, msgpack.packb({"messages": value}))
    except RPCError as error:
        assert str(error)


def test_the_answer_says_ok_in_each_codec() -> None:
    assert encode_ok(Flag.PROTO) == b"\x08\x01"
    assert encode_ok(Flag.JSON) == b'{"ok":true}'
    assert msgpack.unpackb(encode_ok(Flag.MSGPACK)) == {"Ok": True}


def test_an_empty_answer_means_not_accepted() -> None:
    assert decode_ok(b"\x08\x01") is True
    assert decode_ok(b"") is False
    with pytest.raises(RPCError):
        decode_ok(b"\xff")
