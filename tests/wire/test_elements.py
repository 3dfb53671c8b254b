"""Elements are counted before anything is decoded, and never fewer than a decoder would make."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any

import msgpack
import orjson
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import RPCError
from rr_py_ws.wire.elements import STEP, count_elements, is_one_message
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.pb import broadcast_pb2, websockets_pb2
from rr_py_ws.wire.publish import Message
from rr_py_ws.wire.publish_protobuf import encode_broadcast
from rr_py_ws.wire.rpc import NO_CODEC

OPTIONS = {"strict_map_key": False, "unicode_errors": "surrogateescape"}
ERRORS = (ValueError, TypeError, OverflowError, msgpack.UnpackException)
TEXTS = st.text(max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**63) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(TEXTS, inner, max_size=20),
    max_leaves=60,
)
PIECES = st.sampled_from([b"\x0a", b"\x12", b"\x1a", b"\x02", b"\x00", b"ab"])
BINARY = st.binary(max_size=300) | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20))


def count(codec: Flag, body: bytes) -> int:
    *_, found = count_elements(codec, body)
    return found


def size(value: Any) -> int:
    """Values and keys."""
    match value:
        case dict():
            return 1 + sum(size(key) + size(item) for key, item in value.items())
        case list():
            return 1 + sum(map(size, value))
    return 1


class TestProtobuf:
    def test_a_field_is_an_element(self) -> None:
        body = encode_broadcast([Message("", ["a", "b"], b"x" * 1000), Message("", [], b"")])
        assert count(Flag.PROTO, body) == 5  # two messages, two topics, one payload

    @given(st.lists(st.tuples(st.lists(TEXTS, max_size=300), st.binary(max_size=300)), max_size=5))
    def test_fields_of_any_request(self, messages: list[tuple[list[str], bytes]]) -> None:
        body = encode_broadcast([Message("", topics, payload) for topics, payload in messages])
        expected = sum(1 + len(topics) + (payload != b"") for topics, payload in messages)
        assert count(Flag.PROTO, body) == expected

    @given(st.lists(st.sampled_from([b"\x0a", b"\x12", b"\x1a", b"\x22", b"\0", b"\x01", b"\x0b", b"\x0c"])))
    def test_a_decoder_never_makes_more(self, parts: list[bytes]) -> None:
        """Also of what is nearly a request: groups, fields out of place, lengths that are too large."""
        body = b"".join(parts)
        for schema in (broadcast_pb2, websockets_pb2):
            try:
                request = schema.Request.FromString(body)
            except DecodeError:
                continue
            made = sum(1 + len(message.topics) for message in request.messages)
            assert count(Flag.PROTO, body) >= made

    def test_numbers_may_be_longer_than_they_need(self) -> None:
        assert count(Flag.PROTO, b"\x8a\x00\x80\x00" * 10) == 10
        assert len(broadcast_pb2.Request.FromString(b"\x8a\x00\x80\x00" * 10).messages) == 10

    def test_what_a_group_holds_is_no_message(self) -> None:
        """Its bytes could send the count astray, and messages behind it would not be seen."""
        group = b"\x13\x0a\x05\x12\xff\xff\xff\x7f\x14"
        body = group + b"\x0a\x00" * 100
        assert len(broadcast_pb2.Request.FromString(body).messages) == 100
        assert count(Flag.PROTO, body) == 103

    @pytest.mark.parametrize("body", [b"\xff" * 9999, b"\x0a" + b"\x80" * 9999, b"\x0f", b"\x09", b"\x08"])
    def test_what_no_decoder_reads_ends_the_count(self, body: bytes) -> None:
        with pytest.raises(DecodeError):
            broadcast_pb2.Request.FromString(body)
        assert count(Flag.PROTO, body) == 1


class TestJSON:
    @given(VALUES)
    def test_values_of_any_document(self, value: Any) -> None:
        """Keys have no comma of their own."""
        assert 2 * count(Flag.JSON, orjson.dumps(value)) >= size(value)

    def test_a_payload_is_one(self) -> None:
        assert count(Flag.JSON, b'{"messages":[{"topics":["a"],"payload":"%b"}]}' % (b"QUFB" * 100_000)) == 6


class TestMsgpack:
    @given(VALUES | BINARY | st.lists(BINARY, max_size=50))
    def test_values_and_keys_of_any_document(self, value: Any) -> None:
        assert count(Flag.MSGPACK, msgpack.packb(value)) == size(value)

    @given(st.binary(max_size=200))
    def test_a_decoder_never_makes_more(self, body: bytes) -> None:
        try:
            found = count(Flag.MSGPACK, body)
        except RPCError:
            with pytest.raises(ERRORS):
                msgpack.unpackb(body, **OPTIONS)
            return
        with suppress(*ERRORS):
            assert found >= size(msgpack.unpackb(body, **OPTIONS))

    @pytest.mark.parametrize("start", [b"\xdd\x00\x10\x00\x00", b"\xdc\xff\xff", b"\xdf\x00\x10\x00\x00"])
    def test_more_is_announced_than_can_follow(self, start: bytes) -> None:
        """The decoder makes room for what is announced, and nested lists of a kilobyte announce gigabytes."""
        with pytest.raises(RPCError, match="msgpack: incomplete input"):
            count(Flag.MSGPACK, start * 1000)


@pytest.mark.parametrize(
    ("codec", "body"),
    [
        (Flag.PROTO, b"\x0a\x00" * 4_000_000),
        (Flag.JSON, b"{}," * 4_000_000),
        (Flag.JSON, b"[" * 4_000_000),
        (Flag.MSGPACK, b"\xdd\x00\x3d\x09\x00" + b"\x80" * 4_000_000),
    ],
    ids=["protobuf", "json", "json_nested", "msgpack"],
)
def test_millions_are_counted_in_steps(codec: Flag, body: bytes) -> None:
    """So the one who counts can stop, and can let others have their turns."""
    steps = list(itertools.islice(count_elements(codec, body), 3))
    assert steps[0] >= STEP
    assert steps[2] < 200_000
    assert sorted(set(steps)) == steps


@pytest.mark.parametrize("codec", [Flag.RAW, Flag.GOB, NO_CODEC])
def test_what_is_not_decoded_has_none(codec: Flag) -> None:
    assert count(codec, b"\x0a\x00" * 1000) == 0


class TestOneMessage:
    """What is recognized is never more than a few elements, whatever the bytes are."""

    @pytest.mark.parametrize("topics", [["a"], ["a", "b", "c" * 300]])
    @pytest.mark.parametrize("payload", [b"x", b"x" * 200, b"x" * 100_000])
    def test_what_clients_write(self, topics: list[str], payload: bytes) -> None:
        assert is_one_message(Flag.PROTO, encode_broadcast([Message("", topics, payload)]))
        old = websockets_pb2.Message(broker="default", topics=topics, payload=payload)
        assert is_one_message(Flag.PROTO, websockets_pb2.Request(messages=[old]).SerializeToString())

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\x0a",
            b"\x0a\x00",
            b"\x0a\x05\x12\x03abcd",
            b"\x0a\x80",
            b"\x0a\x02\x08\x7f" + b"\x12\x00" * 100,  # a number where a text is expected
            b"\x0a\xcd\x01\x08\xc8\x01" + b"\x12\x00" * 101,
            b"\x0a\xc8\x01" + b"\x12\x00" * 100,
            encode_broadcast([Message("", ["a"], b"x")] * 2),
        ],
    )
    def test_what_else_there_is(self, body: bytes) -> None:
        assert not is_one_message(Flag.PROTO, body)
        assert not is_one_message(Flag.JSON, body)

    @given(st.binary(max_size=40) | st.lists(PIECES).map(b"".join))
    def test_it_has_as_many_elements_as_a_decoder_finds_in_one_message(self, body: bytes) -> None:
        if is_one_message(Flag.PROTO, body):
            assert count(Flag.PROTO, body) <= 9
            with suppress(DecodeError):
                assert len(broadcast_pb2.Request.FromString(body).messages) == 1
