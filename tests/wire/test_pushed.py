from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.wire.deflate import Compressor, DeflateStats
from rr_py_ws.wire.push import BINARY, JSON, STRING, Encoding
from rr_py_ws.wire.pushed import pushed_topics

FORMS = {"string": STRING, "json": JSON, "binary": BINARY}
_deflate = Compressor(level=1, min_size=1, stats=DeflateStats())
FORMS |= {f"deflated {name}": _deflate.encoding(form, 15) for name, form in FORMS.items()}
ENCODINGS = pytest.mark.parametrize("encoding", FORMS.values(), ids=FORMS)


@ENCODINGS
@pytest.mark.parametrize("size", [0, 1, 60, 125, 126, 65_000, 65_535, 70_000])
def test_every_push_of_a_run_is_found_whatever_its_size(encoding: Encoding, size: int) -> None:
    run = [encoding.push(topic, b"1" * size) for topic in ("a", "b", "a")]
    assert pushed_topics(b"".join(run)) == ("a", "b", "a")


@ENCODINGS
@pytest.mark.parametrize(
    "topic", ["", '"', "\\", '\\"', 'a","payload":"', "\n\b\f\0", "<ü€🎉>", "x" * 70_000]
)
@pytest.mark.parametrize("payload", [b"p", b"p" * 100_000])
def test_a_topic_comes_back_whatever_is_in_it(encoding: Encoding, topic: str, payload: bytes) -> None:
    assert pushed_topics(encoding.push(topic, payload)) == (topic,)


def test_what_is_no_utf_8_is_what_its_receiver_sees() -> None:
    topic = b"a\xff".decode("utf-8", "surrogateescape")
    assert pushed_topics(STRING.push(topic, b"")) == ("a\ufffd",)
    assert pushed_topics(BINARY.push(topic, b"")) == (topic,)


@ENCODINGS
@given(run=st.lists(st.tuples(st.text(), st.binary() | st.integers().map(json.dumps).map(str.encode))))
def test_reads_what_was_encoded(encoding: Encoding, run: list[tuple[str, bytes]]) -> None:
    frames = b"".join(encoding.push(topic, payload) for topic, payload in run)
    assert pushed_topics(frames) == tuple(topic for topic, _ in run)
