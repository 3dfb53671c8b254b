"""`roadrunner_decoding.json` has what RoadRunner 2.11.4 answered: codec, type, bytes, the error or null."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import RPCError
from rr_py_ws.wire import go_json, go_msgpack
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.publish import Message, decode_broadcast, decode_pieces, decode_websockets
from rr_py_ws.wire.values import decode_argument

ANSWERS: list[tuple[str, str, str, str | None]] = json.loads(
    Path(__file__).with_name("roadrunner_decoding.json").read_text("ascii")
)
CODECS = {"json": Flag.JSON, "msgpack": Flag.MSGPACK, "protobuf": Flag.PROTO}
PYTHON_WORDS = (
    "line 1",
    "column",
    "dict",
    "NoneType",
    "'int'",
    "object has",
    "surrogates",
    "unpack(b)",
    "'str'",
)


def answer(codec: Flag, kind: str, body: bytes) -> str | None:
    """Decode an argument; returns the text of the error, if any."""
    try:
        if kind == "messages":
            decode_broadcast(codec, body)
        else:
            decode_argument(codec, body, {"text": str, "bool": bool}[kind])  # type: ignore[type-var]
    except RPCError as error:
        return str(error)
    return None


@pytest.mark.parametrize("codec", CODECS)
def test_errors_of_decoding_have_the_texts_of_roadrunner(codec: str) -> None:
    """Point 24: callers saw `'str' object cannot be interpreted as an integer`."""
    answers = [row for row in ANSWERS if row[0] == codec]
    wrong = [
        (body, text, ours)
        for _, kind, body, text in answers
        if (ours := answer(CODECS[codec], kind, body.encode("latin-1"))) != text
    ]
    assert answers
    assert wrong == []


@pytest.mark.parametrize(
    ("escaped", "topic"),
    [
        (b"\\ud800", "\ufffd"),
        (b"\\udc00", "\ufffd"),
        (b"a\\ud83dz", "a\ufffdz"),
        (b"\\ud83d\\ud83d\\ude00", "\ufffd\U0001f600"),
        (b"\\ude00\\ud83d", "\ufffd\ufffd"),
        (b"\\ud83d\\n\\ud83d", "\ufffd\n\ufffd"),
        (b"\\u0041\\udc00", "A\ufffd"),
        (b"\\ud83d\\ude00", "\U0001f600"),
        (b"\xff", "\udcff"),  # a byte, as it came
        (b"a\tb", "a\tb"),
        (b'\\"\\\\\\/\\b\\f\\n\\r\\t\\ud800', '"\\/\b\f\n\r\t\ufffd'),
    ],
)
def test_surrogates_that_stand_alone_are_replaced_as_in_go(escaped: bytes, topic: str) -> None:
    """Point 24: they were refused; RoadRunner delivers to the topic with U+FFFD."""
    body = b'{"messages":[{"topics":["%s"],"payload":"aGk="}]}' % escaped
    expected = [Message("", [topic], b"hi")]
    assert decode_broadcast(Flag.JSON, body) == expected
    assert [
        message for piece in decode_pieces(Flag.JSON, body, has_broker=False) for message in piece
    ] == expected
    assert decode_argument(Flag.JSON, b'"%s"' % escaped, str) == topic


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"messages":[{"topics":["a"],"payload":[104,null,105]}]}', Message("", ["a"], b"h\0i")),
        (b'{"messages":[{"topics":["a",null],"payload":"aGk="}],"x":01}', Message("", ["a", ""], b"hi")),
        (b'{"x":{"y":["]",{}]},"MESSAGES":[{"topics":["a"],"payload":"aGk="}]}\0', Message("", ["a"], b"hi")),
        (b'{"messages":[{"topics":["a"],"topics":null,"x":1.}]}', Message("", [], b"")),
        (b'{"messages":[{"topics":["a"],"payload":"aGk=","payload":null,"x":-}]}', Message("", ["a"], b"hi")),
    ],
)
def test_what_goccy_lets_pass_has_its_values(body: bytes, message: Message) -> None:
    """Point 24: null elements, repeated keys, bad numbers where nobody looks, what follows a NUL."""
    assert decode_broadcast(Flag.JSON, body) == [message]


def test_the_older_schema_keeps_its_broker_when_it_is_read_slowly() -> None:
    body = b'{"messages":[{"broker":"b","topics":["\\ud800"],"payload":"aGk="}]}'
    assert decode_websockets(Flag.JSON, body) == [Message("b", ["\ufffd"], b"hi")]
    body = b"\x91\x91\x94\xc0\xa1b\x91\xa1a\xc4\x02hi"  # a list for the request, and one for the message
    assert decode_websockets(Flag.MSGPACK, body) == [Message("b", ["a"], b"hi")]


@pytest.mark.parametrize("codec", [Flag.JSON, Flag.MSGPACK])
def test_what_is_large_is_not_read_slowly(codec: Flag) -> None:
    """16 KiB are 20 milliseconds; nobody may make the server read megabytes in this way."""
    body = b"[" * (go_json.MOST + 1)
    assert go_json.MOST == go_msgpack.MOST
    name = "json" if codec is Flag.JSON else "msgpack"
    assert answer(codec, "messages", body) == f"{name}: the 16385 bytes of the argument cannot be decoded"


PARTS = (
    b'{ } [ ] , : " "messages" "topics" "payload" "command": "a" 1 - null true nul .5 \\u d800 aGk= \0 \xff'
)
JSONISH = st.lists(st.sampled_from([*PARTS.split(b" "), b" ", b"\\"]), max_size=24).map(b"".join)


@given(JSONISH | st.binary(max_size=40))
def test_no_text_for_a_caller_speaks_of_python(body: bytes) -> None:
    """Point 24: whatever comes, the caller gets messages or a text of RoadRunner's kind."""
    for codec in CODECS.values():
        for kind in ("messages", "text", "bool"):
            text = answer(codec, kind, body)
            assert text is None or not any(word in text for word in PYTHON_WORDS)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(0, 300) | st.text(max_size=5), st.lists, max_leaves=8
    )
)
def test_the_slow_reader_reads_what_the_fast_one_reads(topics: Any) -> None:
    body = json.dumps({"messages": [{"topics": topics, "payload": "aGk="}]}).encode()
    try:
        slow: Any = go_json.read_messages(body, has_broker=False)
    except RPCError as error:
        slow = str(error)
    if isinstance(slow, str):
        assert answer(Flag.JSON, "messages", body) == slow
    else:
        names = [topic or "" for topic in slow[0].get("topics") or []]
        assert decode_broadcast(Flag.JSON, body) == [Message("", names, b"hi")]
