"""How often the same event may be written."""

from __future__ import annotations

from logs.conftest import Clock
from rr_py_ws.logs import Limiter


def test_the_same_event_is_written_ten_times_in_ten_seconds() -> None:
    clock = Clock()
    limiter = Limiter(clock)
    assert [limiter.admit("refused") for _ in range(15)] == [0] * 10 + [None] * 5
    assert limiter.admit("another") == 0
    clock.now += 9.9
    assert limiter.admit("refused") is None
    clock.now += 0.1
    assert limiter.admit("refused") == 6
    assert limiter.admit("refused") == 0


def test_any_number_of_different_events_takes_bounded_memory_and_is_limited() -> None:
    clock = Clock()
    limiter = Limiter(clock)
    admitted = [limiter.admit(f"event {number}") for number in range(10_000)]
    assert sum(answer is not None for answer in admitted) == 256 + 10
    clock.now += 10
    assert limiter.admit("event 9999") == 0
