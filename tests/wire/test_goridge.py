from __future__ import annotations

import sys
from struct import pack
from typing import ClassVar
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rr_py_ws.errors import PayloadTooBig, ProtocolError
from rr_py_ws.wire.goridge import Flag, Frame, FrameDecoder, encode_frame
from support.goridge_frames import FRAMES

U32 = st.integers(0, 2**32 - 1)
BYTE = st.integers(0, 255)
ANY_FRAME = st.builds(
    Frame, BYTE, st.lists(U32, max_size=10).map(tuple), st.binary(max_size=300), st.integers(0, 15)
)


def decode(*chunks: bytes, max_payload: int = 1024) -> list[Frame]:
    """Feed the chunks one by one and collect what comes out."""
    decoder = FrameDecoder(max_payload)
    frames = []
    for chunk in chunks:
        decoder.receive_data(chunk)
        while (frame := decoder.next_frame()) is not None:
            frames.append(frame)
    return frames


def header(first: int = 0x13, flags: int = 0, length: int = 0) -> bytes:
    """Make the first twelve bytes of a frame with a right checksum."""
    prefix = pack("<BBI", first, flags, length)
    return prefix + pack("<IBB", crc32(prefix), 0, 0)


@pytest.mark.parametrize(("data", "frame"), FRAMES.values(), ids=FRAMES.keys())
class TestWorkedFrames:
    def test_decodes_whole(self, data: bytes, frame: Frame) -> None:
        assert decode(data) == [frame]

    def test_decodes_byte_by_byte(self, data: bytes, frame: Frame) -> None:
        assert decode(*(data[i : i + 1] for i in range(len(data)))) == [frame]

    def test_decodes_with_the_next_frame_begun(self, data: bytes, frame: Frame) -> None:
        decoder = FrameDecoder()
        decoder.receive_data(data + data[:11])
        assert decoder.next_frame() == frame
        assert decoder.next_frame() is None
        assert decoder.pending == data[:11]
        decoder.receive_data(data[11:])
        assert decoder.next_frame() == frame
        assert decoder.pending == b""

    def test_decodes_every_split_in_two(self, data: bytes, frame: Frame) -> None:
        for cut in range(len(data) + 1):
            assert decode(data[:cut], data[cut:] + data) == [frame, frame]

    def test_encodes(self, data: bytes, frame: Frame) -> None:
        assert encode_frame(*frame) == data


@given(st.lists(ANY_FRAME, max_size=6), st.lists(st.integers(1, 80), max_size=60))
def test_any_frames_survive_any_chunking(frames: list[Frame], sizes: list[int]) -> None:
    stream = b"".join(encode_frame(*frame) for frame in frames)
    chunks = []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    assert decode(*chunks, stream) == frames


@settings(max_examples=25)
@given(st.lists(ANY_FRAME, max_size=4), st.lists(st.integers(1, 200_000), max_size=8), st.integers(0, 4))
def test_large_frames_survive_any_chunking(frames: list[Frame], sizes: list[int], place: int) -> None:
    """The payload of a large one is made of its chunks at once; what is behind it is the next one."""
    frames.insert(place, Frame(Flag.PROTO, (1, 4), bytes(range(256)) * 1200))
    frames.insert(place, Frame(Flag.RAW, tuple(range(10)), bytes(300_000)))
    stream = b"".join(encode_frame(*frame) for frame in frames)
    chunks = []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    assert decode(*chunks, stream, max_payload=400_000) == frames


@pytest.mark.parametrize("more", [b"", b"\x13", header(), header()[:7]])
def test_what_is_behind_a_large_frame_is_kept(more: bytes) -> None:
    decoder = FrameDecoder()
    large = encode_frame(Flag.PROTO, (1, 4), bytes(300_000))
    for chunk in (large[:5000], large[5000:200_000], large[200_000:] + more[:1], more[1:]):
        decoder.receive_data(chunk)
    assert decoder.next_frame() == Frame(Flag.PROTO, (1, 4), bytes(300_000))
    assert decoder.pending == more
    assert (decoder.kept, decoder.inside) == (len(more), bool(more))


def test_some_frames_may_be_larger_than_others() -> None:
    """Which ones is asked when the beginning of a payload is there; the rest is skipped, or waited for."""
    asked: list[tuple[tuple[int, ...], bytes]] = []

    def limit_of(options: tuple[int, ...], beginning: bytes) -> int:
        asked.append((options, beginning))
        return 1000 if beginning == b"more" else 100

    decoder = FrameDecoder(100, 4, limit_of)
    more, less = (encode_frame(Flag.PROTO, (7, 4), name + bytes(200)) for name in (b"more", b"less"))
    decoder.receive_data(more[:-1])
    assert decoder.next_frame() is None
    decoder.receive_data(more[-1:] + less + encode_frame(Flag.PROTO, (7, 4), b"more" + bytes(997)) + header())
    assert decoder.next_frame() == Frame(Flag.PROTO, (7, 4), b"more" + bytes(200))
    with pytest.raises(PayloadTooBig, match="payload of 204 bytes, the limit is 100"):
        decoder.next_frame()
    with pytest.raises(PayloadTooBig, match="payload of 1001 bytes, the limit is 1000"):
        decoder.next_frame()
    assert decoder.next_frame() == Frame(0, (), b"")
    assert set(asked) == {((7, 4), b"more"), ((7, 4), b"less")}


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_give_frames_or_a_protocol_error(chunks: list[bytes]) -> None:
    decoder = FrameDecoder(1024)
    try:
        for chunk in chunks:
            decoder.receive_data(chunk)
            while decoder.next_frame() is not None:
                pass
        decoder.receive_eof()
    except ProtocolError:
        pass


