from __future__ import annotations

from collections.abc import Callable

import pytest

from rr_py_ws.core.backpressure import FEW, LONGEST, REST, Backpressure
from rr_py_ws.core.hub import Hub
from rr_py_ws.wire.publication import Publication, Pushes
from rr_py_ws.wire.push import Encoding


class Clock:
    """Makes calls when a test lets time pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: dict[Call, float] = {}

    def call_later(self, delay: float, function: Callable[[], None]) -> Call:
        call = Call(self, function)
        self.calls[call] = self.now + delay
        return call

    def sleep(self, seconds: float) -> None:
        end = self.now + seconds
        while self.calls and min(self.calls.values()) <= end:
            call = min(self.calls, key=lambda call: self.calls[call])
            self.now = self.calls.pop(call)
            call.function()
        self.now = end


class Call:
    def __init__(self, clock: Clock, function: Callable[[], None]) -> None:
        self.function = function
        self._clock = clock

    def cancel(self) -> None:
        del self._clock.calls[self]


class Road:
    """Backpressure with one publisher, and what became of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reports: list[tuple[int, int]] = []
        self.told: list[bool] = []
        self.backpressure = Backpressure(
            self.clock.call_later, 100, lambda *counts: self.reports.append(counts)
        )
        self.backpressure.publishers.append(self.told.append)

    @property
    def paused(self) -> bool:
        return bool(self.told) and self.told[-1]

    def fall_behind(self, receivers: range) -> None:
        for receiver in receivers:
            self.backpressure.fell_behind(receiver)

    def catch_up(self, receivers: range) -> None:
        for receiver in receivers:
            self.backpressure.caught_up(receiver)


@pytest.fixture
def road() -> Road:
    return Road()


def test_publishers_wait_until_those_who_were_behind_have_caught_up(road: Road) -> None:
    road.fall_behind(range(100))
    road.backpressure.on_flushed([range(100)])
    assert road.paused
    assert road.reports == [(100, 100)]
    road.catch_up(range(99))
    road.clock.sleep(0)
    assert road.paused
    road.catch_up(range(99, 100))
    road.clock.sleep(0)
    assert road.told == [True, False]
    assert not road.clock.calls


@pytest.mark.parametrize(("behind", "receivers"), [(1, 1), (FEW - 1, FEW), (12, 20), (200, 800), (16, 64)])
def test_a_few_or_no_more_than_a_quarter_hold_nobody(road: Road, behind: int, receivers: int) -> None:
    road.fall_behind(range(behind))
    road.backpressure.on_flushed([range(receivers)])
    assert road.told == []


@pytest.mark.parametrize(("behind", "receivers"), [(FEW, FEW), (17, 64), (201, 800)])
def test_many_do(road: Road, behind: int, receivers: int) -> None:
    road.fall_behind(range(behind))
    road.backpressure.on_flushed([range(receivers)])
    assert road.told == [True]


def test_who_is_behind_elsewhere_does_not_matter(road: Road) -> None:
    """Only those count who got what is being published."""
    road.fall_behind(range(100))
    road.backpressure.on_flushed([range(200, 300)])
    assert road.told == []


def test_receivers_that_stay_behind_hold_publishers_once_and_briefly(road: Road) -> None:
    road.fall_behind(range(100))
    road.backpressure.on_flushed([range(100)])
    road.clock.sleep(LONGEST)
    assert road.told == [True, False]
    for _ in range(10):
        road.backpressure.on_flushed([range(100)])
        road.clock.sleep(REST)
    assert road.told == [True, False]


def test_after_a_hold_that_did_not_help_nobody_is_waited_for_for_a_while(road: Road) -> None:
    """However many come and stall one after another, they take no more than a small part of the time."""
    road.fall_behind(range(100))
    road.backpressure.on_flushed([range(100)])
    road.clock.sleep(LONGEST)
    road.fall_behind(range(100, 200))
    road.backpressure.on_flushed([range(100, 200)])
    assert not road.paused
    road.clock.sleep(REST)
    road.backpressure.on_flushed([range(100, 200)])
    assert road.paused


def test_who_has_caught_up_is_waited_for_again(road: Road) -> None:
    road.fall_behind(range(100))
    road.backpressure.on_flushed([range(100)])
    road.clock.sleep(LONGEST + REST)
    road.catch_up(range(100))
    road.fall_behind(range(100))
    road.backpressure.on_flushed([range(100)])
    assert road.paused


def test_receivers_that_leave_are_not_waited_for(road: Road) -> None:
    road.fall_behind(range(20))
    road.backpressure.on_flushed([range(20)])
    road.catch_up(range(20))  # what a connection reports when it ends
    road.clock.sleep(0)
    assert not road.paused


def test_what_arrives_from_other_nodes_meanwhile_does_not_end_a_hold(road: Road) -> None:
    road.fall_behind(range(20))
    road.backpressure.on_flushed([range(20)])
    road.backpressure.on_flushed([range(100, 200)])
    road.clock.sleep(0)
    assert road.paused
    road.fall_behind(range(100, 170))
    road.backpressure.on_flushed([range(100, 200)])
    assert len(road.reports) == 1
    road.catch_up(range(20))
    road.clock.sleep(0)
    assert road.paused
    road.catch_up(range(100, 170))
    road.clock.sleep(0)
    assert not road.paused


class Receiver:
    """A subscriber that takes everything."""

    def __init__(self) -> None:
        self.id = "a connection"
        self.encoding = Encoding("", lambda publication: publication.payload)
        self.taken: list[bytes] = []
        self.send = self._send

    def _send(self, frames: bytes) -> int:
        self.taken.append(frames)
        return len(frames)

    def push(self, pushes: Pushes, taken: int) -> None: ...

    def missed(self, topics: object) -> None: ...

    def charge(self, cost: int) -> None: ...

    def write_failed(self, error: Exception) -> None: ...


def test_what_gathers_in_one_turn_is_bounded(road: Road) -> None:
    """1,000 publishers may be readable in the same turn."""
    hub = Hub(lambda flush: road.clock.call_later(0, flush), road.backpressure)
    receiver = Receiver()
    hub.subscribe(receiver, ["a"])
    hub.publish(Publication("a", bytes(100)))
    assert road.told == []
    hub.publish(Publication("a", b"1"))
    assert road.paused
    road.clock.sleep(0)
    assert receiver.taken == [bytes(100) + b"1"]
    assert road.told == [True, False]


def test_what_nobody_receives_gathers_nowhere_and_is_not_even_encoded(road: Road) -> None:
    hub = Hub(lambda flush: road.clock.call_later(0, flush), road.backpressure)
    receiver = Receiver()
    receiver.encoding = Encoding("", lambda publication: pytest.fail("encoded"))
    hub.subscribe(receiver, ["another"])
    for _ in range(10):
        hub.publish(Publication("nobody", bytes(100)))
    assert road.told == []
    assert not road.clock.calls
    assert hub.published == 10
