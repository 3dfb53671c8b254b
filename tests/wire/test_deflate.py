from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.wire.deflate import TAIL, Compressor, DeflateMetrics, Schedule
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import BINARY, JSON, STRING, Encoding

FORMS = [STRING, JSON, BINARY]


def compressor(
    level: int = 3, min_size: int = 1, schedule: Schedule = id
) -> tuple[Compressor, DeflateMetrics]:
    stats = DeflateMetrics()
    return Compressor(level, min_size, stats, schedule), stats


def content(frame: bytes, bits: int = 15) -> bytes:
    """The payload of a frame; decompressed with this window if it says that it is compressed."""
    payload = frame[{126: 4, 127: 10}.get(frame[1], 2) :]
    if not frame[0] & 0x40:
        return payload
    inflate = zlib.decompressobj(-bits)
    whole = inflate.decompress(payload + TAIL)
    assert inflate.unconsumed_tail == inflate.unused_data == b""
    return whole


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("plain", FORMS, ids=["default", "rr.json", "rr.binary"])
@pytest.mark.parametrize("level", [1, 3, 9])
def test_a_window_of_each_size_is_enough_to_read_a_push(plain: Encoding, bits: int, level: int) -> None:
    payload = b" ".join(b"%d" % (n * n) for n in range(3000)) * 2
    frame = compressor(level)[0].encoding(plain, bits).push(Publication("t", payload))
    assert frame[0] == plain.push(Publication("t", payload))[0] | 0x40
    assert content(frame, bits) == content(plain.push(Publication("t", payload)))
    assert len(frame) < len(payload)


@given(st.sampled_from(FORMS), st.text(), st.binary() | st.binary().map(lambda data: data * 50))
def test_whatever_is_pushed_comes_out_again(plain: Encoding, topic: str, payload: bytes) -> None:
    frame = plain.push(Publication(topic, payload))
    deflated = compressor()[0].encoding(plain, 15).push(Publication(topic, payload))
    assert content(deflated) == content(frame)
    assert len(deflated) <= len(frame)


def test_the_same_form_is_the_same_object_so_that_connections_share_it() -> None:
    makes, _ = compressor()
    assert makes.encoding(STRING, 15) is makes.encoding(STRING, 15)
    others = {makes.encoding(plain, bits) for plain in FORMS for bits in (14, 15)}
    assert len(others) == 6
    assert not others & set(FORMS)
    assert {encoding.subprotocol for encoding in others} == {"", "rr.json", "rr.binary"}
    assert all(encoding.deflated for encoding in others)


@pytest.mark.parametrize(
    ("size", "compressed"), [(299, False), (300, True), (1 << 18, True), (262145, False)]
)
def test_only_messages_of_some_sizes_are_compressed(size: int, compressed: bool) -> None:
    makes, stats = compressor(min_size=300)
    payload = b"x" * (size - len(b'{"topic":"t","payload":""}'))
    frame = makes.encoding(STRING, 15).push(Publication("t", payload))
    assert bool(frame[0] & 0x40) == compressed
    assert stats.messages == compressed
    if not compressed:
        assert frame == STRING.push(Publication("t", payload))


@pytest.mark.parametrize(
    ("payload", "most"),
    [(random.Random(1).randbytes(99_000).hex().encode(), 4), (b"one like many others" * 9000, 30)],
    ids=["noise", "text"],
)
def test_what_is_compressed_in_a_turn_has_a_bound(payload: bytes, most: int) -> None:
    """1 MiB without a pattern, in the six forms of its receivers, took 0.35 s. The rest comes as it is."""
    scheduled: list[Callable[[], None]] = []
    makes, stats = compressor(schedule=scheduled.append)
    forms = [makes.encoding(plain, bits) for plain in FORMS for bits in (9, 15)]
    publication = Publication("t", payload)
    for turn in range(3):
        before = stats.messages
        pushed = [(form, form.push(publication)) for form in forms * 20]
        assert len(scheduled) == turn + 1
        compressed = stats.messages - before
        assert compressed == sum(bool(frame[0] & 0x40) for _, frame in pushed) < len(pushed)
        assert most // 2 <= compressed <= most
        for form, frame in pushed:
            plain = next(one for one in FORMS if one.subprotocol == form.subprotocol)
            assert content(frame) == content(plain.push(publication))
        scheduled[-1]()


def test_what_would_become_longer_is_sent_as_it_is_and_not_counted() -> None:
    makes, stats = compressor()
    noise = random.Random(1).randbytes(1000)
    assert makes.encoding(BINARY, 15).push(Publication("t", noise)) == BINARY.push(Publication("t", noise))
    assert (stats.messages, stats.saved) == (0, 0)


def test_what_is_saved_is_counted() -> None:
    makes, stats = compressor()
    frames = [makes.encoding(STRING, 15).push(Publication("t", b"x" * size)) for size in (90, 70)]
    assert stats.messages == 2
    assert stats.saved == sum(len(content(frame)) - len(frame[2:]) for frame in frames) > 100
