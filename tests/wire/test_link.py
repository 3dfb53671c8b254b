"""What processes say to each other comes out as it went in, whatever it is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws import errors
from rr_py_ws.errors import BrokerError, NoFreeWorkers, WorkersDown
from rr_py_ws.metrics import Distribution, Histogram, Metric, counter, gauge, merge
from rr_py_ws.wire.goridge import Frame, FrameDecoder
from rr_py_ws.wire.link import (
    Kind,
    decode,
    encode,
    encode_batch,
    encode_call,
    encode_error,
    encode_tell,
    pack_error,
    pack_metrics,
    pack_recoveries,
    unpack_error,
    unpack_metrics,
    unpack_recoveries,
)
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.recovery import OFF, Missed, Recovery

topics = st.text(st.characters(codec=None), max_size=20)  # lone surrogates, too: topics of bytes
publications = st.builds(
    Publication,
    topics,
    st.binary(max_size=100),
    st.none() | st.text(max_size=10),
    st.floats(allow_nan=False),
    st.lists(st.text(max_size=5), max_size=3).map(tuple),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | topics | st.binary(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(topics, inner, max_size=3)
    ),
    max_leaves=10,
)
numbers = st.integers(0, 2**32 - 1)


def frames(data: bytes) -> list[Frame]:
    decoder = FrameDecoder(2**32 - 1)
    decoder.receive_data(data)
    found = []
    while (frame := decoder.next_frame()) is not None:
        found.append(frame)
    assert not decoder.inside
    return found


def decoded(data: bytes) -> tuple[int, int, object]:
    [frame] = frames(data)
    return decode(frame)


@given(numbers, plain)
def test_a_value(number: int, value: object) -> None:
    assert decoded(encode(Kind.RESULT, number, value)) == (Kind.RESULT, number, value)


@given(numbers, st.text(max_size=10), st.lists(plain, max_size=4))
def test_a_call(number: int, method: str, args: list[object]) -> None:
    assert decoded(encode_call(number, method, args)) == (Kind.CALL, number, (method, *args))
    assert decoded(encode_tell(method, args)) == (Kind.TELL, 0, (method, *args))


@given(st.integers(0, 255), st.lists(publications, max_size=20))
def test_a_batch(broker: int, found: list[Publication]) -> None:
    data = encode_batch(broker, found)
    kind, number, value = decoded(data)
    assert (kind, number, value) == (Kind.BATCH, broker, found)
    assert isinstance(value, list) and all(type(one) is Publication for one in value)


@given(st.dictionaries(topics, st.lists(publications, max_size=3)))
def test_what_becomes_of_a_join_with_history(found: dict[str, list[Publication]]) -> None:
    recoveries = {topic: Recovery("epoch.1", Missed(replay), "limit") for topic, replay in found.items()}
    recoveries["a topic without a history"] = OFF
    value = decoded(encode(Kind.RESULT, 1, pack_recoveries(recoveries)))[2]
    assert unpack_recoveries(value) == recoveries


ERRORS = [
    NoFreeWorkers("none is free"),
    WorkersDown("they are down"),
    errors.ExecTimeout("too slow"),
    TimeoutError("too late"),
    BrokerError("refused", "by Redis"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_error(error: Exception) -> None:
    kind, number, value = decoded(encode_error(7, error))
    assert (kind, number) == (Kind.ERROR, 7)
    found = unpack_error(value)  # type: ignore[arg-type]
    assert type(found) is type(error) and str(found) == str(error)
    if isinstance(error, BrokerError):
        assert isinstance(found, BrokerError) and found.public == "refused"


@pytest.mark.parametrize(
    "error", [OSError("no file"), ZeroDivisionError(), errors.ConfigError("key", "wrong")]
)
def test_any_other_error_is_one_that_callers_expect(error: Exception) -> None:
    found = unpack_error(pack_error(error))
    assert isinstance(found, BrokerError)
    assert str(found) == f"another process of the server has failed: {type(error).__name__}: {error}"
    assert found.public == "another process of the server has failed"


def distribution(*found: float) -> Distribution:
    made = Distribution((1.0, 2.0))
    for number in found:
        made.add(number)
    return made


def metrics() -> list[Metric]:
    return [
        counter("plain", "A number.", 3),
        gauge("labelled", "Two.", {"a": 1, "b": 2.5}, "which"),
        counter("pairs", "By two labels.", {("a", "b"): 1}, "one", "other"),
        Histogram("times", "How long.", ("path",), {("/",): distribution(0.5, 7.0)}, "http_"),
    ]


def test_metrics() -> None:
    value = decoded(encode(Kind.RESULT, 1, pack_metrics(metrics())))[2]
    assert unpack_metrics(value) == metrics()  # type: ignore[arg-type]


def test_metrics_of_two_processes_are_those_of_one_server() -> None:
    plain, labelled, pairs, times = merge([*metrics(), *metrics()])
    assert plain == counter("plain", "A number.", 6)
    assert labelled == gauge("labelled", "Two.", {"a": 2, "b": 5}, "which")
    assert pairs == counter("pairs", "By two labels.", {("a", "b"): 2}, "one", "other")
    assert isinstance(times, Histogram)
    assert times.values[("/",)] == distribution(0.5, 0.5, 7.0, 7.0)


def test_infinity_is_a_limit_too() -> None:
    assert decoded(encode(Kind.RESULT, 1, math.inf))[2] == math.inf
