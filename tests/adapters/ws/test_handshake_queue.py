"""The queue before a decision, by a clock that the test holds in its hands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from rr_py_ws.adapters.net.deadline import MOMENT
from rr_py_ws.adapters.ws.handshake_queue import HandshakeQueue


class Clock:
    """An event loop's clock and timers, for callbacks alone."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, Callable[[], None], Timer]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer()
        self._timers.append((when, callback, timer))
        return timer

    def call_later(self, delay: float, callback: Callable[..., None], *args: float) -> Timer:
        return self.call_at(self.now + delay, partial(callback, *args))

    def call_soon(self, callback: Callable[..., None], *args: float) -> Timer:
        return self.call_at(self.now, partial(callback, *args))

    def advance(self, seconds: float) -> None:
        """Let time pass, and call what is due, in order."""
        end = self.now + seconds
        while due := [timer for timer in self._timers if timer[0] <= end]:
            next_one = min(due, key=lambda timer: timer[0])
            self._timers.remove(next_one)
            when, callback, timer = next_one
            self.now = max(self.now, when)
            if not timer.cancelled:
                callback()
        self.now = end

    @property
    def armed(self) -> bool:
        return any(not timer.cancelled for _, _, timer in self._timers)


class Timer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Hall:
    """Applicants by name, and what has become of them, in order."""

    def __init__(self, queue: HandshakeQueue, *, at_once_done: bool = False) -> None:
        self.queue = queue
        self.at_once_done = at_once_done
        self.begun: list[str] = []
        self.waited: list[float] = []
        self.refused: list[str] = []
        self.people: dict[str, Person] = {}

    def come(self, *names: str, address: str = "") -> None:
        for name in names:
            self.people[name] = person = Person(self, name, address)
            if self.queue.may_begin():
                self.queue.begin()
                person.decide(0.0)
            else:
                self.queue.enter(person)

    def done(self, *names: str) -> None:
        for name in names:
            self.queue.leave(self.people[name])


class Person:
    def __init__(self, hall: Hall, name: str, address: str) -> None:
        self.hall = hall
        self.name = name
        self.network = address

    def decide(self, waited: float) -> None:
        self.hall.begun.append(self.name)
        self.hall.waited.append(round(waited, 6))
        if self.hall.at_once_done:
            self.hall.queue.leave(self)

    def expire(self) -> None:
        self.hall.refused.append(self.name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()

    def running_loop() -> Any:
        return clock

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "get_running_loop", running_loop)
        yield clock


def test_so_many_begin_at_once_and_the_others_when_one_is_done_in_order(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(2, 0, 5.0))
    hall.come(*"abcde")
    assert (hall.begun, hall.queue.waiting) == (["a", "b"], 3)
    hall.done("b")
    clock.advance(0)
    assert hall.begun == ["a", "b", "c"]
    hall.done("a", "c")
    clock.advance(0)
    assert hall.begun == ["a", "b", "c", "d", "e"]


def test_nobody_overtakes_who_waits(clock: Clock) -> None:
    """A turn is free, but the one who waits for it has not been called yet."""
    hall = Hall(HandshakeQueue(1, 0, 5.0))
    hall.come("a", "b")
    hall.done("a")
    hall.come("c")
    clock.advance(0)
    assert hall.begun == ["a", "b"]
    hall.done("b")
    clock.advance(0)
    assert hall.begun == ["a", "b", "c"]


def test_who_waits_too_long_is_told_and_the_others_move_up(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(1, 0, 5.0))
    hall.come("a", "b")
    clock.advance(3.0)
    hall.come("c")
    clock.advance(3.0)
    assert (hall.refused, hall.queue.waiting) == (["b"], 1)
    hall.done("a")
    clock.advance(0)
    assert (hall.begun, hall.waited) == (["a", "c"], [0.0, 3.0])


def test_who_goes_away_gives_up_its_turn_or_its_place_in_the_queue(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(1, 0, 5.0))
    hall.come("a", "b", "c")
    hall.done("b")
    clock.advance(0)
    assert (hall.begun, hall.queue.waiting) == (["a"], 1)
    hall.done("a")
    clock.advance(10.0)
    assert (hall.begun, hall.refused) == (["a", "c"], [])


def test_without_patience_nobody_waits(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(1, 0, 0.0))
    hall.come("a", "b")
    clock.advance(MOMENT)
    assert (hall.begun, hall.refused) == (["a"], ["b"])


