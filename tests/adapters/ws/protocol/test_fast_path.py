"""What is read without the protocol core is read as the core would read it."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.protocol import State

from rr_py_ws.adapters.ws.protocol.core import WebSocketProtocol
from rr_py_ws.adapters.ws.protocol.fast_path import inflate_small_frame, read_small_frame, read_text_frame
from support.ws_peer import BINARY, CLOSE, PING, PONG, TEXT, frame

pytestmark = pytest.mark.usefixtures("variant")

LIMIT = 1000


def deflate(data: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(flush)).removesuffix(b"\x00\x00\xff\xff")


def read_by_core(data: bytes, deflated: bool = False) -> tuple[list[tuple[int, bool, bytes]], bool, bytes]:
    """The frames in these bytes, whether more are expected, and what the core answers."""
    core = WebSocketProtocol(LIMIT, deflated=deflated)
    core.receive_data(data)
    frames = [event for event in core.events_received() if isinstance(event, Frame)]
    seen = [(int(event.opcode), event.fin, bytes(event.data)) for event in frames]
    return seen, core.state is State.OPEN, b"".join(core.data_to_send())


frames = st.builds(
    frame,
    st.one_of(st.sampled_from([TEXT, PONG]), st.integers(0, 15)),
    st.one_of(
        st.binary(max_size=130),
        st.text(max_size=40),
        st.text().map(lambda text: deflate(text.encode())),
        st.binary().map(deflate),
        st.integers(0, 1002).map(lambda size: deflate(b"x" * size)),
        st.builds(deflate, st.just(b"text"), st.just(zlib.Z_FINISH)),
    ),
    fin=st.sampled_from([True, True, True, False]),
    rsv=st.sampled_from([0, 0, 0, 1, 4, 4]),
    mask=st.sampled_from([True, True, True, False]),
)


@given(
    st.one_of(frames, st.binary(max_size=20), st.lists(frames, max_size=3).map(b"".join)),
    st.integers(0, 20),
    st.booleans(),
)
@example(b"", 0, False)
@example(frame(TEXT, b"x" * 125), 0, False)
@example(frame(TEXT, deflate(b"text"), rsv=4), 0, True)
@example(frame(TEXT, deflate(b"text"), rsv=4), 0, False)
def test_whatever_arrives_the_core_agrees(data: bytes, missing: int, deflated: bool) -> None:
    data = data[: len(data) - missing]
    message = read_small_frame(data)
    if message is None and deflated:
        message = inflate_small_frame(data, LIMIT)
    if message is not None:
        opcode = TEXT if message else PONG
        [(seen_opcode, fin, payload)], is_open, answer = read_by_core(data, deflated)
        assert (seen_opcode, fin, is_open, answer) == (opcode, True, True, b"")
        assert opcode == PONG or payload == message
        message.decode()


@given(st.text(min_size=1, max_size=31))
@example("x" * 125)
def test_every_small_text_is_read(text: str) -> None:
    assert read_small_frame(frame(TEXT, text)) == text.encode()


@given(st.text(min_size=1, max_size=31))
@example("x" * LIMIT)
def test_every_small_compressed_text_is_read(text: str) -> None:
    assert inflate_small_frame(frame(TEXT, deflate(text.encode()), rsv=4), LIMIT) == text.encode()


@pytest.mark.parametrize(
    "payload",
    [b"", deflate(b""), b"\xff" * 9, deflate(b"\xff"), deflate(b"text")[:-1], deflate(b"x" * (LIMIT + 1))],
    ids=["nothing", "an empty text", "damaged", "no UTF-8", "incomplete", "too long"],
)
def test_other_compressed_texts_are_left_to_the_core(payload: bytes) -> None:
    assert inflate_small_frame(frame(TEXT, payload, rsv=4), LIMIT) is None


@given(st.binary(max_size=125))
def test_every_pong_is_read(data: bytes) -> None:
    assert read_small_frame(frame(PONG, data)) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        frame(TEXT),
        frame(TEXT, b"x" * 126),
        frame(TEXT, b"x" * 70_000),
        frame(TEXT, b"\xed\xa0\x80"),
        frame(TEXT, "text", fin=False),
        frame(TEXT, deflate(b"text"), rsv=4),
        frame(TEXT, "text", mask=False),
        frame(TEXT, "text")[:-1],
        frame(TEXT, "text") + b"\x81",
        frame(TEXT, "text") * 2,
        frame(BINARY, "text"),
        frame(0, "text"),
        frame(PING, "data"),
        frame(PONG, "data", fin=False),
        frame(CLOSE),
    ],
)
def test_everything_else_is_left_to_the_core(data: bytes) -> None:
    assert read_small_frame(data) is None


@pytest.mark.parametrize(
    "data",
    [b"", frame(TEXT, "text"), frame(PONG, b"", rsv=4), frame(TEXT, deflate(b"text"), rsv=4, fin=False)],
)
def test_what_is_not_compressed_is_not_inflated(data: bytes) -> None:
    assert inflate_small_frame(data, LIMIT) is None


@given(frames, st.binary(max_size=10), st.lists(frames, max_size=2).map(b"".join), st.integers(0, 20))
@example(frame(TEXT, b"x" * LIMIT), b"", b"", 0)
@example(frame(TEXT, b"x" * (LIMIT + 1)), b"", b"", 0)
@example(b"\x81\xff" + bytes(8) + bytes(4) + b"x" * 200, b"", b"", 0)
def test_of_a_frame_anywhere_in_what_arrives_the_core_agrees(
    first: bytes, before: bytes, behind: bytes, missing: int
) -> None:
    data = before + first + behind
    data = data[: len(data) - missing]
    read = read_text_frame(data, len(before), LIMIT)
    if read is not None:
        size, text = read
        assert read_by_core(data[len(before) : len(before) + size]) == ([(TEXT, True, text)], True, b"")


@given(st.text(min_size=2).map(str.encode), st.integers(1, 8000))
def test_every_text_is_read_of_which_two_bytes_tell_the_size(text: bytes, times: int) -> None:
    payload = (text * times)[:60_000].decode(errors="ignore").encode()
    data = frame(TEXT, payload)
    assert read_text_frame(b"..." + data + b"...", 3, 60_000) == (len(data), payload)


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"x" * 200)[:-1],
        frame(TEXT, b"x" * 200)[:5],
        frame(TEXT, b"x" * 70_000),
        frame(TEXT, b"x" * (LIMIT + 1)),
        frame(TEXT, b"x" * 200, mask=False),
        frame(TEXT, b"x" * 200, fin=False),
        frame(TEXT, b"x" * 200, rsv=4),
        frame(TEXT, b"\xff" * 200),
        frame(TEXT, b""),
        frame(BINARY, b"x" * 200),
        b"\x81\xfe\x00\x05" + bytes(4) + b"short" + bytes(200),
    ],
)
def test_texts_that_are_bad_or_not_all_there_are_left_to_the_core(data: bytes) -> None:
    assert read_text_frame(data, 0, LIMIT) is None
