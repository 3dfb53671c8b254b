from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.core.token_bucket import BURST, TokenBucket

TIMES = st.floats(0, 3)
COUNTS = st.integers(1, 20)


def test_a_seconds_worth_may_come_at_once_and_more_has_to_wait() -> None:
    bucket = TokenBucket(10)
    full_at = bucket.consume(0.0, 10, 100.0)
    assert bucket.wait_time(full_at, 100.0) == pytest.approx(0)
    full_at = bucket.consume(full_at, 5, 100.0)
    assert bucket.wait_time(full_at, 100.0) == pytest.approx(0.5)
    assert bucket.wait_time(full_at, 100.5) == pytest.approx(0)


def test_what_is_not_used_is_not_saved_up() -> None:
    bucket = TokenBucket(10)
    full_at = bucket.consume(bucket.consume(0.0, 1, 100.0), 20, 1000.0)
    assert bucket.wait_time(full_at, 1000.0) == pytest.approx(1.0)


def test_without_a_rate_nobody_waits() -> None:
    bucket = TokenBucket(0)
    assert bucket.wait_time(bucket.consume(0.0, 10**9, 5.0), 5.0) <= 0


@given(st.integers(1, 1000), st.lists(st.tuples(TIMES, COUNTS), max_size=50))
def test_who_waits_as_told_keeps_to_the_rate(rate: int, steps: list[tuple[float, int]]) -> None:
    """At any time no more than the rate allows, the burst and the last step."""
    bucket, now, full_at, spent = TokenBucket(rate), 50.0, 0.0, 0
    for pause, count in steps:
        now += pause
        now += max(0.0, bucket.wait_time(full_at, now))
        assert spent <= (now - 50.0 + BURST) * rate + 1e-6
        full_at = bucket.consume(full_at, count, now)
        spent += count


@given(st.integers(1, 1000), st.integers(1, 200))
def test_who_keeps_to_the_rate_never_waits(rate: int, count: int) -> None:
    bucket, full_at = TokenBucket(rate), 0.0
    for number in range(count):
        full_at = bucket.consume(full_at, 1, 50.0 + number / rate)
        assert bucket.wait_time(full_at, 50.0 + number / rate) <= 1e-9