@pytest.mark.parametrize("first", [0x03, 0x93, 0xF3])
def test_the_version_is_not_checked(first: int) -> None:
    assert decode(header(first)) == [Frame(0, (), b"")]


def test_the_reserved_byte_and_unknown_bits_are_ignored() -> None:
    data = bytearray(header(flags=0x02))
    data[10], data[11] = 0xF0, 7
    assert decode(bytes(data)) == [Frame(0x02, (), b"", 0xF0)]


def test_only_the_first_six_bytes_are_checksummed() -> None:
    data = bytearray(FRAMES["publish_proto"][0])
    data[12] ^= 0xFF
    data[-1] ^= 0xFF
    [frame] = decode(bytes(data))
    assert frame.options == (1 ^ 0xFF, 17)


@pytest.mark.parametrize("position", range(10))
def test_a_damaged_checksum_or_what_it_covers_is_an_error(position: int) -> None:
    data = bytearray(FRAMES["publish_proto"][0])
    data[position] ^= 0x20 if position else 0x40
    with pytest.raises(ProtocolError, match="checksum"):
        decode(bytes(data))


@pytest.mark.parametrize("words", [0, 1, 2, 14, 15])
def test_an_illegal_header_length_is_refused_at_its_first_byte(words: int) -> None:
    """RoadRunner panics for 14 and 15 words; noise on a worker's stdout may be one byte long."""
    with pytest.raises(ProtocolError, match=f"header of {words} words"):
        decode(bytes([0x10 | words]))
    with pytest.raises(ProtocolError, match=f"header of {words} words"):
        decode(header(0x10 | words) + bytes(60))


@pytest.mark.parametrize("count", range(11))
def test_zero_to_ten_options_are_legal(count: int) -> None:
    options = tuple(range(count))
    assert decode(encode_frame(0, options, b"x")) == [Frame(0, options, b"x")]


def test_sequence_numbers_use_all_32_bits() -> None:
    [frame] = decode(encode_frame(0, (0, 2**32 - 1), b""))
    assert frame.options == (0, 2**32 - 1)


def test_a_payload_of_the_limit_passes() -> None:
    data = encode_frame(Flag.RAW, (), bytes(100))
    assert decode(data, max_payload=100) == [Frame(Flag.RAW, (), bytes(100))]


def test_a_payload_over_the_limit_is_refused_when_its_header_arrives() -> None:
    """RoadRunner takes memory for whatever the header announces, up to 4 GiB."""
    announced = header(0x15, Flag.PROTO, 101)
    decoder = FrameDecoder(100)
    decoder.receive_data(announced[:11])
    assert decoder.next_frame() is None
    decoder.receive_data(announced[11:])
    with pytest.raises(PayloadTooBig, match="payload of 101 bytes, the limit is 100"):
        decoder.next_frame()


def test_a_payload_over_the_limit_is_refused_after_whole_frames_in_one_chunk() -> None:
    decoder = FrameDecoder(100)
    decoder.receive_data(header() + header(length=2**32 - 1))
    assert decoder.next_frame() == Frame(0, (), b"")
    with pytest.raises(PayloadTooBig):
        decoder.next_frame()


