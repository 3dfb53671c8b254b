from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.frames import Opcode as RFCOpcode
from websockets.streams import StreamReader

from rr_py_ws import native
from rr_py_ws.wire.framing.websocket import Opcode, server_frame
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import (
    BINARY,
    BY_SUBPROTOCOL,
    JSON,
    STRING,
    Encoding,
    prepared,
)

pytestmark = pytest.mark.usefixtures("variant")

BOUNDARIES = [0, 1, 125, 126, 127, 65535, 65536, 65537]


def parse(data: bytes) -> Frame:
    """Read exactly one frame with an independent parser, as a client would."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parser = Frame.parse(reader.read_exact, mask=False)
    try:
        next(parser)
    except StopIteration as parsed:
        assert reader.buffer == b""
        frame: Frame = parsed.value
        return frame
    raise AssertionError("the frame is incomplete")


def content(frame: bytes) -> bytes:
    return bytes(parse(frame).data)


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_the_length_has_its_shortest_form(length: int, header: bytes) -> None:
    assert server_frame(Opcode.TEXT, b"x" * length) == header + b"x" * length


@pytest.mark.parametrize(
    ("opcode", "first"), [(Opcode.TEXT, 0x81), (Opcode.BINARY, 0x82), (Opcode.PING, 0x89)]
)
def test_a_frame_is_final_unmasked_and_of_its_kind(opcode: Opcode, first: int) -> None:
    assert server_frame(opcode, b"") == bytes([first, 0])


@pytest.mark.skipif(native.MISSING is not None, reason=f"no native part: {native.MISSING}")
def test_the_default_encoding_is_of_the_variant_that_is_tested(request: pytest.FixtureRequest) -> None:
    """It kept the function in C, so that these tests ran twice over that one."""
    variant = request.node.callspec.params["variant"]
    assert STRING.push is native.TWINS["encode_push"][variant == "native"]


class TestDefaultEncoding:
    @pytest.mark.parametrize(
        ("topic", "payload", "text"),
        [
            ("foo", b"hello, PHP", '{"topic":"foo","payload":"hello, PHP"}'),
            ("foo", b"", '{"topic":"foo","payload":""}'),
            ("foo", b'{"a":1}', r'{"topic":"foo","payload":"{\"a\":1}"}'),
            ("<&>", b"<&>", r'{"topic":"\u003c\u0026\u003e","payload":"\u003c\u0026\u003e"}'),
            ("a,b é", "é\u2028".encode(), r'{"topic":"a,b é","payload":"é\u2028"}'),
            ("\udcff", b"\xff\b", r'{"topic":"\ufffd","payload":"\ufffd\u0008"}'),
        ],
    )
    def test_is_roadrunners_byte_for_byte(self, topic: str, payload: bytes, text: str) -> None:
        assert STRING.push(Publication(topic, payload)) == server_frame(Opcode.TEXT, text.encode())

    def test_what_a_browser_gets_whole(self) -> None:
        assert (
            STRING.push(Publication("foo", b"hello, PHP"))
            == b'\x81\x26{"topic":"foo","payload":"hello, PHP"}'
        )

    @given(st.text(st.characters(codec="utf-8")), st.binary())
    def test_is_always_json_in_a_text_frame(self, topic: str, payload: bytes) -> None:
        frame = parse(STRING.push(Publication(topic, payload)))
        assert (frame.opcode, frame.fin) == (RFCOpcode.TEXT, True)
        message = json.loads(bytes(frame.data))
        assert list(message) == ["topic", "payload"]
        assert message["topic"] == topic
        assert message["payload"].encode().count(b"\xef\xbf\xbd") >= payload.count(b"\xff")


class TestJsonEncoding:
    @pytest.mark.parametrize(
        "payload",
        [
            b"1",
            b"null",
            b"true",
            b'"text"',
            b"[]",
            b'{"a": [1, 2.50, "<&>\\u00e9"]}',
            '"é\u2028"'.encode(),
            b" [ ]\n",
        ],
    )
    def test_d20_json_is_not_encoded_twice(self, payload: bytes) -> None:
        assert JSON.push(Publication("foo", payload)) == server_frame(
            Opcode.TEXT, b'{"topic":"foo","payload":%b}' % payload
        )

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"hello",
            b"{",
            b"1 2",
            b"NaN",
            b"Infinity",
            b'"\xff"',
            b"'a'",
            b'{"a":1},"x":2',
            b"\xef\xbb\xbf1",
            b"01",
        ],
    )
    def test_what_is_no_json_comes_as_without_the_subprotocol(self, payload: bytes) -> None:
        assert JSON.push(Publication("foo", payload)) == STRING.push(Publication("foo", payload))

    @given(st.text(), st.binary() | st.text().map(lambda text: json.dumps(text).encode()))
    def test_nothing_that_is_published_breaks_out_of_the_envelope(self, topic: str, payload: bytes) -> None:
        message = json.loads(content(JSON.push(Publication(topic, payload))))
        assert list(message) == ["topic", "payload"]

    @pytest.mark.parametrize(("values", "is_json"), [(65_535, True), (65_536, False)])
    def test_very_many_values_come_as_a_string(self, values: int, is_json: bool) -> None:
        """12 MiB of empty maps took 0.4 s to look through, and 800 MiB."""
        payload = b"[%b0]" % (b"0," * values)
        push = JSON.push(Publication("foo", payload))
        assert (push == STRING.push(Publication("foo", payload))) is not is_json


class TestPrepared:
    """A large payload is encoded before its push is made, in pieces."""

    @pytest.mark.parametrize(
        "payload",
        ["é😀".encode() * 40_000, b"\xff<\b" * 50_000, b"[1]", b""],
        ids=["text", "bytes", "1", "0"],
    )
    @pytest.mark.parametrize(
        "encoding", [form for plain in (STRING, JSON, BINARY) for form in (plain, plain.positioned)]
    )
    def test_makes_no_difference_to_the_push(self, encoding: Encoding, payload: bytes) -> None:
        publication = Publication("foo", payload, "e.1")
        plain = encoding.push(publication)
        with prepared(payload) as steps:
            assert encoding.push(publication) == plain
            for _ in steps:
                assert encoding.push(publication) == plain
            assert encoding.push(publication) == plain
            other = Publication("foo", b"other")
            assert STRING.push(other) == server_frame(Opcode.TEXT, b'{"topic":"foo","payload":"other"}')
        assert encoding.push(publication) == plain


class TestBinaryEncoding:
    def test_d20_bytes_arrive_undamaged(self) -> None:
        payload = bytes(range(256))
        assert content(BINARY.push(Publication("é/1", payload))) == b"\x00\x04" + "é/1".encode() + payload
        assert parse(BINARY.push(Publication("é/1", payload))).opcode is RFCOpcode.BINARY

    def test_a_topic_that_was_no_utf8_arrives_as_it_was(self) -> None:
        assert (
            content(BINARY.push(Publication(b"\xff\xfe".decode("utf-8", "surrogateescape"), b"")))
            == b"\x00\x02\xff\xfe"
        )

    @pytest.mark.parametrize("length", [0, 1, 255, 256, 65535])
    def test_the_topic_has_its_length_in_front(self, length: int) -> None:
        data = content(BINARY.push(Publication("t" * length, b"payload")))
        assert int.from_bytes(data[:2], "big") == length
        assert data[2:] == b"t" * length + b"payload"

    @pytest.mark.parametrize("topic", ["t" * 65536, "é" * 32768])
    def test_a_topic_too_long_for_its_length_is_never_cut(self, topic: str) -> None:
        """It was cut to 65535 bytes once, so that the message came under the name of another topic."""
        assert BINARY.push(Publication(topic, b"\xff")) == STRING.push(Publication(topic, b"\xff"))


@pytest.mark.parametrize("length", BOUNDARIES[2:])
@pytest.mark.parametrize(
    ("encoding", "opcode", "quote", "envelope"),
    [
        (STRING, Opcode.TEXT, b"", b'{"topic":"foo","payload":"%b"}'),
        (JSON, Opcode.TEXT, b'"', b'{"topic":"foo","payload":%b}'),
        (BINARY, Opcode.BINARY, b"", b"\x00\x03foo%b"),
    ],
    ids=["default", "rr.json", "rr.binary"],
)
def test_every_encoding_is_right_at_the_length_boundaries(
    encoding: Encoding, opcode: Opcode, quote: bytes, envelope: bytes, length: int
) -> None:
    payload = quote + b"7" * (length - len(envelope % b"") - 2 * len(quote)) + quote
    frame = encoding.push(Publication("foo", payload))
    assert frame == server_frame(opcode, envelope % payload)
    assert len(content(frame)) == length


def test_subprotocols_name_their_encodings() -> None:
    assert {"rr.json": JSON, "rr.binary": BINARY} == BY_SUBPROTOCOL
    assert STRING.subprotocol == ""


class TestReplies:
    @pytest.mark.parametrize("kind", ["@join", "#join", "@leave", "#leave"])
    @pytest.mark.parametrize(
        ("topics", "written"),
        [
            (["foo", "foo2"], b'["foo","foo2"]'),
            (["a", "a", ""], b'["a","a",""]'),
            (['"<\b\xe9', "\udcff"], '["\\"\\u003c\\u0008é","\\ufffd"]'.encode()),
            ([], b"[]"),
            (None, b"null"),
        ],
    )
    def test_are_roadrunners_byte_for_byte(self, kind: str, topics: list[str] | None, written: bytes) -> None:
        assert content(STRING.reply(kind, topics)) == b'{"topic":"%b","payload":%b}' % (
            kind.encode(),
            written,
        )

    def test_are_text_frames(self) -> None:
        assert STRING.reply("@join", ["foo", "foo2"]) == b'\x81\x2a{"topic":"@join","payload":["foo","foo2"]}'

    @pytest.mark.parametrize("length", BOUNDARIES[2:])
    def test_are_right_at_the_length_boundaries(self, length: int) -> None:
        topic = "t" * (length - len('{"topic":"@join","payload":[""]}'))
        assert len(content(STRING.reply("@join", [topic]))) == length

    @pytest.mark.parametrize(
        ("id", "written"),
        [
            (7, b"7"),
            (0, b"0"),
            (-1, b"-1"),
            (2**64 - 1, b"18446744073709551615"),
            ("", b'""'),
            ('a"<', rb'"a\"\u003c"'),
        ],
    )
    def test_d25_carry_the_id_of_the_command(self, id: str | int, written: bytes) -> None:
        assert (
            content(STRING.reply("@join", ["a"], id=id))
            == b'{"topic":"@join","payload":["a"],"id":%b}' % written
        )

    def test_d25_carry_a_reason_for_clients_that_sent_an_id(self) -> None:
        assert (
            content(STRING.reply("#join", None, id=1, reason='"no"'))
            == rb'{"topic":"#join","payload":null,"id":1,"reason":"\"no\""}'
        )

    def test_carry_no_reason_for_roadrunners_clients(self) -> None:
        assert STRING.reply("#join", ["a"], reason="no") == STRING.reply("#join", ["a"])
