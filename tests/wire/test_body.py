from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.body import CHUNKED, BodyDecoder


def read(size: int, *pieces: bytes) -> tuple[bytes, bytes, bool]:
    """Content, what follows the body, and whether it is complete."""
    decoder = BodyDecoder(size)
    content = rest = b""
    for piece in pieces:
        some, rest = decoder.feed(rest + piece)
        content += some
    return content, rest, decoder.complete


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks,)) + b"0\r\n%b\r\n" % trailers


def test_no_body_is_complete_at_once() -> None:
    assert read(0, b"GET /") == (b"", b"GET /", True)


def test_a_body_of_known_size() -> None:
    assert read(5, b"he", b"llo", b"GET /") == (b"hello", b"GET /", True)
    assert read(5, b"hell") == (b"hell", b"", False)


@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=5),
    st.binary(max_size=10),
    st.lists(st.integers(1, 40), max_size=8),
)
def test_chunks_however_they_arrive(chunks: list[bytes], rest: bytes, cuts: list[int]) -> None:
    data = chunked(*chunks, trailers=b"X-Sum: 1\r\n") + rest
    pieces = []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    assert read(CHUNKED, *pieces, data) == (b"".join(chunks), rest, True)


@pytest.mark.parametrize("line", [b"5", b"05", b"5 ", b"5;a=b", b'5 ; a="b c"'])
def test_what_a_size_may_look_like(line: bytes) -> None:
    assert read(CHUNKED, line + b"\r\nhello\r\n0\r\n\r\n") == (b"hello", b"", True)


@pytest.mark.parametrize(
    "data",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"5;\na\r\nhello\r\n0\r\n\r\n",
        b"f" * 16 + b"\r\n",
        b"5" + b" " * 300 + b"\r\n",
        b"5;" + b"a" * 300,
        b"0\r\nX: a\nY: b\r\n\r\n",
        b"0\r\n X: a\r\n\r\n",
        b"0\r\nX : a\r\n\r\n",
        b"0\r\n" + b"X: a\r\n" * 2000 + b"\r\n",
        b"0\r\nX: " + b"a" * 9000,
    ],
)
def test_what_two_parsers_may_understand_differently(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(CHUNKED, data)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_body_or_an_error(data: bytes) -> None:
    try:
        content, rest, complete = read(CHUNKED, data)
    except ProtocolError:
        return
    assert len(content) + len(rest) <= len(data)
    assert complete or rest == b""
