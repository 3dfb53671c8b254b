"""The hub of a core process: what each listener gets, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.forwarder import Forwarder
from rr_py_ws.wire.publication import Publication
from support.clock import Clock
from support.turns import Turns


class Receiver:
    """A listener."""

    def __init__(self) -> None:
        self.came: list[bytes | str] = []

    def forward(self, publications: Sequence[Publication]) -> None:
        self.came += [publication.payload for publication in publications]

    def missed(self, topics: Sequence[str]) -> None:
        self.came.append(f"missed: {','.join(topics)}")


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def hub(turns: Turns) -> Forwarder:
    return Forwarder(turns.schedule, None, "")


def test_each_gets_what_it_wants_in_order(hub: Forwarder, turns: Turns) -> None:
    one, other = Receiver(), Receiver()
    assert hub.subscribe(one, ["a", "b", "a"]) == ["a", "b"]
    assert hub.subscribe(other, ["b"]) == ["b"]
    for topic, payload in (("a", b"1"), ("b", b"2"), ("nobody's", b"3"), ("a", b"4")):
        hub.publish(Publication(topic, payload))
    assert one.came == [] and len(turns.scheduled) == 1
    turns.end()
    assert (one.came, other.came) == ([b"1", b"2", b"4"], [b"2"])
    hub.publish(Publication("b", b"5"))
    turns.end()
    assert (one.came[3:], other.came[1:]) == ([b"5"], [b"5"])


def test_what_was_published_before_is_not_for_who_comes_and_is_for_who_leaves(
    hub: Forwarder, turns: Turns
) -> None:
    one, other = Receiver(), Receiver()
    hub.subscribe(one, ["a"])
    hub.publish(Publication("a", b"1"))
    hub.subscribe(other, ["a"])
    assert hub.unsubscribe(one, ["a", "never joined"]) == []
    hub.publish(Publication("a", b"2"))
    turns.end()
    assert (one.came, other.came) == ([b"1"], [b"2"])
    assert "a" in hub
    assert hub.unsubscribe(other, ["a"]) == ["a"]
    assert "a" not in hub


def test_a_gap_is_told_behind_what_came_before_it(hub: Forwarder) -> None:
    one = Receiver()
    hub.subscribe(one, ["a", "b"])
    hub.publish(Publication("a", b"1"))
    hub.tell_missed(["a", "c"])
    assert one.came == [b"1", "missed: a"]


def test_who_is_gone_leaves_nothing(hub: Forwarder, turns: Turns) -> None:
    one, other = Receiver(), Receiver()
    hub.subscribe(one, ["a", "b"])
    hub.subscribe(other, ["b"])
    hub.publish(Publication("a", b"1"))
    assert sorted(hub.unsubscribe_all(one)) == ["a"]
    assert hub.unsubscribe_all(one) == []
    turns.end()
    assert one.came == []
    assert (hub.count_with(one, ["b"]), hub.count_with(other, ["b", "c"])) == (1, 2)


def test_publishers_are_paused_while_much_is_queued(turns: Turns) -> None:
    clock = Clock()
    paused: list[bool] = []
    backpressure = Backpressure(clock.call_later, clock.time, 11, lambda *_: None)
    backpressure.publishers.append(paused.append)
    hub = Forwarder(turns.schedule, backpressure, "")
    hub.subscribe(Receiver(), ["a"])
    hub.publish(Publication("a", b"x" * 10))
    assert paused == []
    hub.publish(Publication("a", b"x"))
    assert paused == [True]
    turns.end()
    clock.sleep(0)
    assert paused == [True, False]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.sampled_from("+-!.")), max_size=40))
def test_it_does_what_a_list_of_pairs_would_do(steps: list[tuple[int, str, str]]) -> None:
    turns = Turns()
    hub = Forwarder(turns.schedule, None, "")
    receivers = [Receiver() for _ in range(3)]
    wanted: list[list[bytes | str]] = [[], [], []]
    joined: set[tuple[int, str]] = set()
    for at, (number, topic, step) in enumerate(steps):
        if step == "+":
            hub.subscribe(receivers[number], [topic])
            joined.add((number, topic))
        elif step == "-":
            emptied = hub.unsubscribe(receivers[number], [topic])
            left = (number, topic) in joined
            joined.discard((number, topic))
            assert emptied == ([topic] if left and not any(one == topic for _, one in joined) else [])
        elif step == "!":
            hub.publish(Publication(topic, b"%d" % at))
            for other in range(3):
                if (other, topic) in joined:
                    wanted[other].append(b"%d" % at)
        else:
            turns.end()
    turns.end()
    assert [receiver.came for receiver in receivers] == wanted