class TestPassingOver:
    """A decoder that is told to keep something of a payload over the limit goes on behind it."""

    LARGE = encode_frame(Flag.PROTO, (7, 4), b"name" + bytes(1000))
    NEXT = encode_frame(Flag.JSON, (8, 4), b"name")

    def decode(self, *chunks: bytes, limit: int = 100, keep: int = 4) -> list[Frame | str]:
        """Collect frames, and before each that is too big, what is said of it."""
        decoder = FrameDecoder(limit, keep)
        found: list[Frame | str] = []
        for chunk in chunks:
            decoder.receive_data(chunk)
            while True:
                try:
                    frame = decoder.next_frame()
                except PayloadTooBig as error:
                    found.append(str(error))
                    frame = decoder.oversized
                if frame is None:
                    break
                found.append(frame)
            assert decoder.kept < limit + 100
        assert not decoder.inside
        decoder.receive_eof()
        return found

    EXPECTED: ClassVar = [
        "payload of 1004 bytes, the limit is 100",
        Frame(Flag.PROTO, (7, 4), b"name"),
        Frame(Flag.JSON, (8, 4), b"name"),
    ]

    def test_whole(self) -> None:
        assert self.decode(self.LARGE + self.NEXT) == self.EXPECTED

    def test_byte_by_byte(self) -> None:
        stream = self.LARGE + self.NEXT
        assert self.decode(*(stream[at : at + 1] for at in range(len(stream)))) == self.EXPECTED

    def test_every_split_in_two(self) -> None:
        stream = self.NEXT + self.LARGE + self.NEXT
        for cut in range(len(stream) + 1):
            assert self.decode(stream[:cut], stream[cut:]) == [self.EXPECTED[2], *self.EXPECTED]

    def test_one_after_another(self) -> None:
        assert self.decode(self.LARGE * 3 + self.NEXT) == self.EXPECTED[:2] * 3 + self.EXPECTED[2:]

    def test_a_payload_of_the_limit_is_kept(self) -> None:
        assert self.decode(self.LARGE, limit=1004) == [Frame(Flag.PROTO, (7, 4), b"name" + bytes(1000))]

    def test_one_byte_over_a_limit_below_what_is_kept_is_over_it(self) -> None:
        frame = encode_frame(0, (), bytes(11))
        assert self.decode(frame, limit=10, keep=50) == [
            "payload of 11 bytes, the limit is 10",
            Frame(0, (), bytes(11)),
        ]

    def test_it_is_said_before_the_rest_has_come(self) -> None:
        decoder = FrameDecoder(100, 4)
        decoder.receive_data(header(0x15, Flag.PROTO, 2**32 - 1) + pack("<II", 7, 4) + b"name")
        with pytest.raises(PayloadTooBig):
            decoder.next_frame()
        decoder.receive_data(bytes(1 << 20))
        assert decoder.next_frame() is None
        assert decoder.inside
        assert decoder.kept == 0
        with pytest.raises(ProtocolError, match="closed inside a frame, 4293918715 bytes before its end"):
            decoder.receive_eof()

    def test_bytes_that_are_no_header_are_never_passed_over(self) -> None:
        data = bytearray(self.LARGE)
        data[7] ^= 1
        with pytest.raises(ProtocolError, match="checksum"):
            self.decode(bytes(data))

    @given(st.lists(ANY_FRAME, max_size=6), st.lists(st.integers(1, 80), max_size=60), st.integers(0, 300))
    def test_any_frames_in_any_chunking(self, frames: list[Frame], sizes: list[int], keep: int) -> None:
        stream = b"".join(encode_frame(*frame) for frame in frames)
        chunks = []
        for size in sizes:
            chunks.append(stream[:size])
            stream = stream[size:]
        expected: list[Frame | str] = []
        for frame in frames:
            if len(frame.payload) <= 100:
                expected.append(frame)
            else:
                expected.append(f"payload of {len(frame.payload)} bytes, the limit is 100")
                expected.append(frame._replace(payload=frame.payload[:keep]))
        assert self.decode(*chunks, stream, keep=keep) == expected


def test_the_end_of_a_large_chunk_does_not_keep_all_of_it() -> None:
    data = encode_frame(Flag.RAW, (), bytes(1000)) + header()[:5]
    unknown = sys.getrefcount(data)
    decoder = FrameDecoder()
    decoder.receive_data(data)
    assert decoder.next_frame() is not None
    assert decoder.next_frame() is None
    assert sys.getrefcount(data) == unknown
    assert decoder.pending == header()[:5]


def test_eof_between_frames_is_fine() -> None:
    decoder = FrameDecoder()
    decoder.receive_eof()
    decoder.receive_data(header())
    assert decoder.next_frame() is not None
    decoder.receive_eof()


def test_memory_of_what_was_taken_is_not_kept() -> None:
    """An idle connection must not hold on to its last, perhaps huge, request."""
    data = encode_frame(Flag.RAW, (), bytes(1000))
    unknown = sys.getrefcount(data)
    decoder = FrameDecoder()
    decoder.receive_data(data)
    assert decoder.next_frame() is not None
    assert sys.getrefcount(data) == unknown


@pytest.mark.parametrize("cut", [1, 11, 12, 19, 20, 25, 57])
def test_eof_inside_a_frame_is_an_error(cut: int) -> None:
    """Also right after header and options, where RoadRunner takes the missing payload for an empty one."""
    decoder = FrameDecoder()
    decoder.receive_data(FRAMES["publish_proto"][0][:cut])
    assert decoder.next_frame() is None
    with pytest.raises(ProtocolError, match=f"after {cut} bytes"):
        decoder.receive_eof()


def test_a_big_payload_in_many_chunks_comes_out_whole() -> None:
    payload = bytes(range(256)) * 16 * 1024
    data = encode_frame(Flag.RAW, (1, 0), payload)
    [frame] = decode(*(data[i : i + 4096] for i in range(0, len(data), 4096)), max_payload=len(payload))
    assert frame.payload == payload