def test_the_rate_lets_a_tenth_of_a_second_in_at_once_and_keeps_the_order(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(1000, 100, 60.0), at_once_done=True)
    names = [f"{number:03}" for number in range(500)]
    hall.come(*names)
    assert 10 <= len(hall.begun) <= 12
    for second in range(1, 5):
        clock.advance(1.0)
        assert abs(len(hall.begun) - 11 - 100 * second) <= 2
    clock.advance(1.0)
    assert hall.begun == names
    assert not clock.armed or hall.queue.waiting == 0


def test_a_rate_below_one_a_second_is_kept_too(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(10, 0.5, 60.0), at_once_done=True)
    hall.come("a", "b", "c")
    clock.advance(1.5)
    assert hall.begun == ["a"]
    clock.advance(0.5)
    assert hall.begun == ["a", "b"]
    clock.advance(2.0)
    assert hall.begun == ["a", "b", "c"]


def test_a_rate_that_nobody_has_used_is_not_saved_up(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(1000, 100, 60.0), at_once_done=True)
    clock.advance(3600.0)
    hall.come(*map(str, range(100)))
    assert len(hall.begun) <= 12


def test_rate_and_turns_hold_together(clock: Clock) -> None:
    """All turns are taken while the rate would let more begin; nobody looks in vain meanwhile."""
    hall = Hall(HandshakeQueue(1, 100, 60.0))
    hall.come("a", "b")
    clock.advance(30.0)
    assert hall.begun == ["a"]
    hall.done("a")
    clock.advance(0)
    assert hall.begun == ["a", "b"]


def test_nothing_is_left_to_do_when_it_is_stopped(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(1, 1, 60.0), at_once_done=True)
    hall.come(*"abcdef")
    assert clock.armed
    hall.queue.stop()
    assert not clock.armed


def test_where_nobody_may_wait_who_has_no_turn_is_refused_at_once(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(1, 0, 0.0))
    hall.come("a", "b", "c")
    assert (hall.begun, hall.refused, hall.queue.waiting, clock.armed) == (["a"], ["b", "c"], 0, False)
    hall.done("a")
    hall.come("d")
    assert hall.begun == ["a", "d"]


def test_addresses_take_turns(clock: Clock) -> None:
    """One that sent requests faster than PHP answered them had everybody else wait behind them."""
    hall = Hall(HandshakeQueue(1, 0, 5.0), at_once_done=True)
    hall.queue.begin()
    blocking = Person(hall, "blocking", "192.0.2.1")
    hall.come(*"abcd", address="192.0.2.1")
    hall.come("x", address="192.0.2.2")
    hall.come(*"yz", address="192.0.2.3")
    hall.queue.leave(blocking)
    clock.advance(0)
    assert "".join(hall.begun) == "axybzcd"
    assert hall.queue.waiting == 0


def test_addresses_take_turns_when_some_leave_or_wait_too_long(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(1, 0, 5.0))
    hall.come("running", *"ab", address="192.0.2.1")
    hall.come("x", address="192.0.2.2")
    hall.done("a", "x")
    clock.advance(4)
    hall.come("y", address="192.0.2.2")
    clock.advance(1 + MOMENT)
    assert hall.refused == ["b"]
    hall.done("running")
    clock.advance(0)
    assert hall.begun == ["running", "y"]
    hall.come("c", address="192.0.2.1")
    hall.done("y")
    clock.advance(0)
    assert hall.begun == ["running", "y", "c"]
    assert (hall.queue.waiting, hall.queue._lines) == (0, {})


def test_other_limits_count_for_those_that_wait(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(1, 0, 5.0))
    hall.come(*"abcd")
    hall.queue.reload(3, 0, 5.0)
    clock.advance(0)
    assert hall.begun == ["a", "b", "c"]
    hall.queue.reload(3, 0, 0.5)
    clock.advance(0.5 + MOMENT)
    assert (hall.refused, hall.queue.waiting) == (["d"], 0)


def test_another_rate_counts_at_once(clock: Clock) -> None:
    hall = Hall(HandshakeQueue(9, 1, 60.0))
    hall.come(*"abc")
    assert hall.begun == ["a"]
    hall.queue.reload(9, 0, 60.0)
    clock.advance(0)
    assert hall.begun == ["a", "b", "c"]
