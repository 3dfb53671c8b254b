from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.goridge import Flag, Frame, FrameDecoder
from rr_py_ws.wire.rpc import (
    NO_CODEC,
    Request,
    encode_error,
    encode_reply,
    encode_request,
    parse_reply,
    parse_request,
)
from support.goridge_frames import FRAMES


def one_frame(data: bytes) -> Frame:
    decoder = FrameDecoder()
    decoder.receive_data(data)
    frame = decoder.next_frame()
    assert frame is not None
    assert not decoder.pending
    return frame


def worked(name: str) -> Request:
    """Parse a worked frame."""
    return parse_request(FRAMES[name][1])


def test_a_request_is_method_then_body() -> None:
    assert worked("publish_proto") == Request(
        1, b"broadcast.Publish", b"\n\x13\n\x07publish\x12\x04chat\x1a\x02hi", Flag.PROTO, 0x80
    )
    assert worked("workers_json") == Request(2, b"informer.Workers", b'"http"', Flag.JSON, 0x08)
    assert worked("raw_request") == Request(5, b"t.Raw", b"\x00\xff", Flag.RAW, 0x04)


@pytest.mark.parametrize(
    ("method", "body", "codec", "sequence", "name"),
    [
        ("informer.Workers", b'"http"', Flag.JSON, 2, "workers_json"),
        ("informer.List", b"true", Flag.JSON, 3, "list_json"),
        ("t.Raw", b"\x00\xff", Flag.RAW, 5, "raw_request"),
    ],
)
def test_a_client_sends_the_worked_requests(
    method: str, body: bytes, codec: Flag, sequence: int, name: str
) -> None:
    assert encode_request(sequence, method, body, codec) == FRAMES[name][0]


def test_replies_are_the_worked_frames() -> None:
    assert encode_reply(worked("publish_proto"), b"\x08\x01") == FRAMES["publish_ok"][0]
    assert encode_reply(worked("workers_json"), b'{"workers":null}') == FRAMES["workers_unknown_plugin"][0]


def test_a_reply_to_a_go_client_has_the_proto_bit_alone() -> None:
    """Go clients mark protobuf calls with GOB and PROTO."""
    request = worked("publish_from_go")
    assert request.codec is Flag.PROTO
    assert one_frame(encode_reply(request, b"")).flags == Flag.PROTO


def test_error_replies_are_the_worked_frames() -> None:
    json = Request(3, b"informer.Lost", b"true", Flag.JSON, Flag.JSON)
    assert encode_error(json, "rpc: can't find method informer.Lost") == FRAMES["unknown_method"][0]
    proto = Request(4, b"nosvc.Foo", b"", Flag.PROTO, Flag.PROTO)
    assert encode_error(proto, "rpc: can't find service nosvc.Foo") == FRAMES["unknown_service"][0]


def test_a_client_reads_the_worked_replies() -> None:
    assert parse_reply(FRAMES["publish_ok"][1]) == (1, b"\x08\x01", False)
    assert parse_reply(FRAMES["unknown_method"][1]) == (3, b"rpc: can't find method informer.Lost", True)


def test_an_error_text_may_hold_bytes_that_are_no_utf8() -> None:
    text = b"no such plugin: \xff\xfe".decode("utf-8", "surrogateescape")
    assert one_frame(encode_error(worked("workers_json"), text)).payload.endswith(b"plugin: \xff\xfe")


@pytest.mark.parametrize(
    ("flags", "body_codec", "reply_flag"),
    [
        (0x04, Flag.RAW, 0x04),
        (0x08, Flag.JSON, 0x08),
        (0x10, Flag.MSGPACK, 0x10),
        (0x20, Flag.GOB, 0x20),
        (0x80, Flag.PROTO, 0x80),
        (0x00, NO_CODEC, 0x20),
        (0xA0, Flag.PROTO, 0x80),
        (0xFF, Flag.PROTO, 0x80),
        (0x3C, Flag.JSON, 0x08),
        (0x34, Flag.GOB, 0x04),  # here the two orders differ
        (0x30, Flag.GOB, 0x10),
        (0x14, Flag.RAW, 0x04),
        (0x49, Flag.JSON, 0x08),  # CONTROL and ERROR mean nothing on a request
        (0x02, NO_CODEC, 0x20),
    ],
)
def test_codec_bits_are_preferred_as_goridge_does(flags: int, body_codec: Flag, reply_flag: int) -> None:
    request = parse_request(Frame(flags, (1, 0), b""))
    assert (request.codec, request.reply_flag) == (body_codec, reply_flag)
    assert one_frame(encode_error(request, "x")).flags == reply_flag | 0x40


@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_other_than_two_options_is_no_rpc_frame(count: int) -> None:
    frame = Frame(Flag.JSON, (0,) * count, b"a.B")
    with pytest.raises(ProtocolError, match=f"{count} options"):
        parse_request(frame)
    with pytest.raises(ProtocolError, match=f"{count} options"):
        parse_reply(frame)


@pytest.mark.parametrize(("payload", "size"), [(b"a.B", 4), (b"", 1), (b"", 101), (b"a.B", 2**32 - 1)])
def test_a_method_name_longer_than_the_payload_is_no_rpc_frame(payload: bytes, size: int) -> None:
    """RoadRunner dies of this, or reads NUL bytes as the name."""
    with pytest.raises(ProtocolError, match=f"method name of {size} bytes"):
        parse_request(Frame(Flag.JSON, (1, size), payload))


def test_a_method_name_that_fills_the_payload_leaves_an_empty_body() -> None:
    assert parse_request(Frame(Flag.JSON, (1, 3), b"a.B")).body == b""
    assert parse_request(Frame(Flag.JSON, (1, 0), b"")).method == b""


@given(
    st.builds(
        Frame,
        st.integers(0, 255),
        st.lists(st.integers(0, 40) | st.integers(0, 2**32 - 1), max_size=4).map(tuple),
        st.binary(max_size=40),
        st.integers(0, 255),
    )
)
def test_any_frame_is_a_request_whose_reply_echoes_it_or_a_frame_error(frame: Frame) -> None:
    try:
        request = parse_request(frame)
    except ProtocolError:
        return
    assert request.method + request.body == frame.payload
    reply = one_frame(encode_reply(request, b"result"))
    assert reply.options == frame.options
    assert reply.payload == request.method + b"result"
    assert parse_reply(reply) == (request.sequence, b"result", False)
    assert parse_reply(one_frame(encode_error(request, "why"))) == (request.sequence, b"why", True)
