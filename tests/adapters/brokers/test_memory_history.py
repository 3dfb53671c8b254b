"""The budget of all histories, and counters that outlive their messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.adapters.brokers.memory_history import COUNTER_COST, KEY_COST, MESSAGE_COST, MemoryHistory
from rr_py_ws.config import HistoryRule
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.recovery import Recovery
from support.clock import Clock

RULE = HistoryRule(topics=("*",), size=10, ttl=60.0)
DAY = 24 * 3600.0
LIMIT = ReplayLimit(300, 1 << 20)


class Kept:
    """A history with a clock."""

    def __init__(self, budget: int = 1 << 20) -> None:
        self.clock = Clock()
        self.history = MemoryHistory(HistoryRules([RULE]), budget, self.clock.time)

    def publish(self, topic: str, count: int = 1, size: int = 1) -> str:
        for _ in range(count):
            kept = self.history.keep(topic, RULE)
            position = kept.next_position
            kept.publish(Publication(topic, b"x" * size))
        return position

    def recover(self, topic: str, wish: str | int) -> Recovery:
        return self.history.recover({topic: wish}, LIMIT)()[topic]

    @property
    def actual_size(self) -> int:
        """What the history should say that it takes."""
        rings, keys = self.history._rings, self.history._keys
        messages = sum(len(ring.entries) * MESSAGE_COST + ring.size for ring in rings.values())
        counters = sum(COUNTER_COST + len(topic) for topic in rings)
        return messages + counters + sum(KEY_COST + len(topic) + len(key) for topic, key in keys)


def test_over_the_budget_the_topics_go_that_nothing_was_published_to_for_longest() -> None:
    kept = Kept(budget=3 * (COUNTER_COST + 1) + 12 * (MESSAGE_COST + 1))
    before = {topic: kept.publish(topic) for topic in "abc"}
    for topic in "abc":
        kept.publish(topic, 3)
    kept.publish("a")  # the thirteenth message: all of b goes, which is the oldest now
    assert kept.recover("b", before["b"]).reason == "trimmed"
    assert len(kept.recover("a", before["a"]).replay) == 4
    assert len(kept.recover("c", before["c"]).replay) == 3
    # Its counter stays: who has seen everything is told nothing else.
    position = kept.recover("b", 0).position
    assert position is not None
    assert kept.recover("b", position) == Recovery(position)


def test_one_topic_alone_keeps_its_newest_messages_within_the_budget() -> None:
    kept = Kept(budget=COUNTER_COST + 1 + 3 * (MESSAGE_COST + 100))
    kept.publish("a", 8, size=100)
    assert len(kept.recover("a", 300).replay) == 3


def test_a_message_that_is_larger_than_the_budget_is_not_kept_and_drops_no_others() -> None:
    kept = Kept(budget=3 * (COUNTER_COST + 1) + 9 * (MESSAGE_COST + 100))
    before = {topic: kept.publish(topic) for topic in "ab"}
    for topic in "ab":
        kept.publish(topic, 2, size=100)
    large = kept.publish("a", size=100_000)
    assert kept.recover("a", before["a"]).reason == "trimmed"
    assert kept.recover("a", 300) == Recovery(large)
    assert kept.recover("a", large) == Recovery(large)
    assert len(kept.recover("b", before["b"]).replay) == 2
    kept.publish("a")
    assert len(kept.recover("a", large).replay) == 1
    assert kept.recover("a", before["a"]).reason == "trimmed"
    kept.publish("c", size=100_000)
    assert len(kept.recover("a", large).replay) == 1
    assert kept.history.size == kept.actual_size
    fits = kept.history.budget - 3 * (COUNTER_COST + 1) - MESSAGE_COST
    kept.publish("c", size=fits)
    assert len(kept.recover("c", 300).replay) == 1
    assert kept.recover("a", large).reason == kept.recover("b", before["b"]).reason == "trimmed"
    assert kept.history.size == kept.actual_size <= kept.history.budget


def test_counters_that_alone_are_over_the_budget_go_and_are_told() -> None:
    kept = Kept(budget=10 * COUNTER_COST)
    first = kept.publish("topic 0")
    for number in range(1, 50):
        kept.publish(f"topic {number}")
    assert kept.history.size <= 10 * COUNTER_COST
    assert kept.recover("topic 0", first).reason == "epoch"
    kept.publish("topic 0")
    assert kept.recover("topic 0", first).reason == "epoch"


def test_a_counter_outlives_its_messages_by_a_day() -> None:
    kept = Kept()
    position = kept.publish("a")
    kept.clock.now += DAY - 1
    kept.publish("other")
    assert kept.recover("a", position) == Recovery(position)
    kept = Kept()
    position = kept.publish("a")
    for _ in range(3):
        kept.clock.now += DAY
        kept.publish("other")
    assert "a" not in kept.history._rings
    assert kept.recover("a", position).reason == "epoch"


def test_a_counter_stays_while_somebody_who_has_asked_is_in_the_topic() -> None:
    kept = Kept()
    position = kept.publish("a")
    kept.recover("a", 0)
    for _ in range(5):
        kept.clock.now += DAY
        kept.publish("other")
    assert kept.recover("a", position) == Recovery(position)
    kept.history.emptied("a")
    for _ in range(5):
        kept.clock.now += DAY
        kept.publish("other")
    assert "a" not in kept.history._rings


def test_topics_that_nothing_was_published_to_take_no_memory() -> None:
    kept = Kept()
    positions = {f"topic {number}": kept.recover(f"topic {number}", 0).position for number in range(1000)}
    assert kept.history.size == 0
    for topic, position in positions.items():
        assert position is not None
        assert kept.recover(topic, position) == Recovery(position)
    first = positions["topic 5"]
    kept.publish("topic 5")
    assert first is not None
    assert len(kept.recover("topic 5", first).replay) == 1


def test_messages_that_nobody_reads_are_dropped_when_their_time_is_over() -> None:
    kept = Kept()
    for number in range(500):
        kept.publish(f"topic {number}")
    for _ in range(6):
        kept.clock.now += 60.0
        kept.publish("other")
    assert sum(len(ring.entries) for ring in kept.history._rings.values()) == 1


@pytest.mark.parametrize("budget", [3000, 1 << 20])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["publish", "recover", "key", "clear", "wait", "long"]),
            st.sampled_from("abcd"),
            st.integers(1, 400),
        ),
        max_size=60,
    )
)
def test_it_knows_what_it_takes(budget: int, steps: list[tuple[str, str, int]]) -> None:
    kept = Kept(budget)
    for step, topic, number in steps:
        if step == "publish":
            kept.publish(topic, 1 + number // 100, size=number)
        elif step == "recover":
            kept.recover(topic, 0)
        elif step == "key":
            if kept.history.known(topic, str(number)) is None:
                kept.history.remember(topic, str(number), None)
        elif step == "clear":
            kept.history.clear(topic)
        else:
            kept.clock.now += number * (1000 if step == "long" else 1)
        assert kept.history.size == kept.actual_size
        assert kept.history._full.keys() | kept.history._bare.keys() == kept.history._rings.keys()
        assert all(ring.entries for ring in kept.history._full.values())
        assert not any(ring.entries for ring in kept.history._bare.values())
        assert kept.history.messages == sum(len(ring.entries) for ring in kept.history._rings.values())
