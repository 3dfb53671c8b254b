"""PHP's usual call, read in one pass: always what the general decoders read, or nothing."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.wire.goridge import Flag, encode_frame
from rr_py_ws.wire.pb import broadcast_pb2
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.publish import Message
from rr_py_ws.wire.publish_call import OKS, PUBLISH, PUBLISH_ASYNC, Reply, read_calls, sequence_of
from rr_py_ws.wire.rpc import NO_CODEC, Request, encode_reply, encode_request
from support.goridge_frames import FRAMES
from support.publish_calls import METHODS, read_stream

pytestmark = pytest.mark.usefixtures("variant")

EDGES = st.sampled_from([0, 1, 126, 127, 128, 129, 300, 2000])


def message(topics: list[str], payload: bytes, command: str = "") -> bytes:
    """Encode a request of one message, as PHP's library does."""
    one = broadcast_pb2.Message(command=command, topics=topics, payload=payload)
    return broadcast_pb2.Request(messages=[one]).SerializeToString()


def call(body: bytes, sequence: int = 7, method: str = "broadcast.Publish", flags: int = Flag.PROTO) -> bytes:
    return encode_request(sequence, method, body, Flag(flags))


USUAL = st.builds(
    message,
    st.lists(st.text(max_size=5) | EDGES.map("t".__mul__), min_size=1, max_size=1),
    st.binary(max_size=9) | EDGES.map(b"p".__mul__),
    st.sampled_from(["", "publish", "é", "c" * 128]),
)
BODIES = USUAL | st.builds(message, st.lists(st.text(max_size=3), max_size=3), st.binary(max_size=5))
CALLS = st.builds(
    call,
    BODIES | st.binary(max_size=40),
    st.integers(0, 2**32 - 1),
    st.sampled_from([name.decode() for name in METHODS] + ["informer.List", "broadcast.Publis", ""]),
    st.sampled_from([Flag.PROTO, Flag.PROTO | Flag.GOB, Flag.JSON, NO_CODEC]),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Calls in a row, in some of which bytes were changed, with a checksum that is right or not."""
    frames = []
    for frame in draw(st.lists(CALLS, min_size=1, max_size=5)):
        changed = bytearray(frame)
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
        if draw(st.booleans()):
            changed[6:10] = crc32(changed[:6]).to_bytes(4, "little")
        frames.append(bytes(changed))
    whole = b"".join(frames)
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole


@given(streams())
def test_a_stream_has_the_same_calls_by_both_ways_whole_and_byte_by_byte(stream: bytes) -> None:
    calls, _, sound = read_stream([stream], fast=False)
    single = [stream[at : at + 1] for at in range(len(stream))]
    for chunks in ([stream], single):
        fast_calls, _, fast_sound = read_stream(chunks, fast=True)
        assert (fast_calls, fast_sound) == (calls, sound)


@given(st.lists(st.builds(message, st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=1),
                          st.binary(min_size=1, max_size=9) | EDGES.filter(bool).map(b"p".__mul__)),
                min_size=1, max_size=5))  # fmt: skip
def test_phps_calls_are_all_read_in_one_pass(bodies: list[bytes]) -> None:
    stream = b"".join(map(call, bodies))
    calls, fast, _ = read_stream([stream], fast=True)
    assert len(calls) == fast == len(bodies)


def test_what_php_sends_is_read() -> None:
    [found] = read_calls(FRAMES["publish_proto"][0], 0, OKS, 9, 1, 1, 99)
    method, _, publication, end = found
    assert (method, sequence_of(found), end) == (PUBLISH, 1, len(FRAMES["publish_proto"][0]))
    assert publication == Publication("chat", b"hi")
    assert type(publication) is Publication


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(FRAMES["publish_from_go"][0], id="codecs of Go"),
        pytest.param(call(message(["a", "b"], b"p")), id="two topics"),
        pytest.param(call(message([], b"p")), id="no topic"),
        pytest.param(call(message([""], b"p")), id="an empty topic"),
        pytest.param(call(message(["t" * 128], b"p")), id="a long topic"),
        pytest.param(call(message(["t"], b"")), id="no payload"),
        pytest.param(call(message(["t"], b"p") * 2), id="two messages"),
        pytest.param(call(message(["t"], b"p") + b"\x10\x01"), id="a field behind the message"),
        pytest.param(call(b"\n\x06\x12\x01\xff\x1a\x01p"), id="a topic that is no UTF-8"),
        pytest.param(call(b"\n\x06\x1a\x01p\x12\x01t"), id="fields in another order"),
        pytest.param(call(message(["t"], b"p"), method="websockets.Publish"), id="the older service"),
        pytest.param(call(message(["t"], b"p" * 90)), id="over the limit"),
        pytest.param(call(message(["t"], b"p"))[:-1], id="not all there"),
        pytest.param(encode_frame(Flag.PROTO, (1,), PUBLISH + message(["t"], b"p")), id="one option"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_everything_else_is_left_to_the_general_decoders(frame: bytes) -> None:
    assert read_calls(frame, 0, OKS, 9, 9999, 1, 100) == []


def test_a_wrong_checksum_is_none_of_ours_however_often_it_comes() -> None:
    frame = bytearray(call(message(["t"], b"p")))
    frame[6] ^= 1
    for _ in range(3):
        assert read_calls(bytes(frame), 0, OKS, 9, 9999, 1, 100) == []


def test_as_many_are_read_as_are_wanted() -> None:
    frame = call(message(["t"], b"p"))

    def read(most: int, units: int, oks: dict[bytes, Reply] = OKS) -> int:
        return len(read_calls(frame * 9, 0, oks, most, units, 100, 99))

    assert read(4, 9999) == 4
    assert read(9, 2 * (100 + len(frame)) + 1) == 3  # the third is begun, and so finished
    assert read(9, 0) == 0
    assert read(9, 9999, {PUBLISH_ASYNC: OKS[PUBLISH_ASYNC]}) == 0


@pytest.mark.parametrize("method", METHODS)
@given(sequence=st.integers(0, 2**32 - 1))
def test_the_reply_is_that_of_any_call(method: bytes, sequence: int) -> None:
    request = Request(sequence, method, b"", Flag.PROTO, int(Flag.PROTO))
    [found] = read_calls(call(message(["t"], b"p"), sequence, method.decode()), 0, OKS, 9, 9, 1, 99)
    assert found[1] == encode_reply(request, b"\x08\x01")
    assert sequence_of(found) == sequence


def test_the_message_is_that_of_the_general_decoder() -> None:
    calls, fast, _ = read_stream([call(message(["é"], b"\xff\0"))], fast=True)
    assert (calls, fast) == ([(7, PUBLISH, [Message("", ["é"], b"\xff\0")])], 1)
