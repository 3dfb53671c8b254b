from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.native import TWINS
from rr_py_ws.wire import jsontext, push
from rr_py_ws.wire.jsontext import encode_pieces, encode_string
from rr_py_ws.wire.publication import Publication
from support.go_json import go_decode, go_encode

TROUBLE = st.sampled_from(
    [*'<>&"\\/bfnrtu', *map(chr, range(0x20)), "\u2028", "\u2029", "\x7f", "\ufffd", "\ufffe", *"?AB", "😀"]
)
TEXT = st.text(st.characters(codec="utf-8") | TROUBLE)
BYTES = st.lists(st.binary(max_size=8) | TEXT.map(str.encode), max_size=12).map(b"".join)


Encode = Callable[[str | bytes], bytes]


@pytest.fixture(scope="module", params=["python", "c"])
def encode(request: pytest.FixtureRequest) -> Encode:
    """What writes strings: the native part does so within a push, as topics and as payloads."""
    if request.param == "python":
        return encode_string
    _, encode_push = TWINS[push.encode_push.__name__]
    if encode_push is None:
        pytest.skip("no native part")

    def encode(text: str | bytes) -> bytes:
        is_topic = isinstance(text, str)
        frame = encode_push(Publication(text, b"") if is_topic else Publication("", text))
        before, behind = (b'{"topic":', b',"payload":""}') if is_topic else (b'{"topic":"","payload":', b"}")
        content: bytes = frame[2 if frame[1] < 126 else 4 if frame[1] == 126 else 10 :]
        assert content.startswith(before)
        assert content.endswith(behind)
        return content[len(before) : -len(behind)]

    return encode


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("", rb'""'),
        ("hello, PHP", rb'"hello, PHP"'),
        ('"\\', rb'"\"\\"'),
        ("\n\r\t", rb'"\n\r\t"'),
        ("\b\f", rb'"\u0008\u000c"'),
        ("\0\x01\x1e\x1f", rb'"\u0000\u0001\u001e\u001f"'),
        ("\x0b\x1b", rb'"\u000b\u001b"'),
        ("\x7f", b'"\x7f"'),
        ("<b>&</b>", rb'"\u003cb\u003e\u0026\u003c/b\u003e"'),
        ("\u2027\u2028\u2029\u202a", '"\u2027\\u2028\\u2029\u202a"'.encode()),
        ("/'", b'"/\'"'),
        ("é€😀", '"é€😀"'.encode()),
        ("\ufffd", b'"\xef\xbf\xbd"'),
        (r"\b \f \n", rb'"\\b \\f \\n"'),  # backslashes in the text, no control characters
        ("\\\b\\\\\f", rb'"\\\u0008\\\\\u000c"'),
        ("\b\b\f\f", rb'"\u0008\u0008\u000c\u000c"'),
        (r"App\broker\foo", rb'"App\\broker\\foo"'),
        ("<\\b>\b", rb'"\u003c\\b\u003e\u0008"'),
    ],
)
def test_each_row_of_the_table_is_written_as_go_writes_it(encode: Encode, text: str, encoded: bytes) -> None:
    assert encode(text) == encoded
    assert encode(text.encode()) == encoded


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        (b"\xff", rb'"\ufffd"'),
        (b"\xe2\x82", rb'"\ufffd\ufffd"'),
        (b"\xc3(", rb'"\ufffd("'),
        (b"\xf0\x9f\x98", rb'"\ufffd\ufffd\ufffd"'),
        (b"\xed\xa0\x80", rb'"\ufffd\ufffd\ufffd"'),  # an encoded surrogate
        (b"\xc0\x80", rb'"\ufffd\ufffd"'),  # overlong
        (b"\xf4\x90\x80\x80", rb'"\ufffd\ufffd\ufffd\ufffd"'),  # above U+10FFFF
        (b"\xef\xbf\xbd\xff", b'"\xef\xbf\xbd\\ufffd"'),  # a genuine U+FFFD stays raw
        (
            b'<\xff\b\\b"\n\xe2\x80\xa8\xfe\xc3\xa9',
            b'"\\u003c\\ufffd\\u0008\\\\b\\"\\n\\u2028\\ufffd\xc3\xa9"',
        ),
        (b"?\xff\xef\xbf\xbeA\xef\xbf\xbeB?", b'"?\\ufffd\xef\xbf\xbeA\xef\xbf\xbeB?"'),
        (b"\xe2\x82\xe2\x82\xac", b'"\\ufffd\\ufffd\xe2\x82\xac"'),
    ],
)
def test_each_byte_that_is_no_utf8_becomes_one_replacement(
    encode: Encode, data: bytes, encoded: bytes
) -> None:
    assert encode(data) == encoded
    assert go_encode(data) == encoded
    assert encode(data.decode("utf-8", "surrogateescape")) == encoded


@pytest.mark.parametrize("text", ["\ud800", "\udbff", "\udc00", "\udcff", "\udfff"])
def test_a_str_with_any_surrogate_can_be_encoded(encode: Encode, text: str) -> None:
    """A topic with U+DFFF ended a connection: only surrogates that Python makes of bytes were expected."""
    assert encode(f"a{text}<") == rb'"a\ufffd\u003c"'


@given(BYTES)
def test_any_bytes_are_written_as_a_slow_copy_of_gos_rules_writes_them(encode: Encode, data: bytes) -> None:
    assert encode(data) == go_encode(data)


@given(TEXT)
def test_any_text_comes_back_from_a_json_parser(encode: Encode, text: str) -> None:
    assert json.loads(encode(text)) == text


@given(BYTES)
def test_any_bytes_come_back_with_replacements(encode: Encode, data: bytes) -> None:
    expected = "".join("\ufffd" if point is None else chr(point) for point in go_decode(data))
    assert json.loads(encode(data)) == expected


@given(st.one_of(BYTES, TEXT.map(lambda text: text.encode("utf-8", "surrogatepass"))), st.integers(4, 9))
def test_in_pieces_it_is_the_same(data: bytes, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsontext, "_PIECE", size)
        pieces = list(encode_pieces(data))
    assert b"".join(pieces) == encode_string(data)
    assert len(pieces) >= 2 + len(data) // size


@given(BYTES)
def test_the_output_can_stand_in_a_script_element(data: bytes) -> None:
    """Apps print RoadRunner's JSON into pages; nothing in it may end a script or a line of JavaScript."""
    text = encode_string(data).decode()
    assert text[0] == text[-1] == '"'
    assert not {*"<>&\u2028\u2029", *map(chr, range(0x20))} & set(text)
