from __future__ import annotations

import pytest

from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.hold import FEW, LONGEST, REST, WORK, Gate, Topic
from rr_py_ws.core.hub import Hub
from rr_py_ws.wire.publication import Publication, Pushes
from rr_py_ws.wire.push import Encoding
from support.clock import Clock

A, B = ("main", "a"), ("main", "b")


class Road:
    """Backpressure with one publisher, and what became of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reports: list[tuple[Topic, int, int]] = []
        self.told: list[bool] = []
        self.backpressure = Backpressure(
            self.clock.call_later, self.clock.time, 100, lambda *report: self.reports.append(report)
        )
        self.backpressure.publishers.append(self.told.append)

    def held(self, topic: Topic = A) -> bool:
        return topic in self.backpressure.held

    def fall_behind(self, receivers: range) -> None:
        for receiver in receivers:
            self.backpressure.fell_behind(receiver)

    def catch_up(self, receivers: range) -> None:
        for receiver in receivers:
            self.backpressure.caught_up(receiver)
        self.clock.sleep(0)

    def write(self, *groups: range, topic: Topic = A, size: int = 0) -> None:
        """Write so many bytes to each receiver of a topic."""
        if self.backpressure.watching:
            keys = [dict.fromkeys(group).keys() for group in groups]
            self.backpressure.on_written(topic, keys, size * sum(map(len, groups)))
        self.backpressure.on_flushed()

    def gulp(
        self, seconds: float, *, size: int = 0, receivers: range = range(FEW), topic: Topic = A
    ) -> float:
        """Let receivers fall behind and catch up after so long; return for how long they held publishers."""
        self.fall_behind(receivers)
        self.write(receivers, topic=topic, size=size)
        held = 0.0

        def count(passed: float) -> None:
            nonlocal held
            held += passed * self.held(topic)

        self.clock.sleep(seconds, count)
        self.catch_up(receivers)
        self.write(receivers, topic=topic, size=size)
        return held


@pytest.fixture
def road() -> Road:
    return Road()


def test_publishers_of_a_topic_wait_until_those_who_were_behind_have_caught_up(road: Road) -> None:
    road.fall_behind(range(100))
    road.write(range(100))
    assert road.held()
    assert road.reports == [(A, 100, 100)]
    road.catch_up(range(99))
    assert road.held()
    road.catch_up(range(99, 100))
    assert not road.held()


def test_publishers_of_other_topics_are_not_concerned(road: Road) -> None:
    """They were: 16 clients in a topic of their own held everybody for two thirds of the time."""
    road.fall_behind(range(16))
    road.write(range(16))
    road.write(range(100, 200), topic=B)
    road.write(range(16), topic=("other", "b"))
    assert list(road.backpressure.held) == [A, ("other", "b")]
    assert road.told == []


def test_who_waits_is_called_in_the_order_of_arrival_when_the_hold_ends(road: Road) -> None:
    called: list[str] = []
    road.fall_behind(range(16))
    road.write(range(16))
    hold = road.backpressure.held[A]
    first, second, third = (lambda name=name: called.append(name) for name in ("first", "second", "third"))
    for go_on in (first, second, third):
        hold.wait(go_on)
    hold.discard(second)
    road.catch_up(range(16))
    assert called == ["first", "third"]


def test_who_could_not_pass_comes_before_those_who_did() -> None:
    """One that brings a large call each time would otherwise be the first for ever."""
    called: list[str] = []
    gate = Gate()
    first, second, third = (lambda name=name: called.append(name) for name in ("first", "second", "third"))
    for go_on in (first, second, third):
        gate.wait(go_on)
    gate.release()
    gate.wait(first)  # it has passed, and waits for the next one
    gate.wait(second, again=True)
    gate.wait(third, again=True)
    gate.release()
    assert called == ["first", "second", "third", "second", "third", "first"]


@pytest.mark.parametrize(("behind", "receivers"), [(1, 1), (FEW - 1, FEW), (12, 20), (200, 800), (16, 64)])
def test_a_few_or_no_more_than_a_quarter_hold_nobody(road: Road, behind: int, receivers: int) -> None:
    road.fall_behind(range(behind))
    road.write(range(receivers))
    assert not road.held()


@pytest.mark.parametrize(("behind", "receivers"), [(FEW, FEW), (17, 64), (201, 800)])
def test_many_do(road: Road, behind: int, receivers: int) -> None:
    road.fall_behind(range(behind))
    road.write(range(receivers))
    assert road.held()


def test_receivers_of_all_encodings_count_together(road: Road) -> None:
    road.fall_behind(range(16))
    road.write(range(8), range(8, 32))
    assert road.held()


def test_who_is_behind_elsewhere_does_not_matter(road: Road) -> None:
    """Only those count who are in the topic that is written to."""
    road.fall_behind(range(100))
    road.write(range(200, 300))
    assert not road.held()


def test_receivers_of_a_slow_topic_do_not_hold_a_healthy_one_that_they_are_in(road: Road) -> None:
    road.fall_behind(range(16))
    road.write(range(16))
    road.write(range(64), topic=B)
    assert road.held()
    assert not road.held(B)


def test_receivers_that_stay_behind_hold_publishers_once_and_briefly(road: Road) -> None:
    road.fall_behind(range(100))
    road.write(range(100))
    road.clock.sleep(LONGEST)
    assert not road.held()
    for _ in range(10):
        road.write(range(100))
        assert not road.held()
        road.clock.sleep(REST)


def test_who_was_given_up_is_not_waited_for_again_because_of_a_gulp(road: Road) -> None:
    road.fall_behind(range(16))
    road.write(range(16))
    road.clock.sleep(LONGEST)
    road.catch_up(range(16))
    road.fall_behind(range(16))
    road.write(range(16), topic=B)
    assert not road.held(B)
    road.clock.sleep(REST)
    road.write(range(16), topic=B)
    assert not road.held(B)  # it fell behind when it was slow
    road.catch_up(range(16))
    road.fall_behind(range(16))
    road.write(range(16), topic=B)
    assert road.held(B)


def test_however_many_stand_still_one_after_another_they_hold_for_a_small_part_of_the_time(
    road: Road,
) -> None:
    for start in range(0, 3000, 100):
        assert road.gulp(10, receivers=range(start, start + 100)) <= LONGEST
    assert road.backpressure._begun * LONGEST <= LONGEST + road.clock.now * LONGEST / REST


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0, 1.9, 2.5])
def test_readers_in_gulps_hold_for_a_small_part_of_the_time(road: Road, seconds: float) -> None:
    """Each catches up just in time; what they have taken is little."""
    held = sum(road.gulp(seconds, size=1000) for _ in range(200))
    assert LONGEST / 2 <= held <= LONGEST + road.clock.now * (LONGEST / REST) + 0.5


def test_receivers_that_take_much_are_waited_for_as_long_as_publishers_are_faster(road: Road) -> None:
    """Otherwise a flood that lasts for minutes would end with all receivers closed as too slow."""
    # They take twice what earns the time for it.
    held = sum(road.gulp(0.5, size=WORK // 100, receivers=range(100)) for _ in range(200))
    assert held == pytest.approx(100)


def test_who_leaves_without_having_taken_anything_earns_nothing(road: Road) -> None:
    for start in range(0, 2000, 100):
        crowd = range(start, start + 100)
        road.fall_behind(crowd)
        road.write(crowd, size=WORK)
        road.clock.sleep(1.5)
        for receiver in crowd:
            road.backpressure.forget(receiver)
        road.clock.sleep(0)
    assert road.backpressure._begun * 1.5 <= LONGEST + road.clock.now * LONGEST / REST


def test_receivers_that_leave_are_not_waited_for(road: Road) -> None:
    road.fall_behind(range(20))
    road.write(range(20))
    for receiver in range(20):
        road.backpressure.forget(receiver)
    road.clock.sleep(0)
    assert not road.held()


def test_what_arrives_from_other_nodes_meanwhile_is_waited_for_too_but_not_longer(road: Road) -> None:
    road.fall_behind(range(20))
    road.write(range(40))
    road.clock.sleep(1)
    road.fall_behind(range(20, 40))
    road.write(range(40))
    road.catch_up(range(20))
    assert road.held()
    assert len(road.reports) == 1
    road.clock.sleep(1)
    assert not road.held()


def test_a_hold_that_is_about_to_end_does_not_go_on(road: Road) -> None:
    road.fall_behind(range(20))
    road.write(range(20))
    for receiver in range(20):
        road.backpressure.caught_up(receiver)
    road.fall_behind(range(20))
    road.write(range(20))
    road.clock.sleep(0)
    assert not road.held()


def test_nothing_is_left_of_a_topic_whose_budget_is_full_again(road: Road) -> None:
    road.gulp(1)
    assert road.backpressure.watching
    road.clock.sleep(REST)
    assert not road.backpressure.watching
    assert not road.clock.calls
    for receiver in range(FEW):
        road.backpressure.forget(receiver)
    assert not (road.backpressure._behind or road.backpressure._full_at or road.backpressure._awaited)


def test_metrics(road: Road) -> None:
    road.fall_behind(range(20))
    road.write(range(20))
    road.write(range(20), topic=B)
    samples = {sample.name: sample.values for sample in road.backpressure.metrics()}
    assert samples == {"publishers_held": {(): 2}, "topics_held": {(): 2}}


def test_receivers_of_many_topics_hold_no_more_than_those_of_one(road: Road) -> None:
    """Each topic had a full budget when the one before was used up, and so publishers waited all the time."""
    held = 0.0
    for number in range(400):
        topic = "main", f"{number % 200}"
        held += road.gulp(0.8, topic=topic)
        road.clock.sleep(0.25)
    assert LONGEST / 2 <= held <= 2 * LONGEST + road.clock.now * LONGEST / REST


def test_topics_that_are_held_at_once_are_paid_once(road: Road) -> None:
    """Clients are in several topics, and these are flooded together."""
    for number in range(20):
        topics = [("main", f"{number}, {other}") for other in range(10)]
        road.fall_behind(range(FEW))
        for topic in topics:
            road.write(range(FEW), topic=topic)
        assert all(map(road.held, topics))
        road.clock.sleep(0.05)
        road.catch_up(range(FEW))
        assert not any(map(road.held, topics))


def test_who_is_waited_for_alone_pays_for_all_and_is_given_up_soon(road: Road) -> None:
    """Otherwise 16 receivers could hold publishers for 16 times as long: one topic each."""
    held = 0.0

    def count(passed: float) -> None:
        nonlocal held
        held += passed * bool(road.backpressure.held)

    receivers = range(2 * FEW)
    for last in range(FEW):
        road.fall_behind(receivers)
        road.write(receivers, topic=("main", f"{last}"))
        for receiver in receivers:
            if receiver != last:
                road.backpressure.caught_up(receiver)
        road.clock.sleep(1.0, count)
        road.catch_up(receivers)
    assert FEW * 0.1 <= held <= LONGEST


def test_a_crowd_that_is_waited_for_again_and_again_is_not_slow(road: Road) -> None:
    """They have a cause in common: each pays a small share, and is not given up in the next topic."""
    for number in range(100):
        assert road.gulp(0.5, receivers=range(400), topic=("main", f"{number}")) == 0.5


def test_who_was_slow_long_ago_has_a_full_budget(road: Road) -> None:
    road.fall_behind(range(FEW))
    road.write(range(FEW))
    road.clock.sleep(LONGEST)
    road.catch_up(range(FEW))
    road.clock.sleep(2 * REST)
    road.fall_behind(range(FEW))
    assert not road.backpressure._full_at
    road.write(range(FEW), topic=B)
    road.clock.sleep(LONGEST - 0.01)
    assert road.held(B)


class Receiver:
    """A subscriber that takes everything."""

    def __init__(self) -> None:
        self.id = "a connection"
        self.me = ""
        self.encoding = Encoding("", lambda publication: publication.payload)
        self.taken: list[bytes] = []
        self.descriptor = -1
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
    assert road.told == [True]
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


def test_each_topic_of_a_turn_is_held_for_its_own_receivers(road: Road) -> None:
    """In one turn, joined into one write for those who are in both."""
    hub = Hub(lambda flush: road.clock.call_later(0, flush), road.backpressure, "main")
    slow = [Receiver() for _ in range(FEW)]
    for receiver in slow:
        hub.subscribe(receiver, ["slow", "both"])
    for _ in range(FEW * 3):
        hub.subscribe(Receiver(), ["both", "healthy"])
    for receiver in slow:
        road.backpressure.fell_behind(receiver)
    for topic in ("slow", "both", "healthy", "slow", "nobody"):
        hub.publish(Publication(topic, b"1"))
    hub.flush()
    assert list(road.backpressure.held) == [("main", "slow")]


def test_topics_that_cannot_be_held_cost_nothing_while_others_are(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 clients that are behind anywhere made each message to one client a tenth dearer."""
    hub = Hub(lambda flush: road.clock.call_later(0, flush), road.backpressure, "main")
    encoding = Receiver().encoding
    for number in range(FEW):
        receiver = Receiver()
        if number % 2:
            receiver.encoding = encoding
        hub.subscribe(receiver, ["large", f"of {number}"])
    for _ in range(FEW - 1):
        receiver = Receiver()
        receiver.encoding = encoding
        hub.subscribe(receiver, ["small"])
    told: list[Topic] = []
    monkeypatch.setattr(road.backpressure, "on_written", lambda topic, groups, size: told.append(topic))
    road.fall_behind(range(FEW))
    for topic in ("large", "of 1", "of 2"):
        hub.publish(Publication(topic, b"1"))
    hub.flush()
    hub.publish(Publication("small", b"1"))
    hub.flush()
    assert told == [("main", "large")]
