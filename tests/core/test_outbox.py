from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.core.outbox import Outbox
from rr_py_ws.wire.push import encode_reply


def test_gives_back_in_order_what_was_put() -> None:
    outbox = Outbox(100)
    assert not outbox
    for pushes in (b"one", b"two", b"three"):
        assert outbox.put_pushes(pushes)
    assert outbox
    assert outbox.size == 11
    assert [outbox.get(1), outbox.get(1), outbox.get(1)] == [[b"one"], [b"two"], [b"three"]]
    assert not outbox
    assert outbox.size == 0


def test_gives_so_much_at_a_time() -> None:
    outbox = Outbox(100)
    for pushes in (b"one", b"two", b"three", b"four"):
        outbox.put_pushes(pushes)
    assert [outbox.get(4), outbox.get(100)] == [[b"one", b"two"], [b"three", b"four"]]


def test_pushes_are_not_copied() -> None:
    """A thousand receivers may wait for the same bytes."""
    pushes = b"x" * 1000
    outbox = Outbox(10_000)
    outbox.put(b"a reply")
    outbox.put_pushes(pushes)
    assert outbox.get(10_000)[1] is pushes


def test_the_limit_may_be_reached_and_not_exceeded() -> None:
    outbox = Outbox(10)
    assert outbox.put_pushes(b"x" * 6)
    assert outbox.put(b"x" * 4)
    assert not outbox.put(b"x")
    assert not outbox.put_pushes(b"x")


def test_what_is_not_taken_changes_nothing() -> None:
    outbox = Outbox(10)
    outbox.put_pushes(b"first")
    assert not outbox.put_pushes(b"too much")
    assert outbox.size == 5
    assert outbox.put(b"small")
    assert outbox.get(10) == [b"first", b"small"]


def test_an_empty_queue_takes_a_message_above_the_limit() -> None:
    """Otherwise a payload larger than the limit could never be delivered to a receiver that pauses once."""
    outbox = Outbox(10)
    assert outbox.put_pushes(b"x" * 1000)
    assert not outbox.put(b"")
    assert outbox.get(1) == [b"x" * 1000]
    assert outbox.put_pushes(b"y" * 1000)


def test_clear_makes_room() -> None:
    outbox = Outbox(10)
    outbox.put(b"x" * 5)
    outbox.put_pushes(b"x" * 5)
    outbox.clear()
    assert not outbox
    assert outbox.size == 0
    assert outbox.put(b"y" * 10)


def test_nothing_can_be_taken_from_an_empty_queue() -> None:
    with pytest.raises(IndexError):
        Outbox(10).get(1)


def gap(*topics: str) -> bytes:
    return encode_reply("#gap", topics, id="")


def topics_of(pushes: bytes) -> Sequence[str]:
    """In these tests a push is its topic, of one character."""
    return pushes.decode()


def test_the_oldest_pushes_make_room_and_a_message_stands_in_their_place() -> None:
    outbox = Outbox(14, topics_of)  # 11 bytes wait, and three topics
    for pushes in (b"aaba", b"caaa", b"dddd", b"eeee", b"fff"):
        assert outbox.put_pushes(pushes)
    assert outbox.get(100) == [gap("a", "b", "c"), b"dddd", b"eeee", b"fff"]
    assert not outbox
    assert outbox.size == 0


def test_who_is_told_nothing_finds_nothing_in_their_place() -> None:
    outbox = Outbox(8, lambda pushes: ())
    for pushes in (b"aaaa", b"bbbb", b"cccc"):
        outbox.put_pushes(pushes)
    assert outbox.get(100) == [b"bbbb", b"cccc"]


def test_replies_stay_where_they_are_when_pushes_around_them_are_dropped() -> None:
    outbox = Outbox(60, topics_of)
    outbox.put_pushes(b"a" * 10)
    outbox.put(b"[one]")
    outbox.put_pushes(b"b" * 10)
    outbox.put(b"[two]")
    outbox.put_pushes(b"c" * 10)
    outbox.put_pushes(b"d" * 50)
    assert b"".join(outbox.get(1000)) == gap("a") + b"[one]" + gap("b") + b"[two]" + gap("c") + b"d" * 50


def test_a_reply_makes_room_too_and_is_refused_when_only_replies_are_left() -> None:
    outbox = Outbox(100, topics_of)
    outbox.put_pushes(b"a" * 90)
    assert outbox.put(b"x" * 50)
    assert not outbox.put(b"y" * 50)
    assert outbox.get(1000) == [gap("a") + b"x" * 50]


def test_pushes_that_find_only_replies_are_taken_whatever_their_size() -> None:
    """There is nothing to drop, and the next ones drop these."""
    outbox = Outbox(10, topics_of)
    outbox.put(b"x" * 10)
    assert outbox.put_pushes(b"a" * 50)
    assert outbox.put_pushes(b"b" * 50)
    assert outbox.get(1000) == [b"x" * 10, gap("a"), b"b" * 50]


class Model:
    """The same in the simplest way: a list of all that waits; what is dropped leaves its topics there."""

    def __init__(self, limit: int, *, drop: bool) -> None:
        self.items: list[tuple[str, bytes]] = []
        self._limit = limit
        self._drop = drop

    def size(self) -> int:
        return sum(len(set(data)) if kind == "gap" else len(data) for kind, data in self.items)

    def put(self, kind: str, data: bytes) -> bool:
        while self.items and self.size() + len(data) > self._limit:
            pushes = [index for index, (kind, _) in enumerate(self.items) if kind == "push"]
            if not self._drop or not pushes:
                if self._drop and kind == "push":
                    break
                return False
            self._replace_by_gap(pushes[0])
        self.items.append((kind, data))
        self._end_gaps()
        return True

    def _replace_by_gap(self, index: int) -> None:
        lost = self.items.pop(index)[1]
        if index and self.items[index - 1][0] == "gap":
            index -= 1
            lost = self.items.pop(index)[1] + lost
        self.items.insert(index, ("gap", lost))
        self._end_gaps()

    def _end_gaps(self) -> None:
        """A gap before a reply cannot grow any more."""
        for index in range(len(self.items) - 1):
            if self.items[index][0] == "gap" and self.items[index + 1][0] == "reply":
                self.items[index] = ("reply", self.told(self.items[index][1]))

    @staticmethod
    def told(lost: bytes) -> bytes:
        return gap(*dict.fromkeys(lost.decode()))

    def all(self) -> bytes:
        return b"".join(self.told(data) if kind == "gap" else data for kind, data in self.items)


frames = st.text("abcd", min_size=1, max_size=20).map(str.encode)
steps = st.lists(st.tuples(st.sampled_from(["push", "reply"]), frames) | st.just(None), max_size=40)


@given(st.integers(0, 120), st.booleans(), steps)
def test_is_a_bounded_queue(limit: int, drop: bool, steps: list[tuple[str, bytes] | None]) -> None:
    """Against the model; None takes everything out."""
    outbox = Outbox(limit, topics_of if drop else None)
    model = Model(limit, drop=drop)
    for step in steps:
        if step is not None:
            kind, data = step
            put = outbox.put_pushes if kind == "push" else outbox.put
            assert put(data) is model.put(kind, data)
        elif outbox:
            assert b"".join(outbox.get(1 << 20)) == model.all()
            model.items.clear()
        assert outbox.size == model.size()
        assert bool(outbox) is bool(model.items)
    if outbox:
        assert b"".join(outbox.get(1 << 20)) == model.all()
    assert not outbox
