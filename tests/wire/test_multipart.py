from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.multipart import MultipartDecoder, PartBegin, PartEnd

TYPE = "multipart/form-data; boundary=x-x"


def decode(*pieces: bytes) -> tuple[list[tuple[PartBegin, bytes]], bool]:
    """The parts, and whether the form is complete."""
    decoder = MultipartDecoder(TYPE)
    parts: list[tuple[PartBegin, bytes]] = []
    for event in (event for piece in pieces for event in decoder.feed(piece)):
        if isinstance(event, PartBegin):
            parts.append((event, b""))
        elif isinstance(event, bytes):
            parts[-1] = parts[-1][0], parts[-1][1] + event
        else:
            assert isinstance(event, PartEnd)
    return parts, decoder.complete


def part(disposition: str, content: bytes, mime: str = "") -> bytes:
    head = f"--x-x\r\nContent-Disposition: {disposition}\r\n" + (f"Content-Type: {mime}\r\n" if mime else "")
    return head.encode() + b"\r\n" + content + b"\r\n"


END = b"--x-x--\r\n"


def test_fields_and_files() -> None:
    data = (
        part('form-data; name="a[b]"', b"1")
        + part(
            'form-data; name="f"; filename="../c:/d/\xc3\xb6.txt"'.encode("latin-1").decode(), b"", "text/x"
        )
        + part('form-data; name="none"; filename=""', b"", "application/octet-stream")
        + END
    )
    assert decode(data) == (
        [
            (PartBegin("a[b]", None, ""), b"1"),
            (PartBegin("f", "ö.txt", "text/x"), b""),
            (PartBegin("none", None, "application/octet-stream"), b""),
        ],
        True,
    )


@pytest.mark.parametrize("disposition", ["form-data", 'form-data; name=""', 'attachment; name="a"'])
def test_a_part_without_a_name_is_left_out(disposition: str) -> None:
    assert decode(part(disposition, b"1") + part('form-data; name="b"', b"2") + END) == (
        [(PartBegin("b", None, ""), b"2")],
        True,
    )


@given(st.binary(max_size=50), st.lists(st.integers(1, 30), max_size=8))
def test_content_however_it_arrives(content: bytes, cuts: list[int]) -> None:
    data = part('form-data; name="f"; filename="a"', content) + END
    if b"--x-x" in content:
        return
    pieces = []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    assert decode(*pieces, data) == ([(PartBegin("f", "a", ""), content)], True)


def test_a_form_that_ends_too_early() -> None:
    assert decode(part('form-data; name="b"', b"2"))[1] is False


@pytest.mark.parametrize(
    "data",
    [
        b"no form at all",
        b"--x-x\r\n: a\r\n\r\n",
        b"--x-x\r\nA: " + b"a" * 100_000,
        b"--x-x\r\n" + b"A: a\r\n" * 1_000,
    ],
)
def test_what_is_no_form(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "a" * 500]
)
def test_a_bad_boundary(content_type: str) -> None:
    with pytest.raises(ProtocolError):
        MultipartDecoder(content_type)
