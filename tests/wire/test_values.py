from __future__ import annotations

from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import RPCError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.rpc import NO_CODEC
from rr_py_ws.wire.values import UndecodedError, decode_argument, decode_value, encode_result

VALUE_CODECS = [Flag.JSON, Flag.MSGPACK]


@pytest.mark.parametrize("codec", [Flag.JSON, Flag.MSGPACK, Flag.RAW])
def test_an_empty_body_is_the_zero_value(codec: Flag) -> None:
    assert decode_argument(codec, b"", str) == ""
    assert decode_argument(codec, b"", bool) is False


@pytest.mark.parametrize(("codec", "null"), [(Flag.JSON, b" null "), (Flag.MSGPACK, b"\xc0")])
def test_null_is_the_zero_value(codec: Flag, null: bytes) -> None:
    assert decode_argument(codec, null, str) == ""
    assert decode_argument(codec, null, bool) is False


def test_arguments_are_decoded() -> None:
    assert decode_argument(Flag.JSON, b' "a\\/\\u00e9" ', str) == "a/é"
    assert decode_argument(Flag.JSON, b"true", bool) is True
    assert decode_argument(Flag.MSGPACK, b"\xa4http", str) == "http"
    assert decode_argument(Flag.MSGPACK, b"\xc3", bool) is True


def test_a_raw_body_is_ignored() -> None:
    """In Go the method runs with a zero argument."""
    assert decode_argument(Flag.RAW, b"http", str) == ""


@pytest.mark.parametrize("body", [b"{}", b"[]", b'"a"', b"1"])
def test_an_argument_of_another_type_is_an_error(body: bytes) -> None:
    with pytest.raises(RPCError, match=r"^json: bool unexpected end of JSON input$"):
        decode_argument(Flag.JSON, body, bool)
    with pytest.raises(RPCError, match=r"^msgpack: invalid code=[0-9a-f]+ decoding bool$"):
        decode_argument(Flag.MSGPACK, msgpack.packb(orjson.loads(body)), bool)


@pytest.mark.parametrize("body", [b"z", b'"a', b'"a" y', b"\xff", b"NaN", b"[" * 100_000])
def test_what_is_no_json_is_an_error(body: bytes) -> None:
    with pytest.raises(UndecodedError):
        decode_value(Flag.JSON, body)
    with pytest.raises(RPCError, match=r"^json: |^invalid character|bytes, 16384 are allowed$"):
        decode_argument(Flag.JSON, body, str)


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        b"\xa5abc",
        b"\xa1ab",
        b"\x91" * 100_000,
        b"\x81\x90\x01",  # a list as a key
        b"\xdf\xff\xff\xff\xff",
        b"\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff",  # a time stamp out of range
    ],
)
def test_what_is_no_msgpack_is_an_error(body: bytes) -> None:
    with pytest.raises(UndecodedError):
        decode_value(Flag.MSGPACK, body)


@pytest.mark.parametrize("codec", VALUE_CODECS)
@given(body=st.binary(max_size=60))
def test_any_body_is_a_value_or_an_rpc_error(codec: Flag, body: bytes) -> None:
    try:
        decode_argument(codec, body, str)
    except RPCError as error:
        assert str(error)


@pytest.mark.parametrize("body", [b"", b"\x08\x01"])
def test_protobuf_has_no_form_for_plain_values(body: bytes) -> None:
    """RoadRunner dies when such a call has an empty body."""
    with pytest.raises(RPCError, match=r"^goridge_read_request_body: message type is not a proto$"):
        decode_value(Flag.PROTO, body)


def test_gob_is_refused_by_name_with_what_is_accepted() -> None:
    with pytest.raises(RPCError, match=r"gob is not supported; protobuf, JSON, msgpack and raw are"):
        decode_value(Flag.GOB, b"\x03\x02\x00\x01")


def test_a_frame_without_a_codec_gets_goridges_text() -> None:
    with pytest.raises(RPCError, match=r"^goridge_read_request_body: unknown decoder used in frame$"):
        decode_value(NO_CODEC, b"")


@pytest.mark.parametrize(
    ("result", "json", "unpacked"),
    [
        (True, b"true", True),
        (None, b"null", None),
        ([], b"[]", []),
        (["a", "é"], '["a","é"]'.encode(), ["a", "é"]),
        ({"workers": None}, b'{"workers":null}', {"Workers": None}),
        ({"workers": [{"numExecs": 1}]}, b'{"workers":[{"numExecs":1}]}', {"Workers": [{"NumExecs": 1}]}),
        (b"\x00\xff", b'"AP8="', b"\x00\xff"),
    ],
)
def test_results_have_gos_form_in_json_and_msgpack(result: Any, json: bytes, unpacked: Any) -> None:
    assert encode_result(Flag.JSON, result) == json
    assert msgpack.unpackb(encode_result(Flag.MSGPACK, result)) == unpacked


def test_a_raw_result_must_be_bytes() -> None:
    assert encode_result(Flag.RAW, b"\x00\xff") == b"\x00\xff"
    for result in (True, "text", ["a"], None):
        with pytest.raises(RPCError, match=r"^unknown Raw payload type$"):
            encode_result(Flag.RAW, result)


@pytest.mark.parametrize("codec", VALUE_CODECS)
def test_a_result_without_a_form_is_an_error_reply_not_silence(codec: Flag) -> None:
    """In RoadRunner a client would wait for ever for the answer to such a msgpack call."""
    for result in (2**70, "\ud800", object()):
        with pytest.raises(RPCError, match="the result has no form in this codec"):
            encode_result(codec, result)
