from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.adapters.ws.send_queue import OnDrop, SendQueue
from rr_py_ws.wire.publication import Pushes
from rr_py_ws.wire.push import STRING


def pushes(frames: bytes) -> Pushes:
    """In these tests a push is the name of its topic, of one character."""
    return Pushes(frames, [(topic, 1) for topic in frames.decode()])


def queue(limit: int, on_drop: OnDrop | None = None, ceiling: int = 0) -> SendQueue:
    return SendQueue(limit, ceiling or limit, encode_gap, on_drop)


def encode_gap(topics: Sequence[str]) -> bytes:
    return STRING.reply("#gap", topics, id="")


def gap(*topics: str) -> bytes:
    return encode_gap(topics)


def drop(dropped: Pushes) -> None:
    """Nobody counts."""


def test_gives_back_in_order_what_was_put() -> None:
    waiting = queue(100)
    assert not waiting
    for frames in (b"one", b"two", b"three"):
        assert waiting.put_pushes(pushes(frames))
    assert waiting
    assert waiting.size == 11
    assert [waiting.get(3), waiting.get(3), waiting.get(5)] == [[b"one"], [b"two"], [b"three"]]
    assert not waiting
    assert waiting.size == 0


def test_gives_so_much_at_a_time() -> None:
    waiting = queue(100)
    for frames in (b"one", b"two", b"three", b"four"):
        waiting.put_pushes(pushes(frames))
    assert [waiting.get(6), waiting.get(100)] == [[b"one", b"two"], [b"three", b"four"]]


def test_what_is_larger_leaves_in_parts_of_the_same_bytes() -> None:
    """A transport copies or encrypts what it is given, for each of a thousand receivers."""
    frames = b"0123456789"
    waiting = queue(100)
    waiting.put(b"a reply")
    waiting.put_pushes(pushes(frames))
    waiting.put(b"another")
    parts = [part for _ in range(6) for part in waiting.get(4)]
    assert parts == [b"a re", b"ply", b"0", b"1234", b"5678", b"9", b"ano", b"ther"]
    assert all(part.obj is frames for part in parts[2:6] if isinstance(part, memoryview))
    assert not waiting


def test_what_was_begun_leaves_first_is_not_counted_and_never_dropped() -> None:
    """Half a message cannot be taken back, and a message may be larger than the queue."""
    for on_drop in (None, drop):
        waiting = queue(10, on_drop)
        waiting.begin(memoryview(b"the rest of a large message"))
        assert waiting
        assert waiting.size == 0
        assert waiting.put_pushes(pushes(b"x" * 50))
        waiting.clear()
        assert waiting.put(b"close", force=True)
        assert b"".join(waiting.get(100)) == b"the rest of a large messageclose"


def test_pushes_are_not_copied() -> None:
    """A thousand receivers may wait for the same bytes."""
    frames = b"x" * 1000
    waiting = queue(10_000)
    waiting.put(b"a reply")
    waiting.put_pushes(pushes(frames))
    assert waiting.get(10_000)[1] is frames


def test_the_limit_may_be_reached_and_then_nothing_is_taken() -> None:
    waiting = queue(10)
    assert waiting.put_pushes(pushes(b"x" * 6))
    assert waiting.put(b"x" * 4)
    assert not waiting.put(b"x")
    assert not waiting.put_pushes(pushes(b"x"))
    assert waiting.size == 10
    assert waiting.get(10) == [b"x" * 6, b"x" * 4]


@pytest.mark.parametrize("before", ["", "x", "x" * 9])
def test_a_queue_that_is_not_full_takes_a_message_of_any_size(before: str) -> None:
    """Point 9.6: a single message is never a reason, whether it finds the queue empty or not."""
    waiting = queue(10)
    if before:
        assert waiting.put_pushes(pushes(before.encode()))
    assert waiting.put_pushes(pushes(b"y" * 1000))
    assert waiting.is_over
    assert not waiting.put_pushes(pushes(b"z"))
    assert b"".join(waiting.get(2000)) == before.encode() + b"y" * 1000
    assert waiting.put_pushes(pushes(b"z" * 1000))


def test_up_to_the_ceiling_may_wait_until_the_time_of_grace_is_over() -> None:
    """Point 9.6: three messages of 700 kB, one after another, were too much for a queue of 1 MiB."""
    waiting = queue(10, ceiling=30)
    assert [waiting.put_pushes(pushes(b"1234567")) for _ in range(6)] == [True] * 5 + [False]
    assert waiting.is_over
    waiting.get(28)
    assert (waiting.taken, waiting.is_over) == (28, False)
    assert not waiting.end_grace()
    assert waiting.put_pushes(pushes(b"12345678901"))
    assert not waiting.put_pushes(pushes(b"x"))


def test_answers_have_the_limit_and_no_grace() -> None:
    """Who does not read its own answers asks for them all the same: they belong to nobody else."""
    waiting = queue(10, ceiling=1000)
    waiting.put_pushes(pushes(b"x" * 100))
    assert waiting.put(b"y" * 10)
    assert not waiting.put(b"z")
    assert waiting.put_pushes(pushes(b"x" * 100))
    waiting.get(110)
    assert waiting.put(b"z" * 10)


def test_the_end_of_grace_drops_what_is_over_the_limit() -> None:
    waiting = queue(10, drop, ceiling=1000)
    for frames in (b"aaaa", b"bbbb", b"cccc", b"dddd"):
        waiting.put_pushes(pushes(frames))
    assert waiting.end_grace()
    assert waiting.get(100) == [gap("a", "b", "c"), b"dddd"]


def test_clear_makes_room() -> None:
    waiting = queue(10)
    waiting.put(b"x" * 5)
    waiting.put_pushes(pushes(b"x" * 5))
    waiting.clear()
    assert not waiting
    assert waiting.size == 0
    assert waiting.put(b"y" * 10)


def test_nothing_can_be_taken_from_an_empty_queue() -> None:
    assert queue(10).get(1) == []


@pytest.mark.parametrize("on_drop", [None, drop])
def test_a_close_frame_is_queued_whatever_waits(on_drop: OnDrop | None) -> None:
    """Without room for it the client got no close code, and was cut ten seconds later."""
    waiting = queue(10, on_drop)
    waiting.put(b"reply" * 2)
    assert not waiting.put(b"ping")
    assert waiting.put(b"close", force=True)
    assert waiting.get(100) == [b"replyreplyclose"]


def test_the_oldest_pushes_make_room_and_a_message_stands_in_their_place() -> None:
    waiting = queue(12, drop)  # 8 bytes wait, and three topics
    for frames in (b"aaba", b"caaa", b"dddd", b"eeee", b"fff"):
        assert waiting.put_pushes(pushes(frames))
    assert waiting.get(100) == [gap("a", "b", "c"), b"dddd", b"eeee", b"fff"]
    assert not waiting
    assert waiting.size == 0


def test_replies_stay_where_they_are_when_pushes_around_them_are_dropped() -> None:
    waiting = queue(40, drop)
    waiting.put_pushes(pushes(b"a" * 10))
    waiting.put(b"[one]")
    waiting.put_pushes(pushes(b"b" * 10))
    waiting.put(b"[two]")
    waiting.put_pushes(pushes(b"c" * 10))
    waiting.put_pushes(pushes(b"d" * 50))
    waiting.put_pushes(pushes(b"e"))
    told = gap("a") + b"[one]" + gap("b") + b"[two]" + gap("c", "d")
    assert b"".join(waiting.get(1000)) == told + b"e"


def test_a_reply_makes_room_too_and_is_refused_when_only_replies_are_left() -> None:
    waiting = queue(100, drop)
    waiting.put_pushes(pushes(b"a" * 100))
    assert waiting.put(b"x" * 60)
    assert not waiting.put(b"y")
    assert waiting.get(1000) == [gap("a") + b"x" * 60]


def test_pushes_that_find_only_replies_are_taken_whatever_their_size() -> None:
    """There is nothing to drop, and the next ones drop these."""
    waiting = queue(10, drop)
    waiting.put(b"x" * 10)
    assert waiting.put_pushes(pushes(b"a" * 50))
    assert waiting.put_pushes(pushes(b"b" * 50))
    assert waiting.get(1000) == [b"x" * 10, gap("a"), b"b" * 50]


class Model:
    """The same in the simplest way: a list of all that waits; what is dropped leaves its topics there."""

    def __init__(self, limit: int, ceiling: int, *, drop: bool) -> None:
        self.items: list[tuple[str, bytes]] = []
        self._limit = limit
        self._ceiling = ceiling
        self._drop = drop

    def size(self) -> int:
        return sum(len(set(data)) if kind == "gap" else len(data) for kind, data in self.items)

    def put(self, kind: str, data: bytes) -> bool:
        answers = sum(len(data) for kind, data in self.items if kind == "reply")
        if kind == "reply" and answers >= self._limit:
            return False
        if not self._make_room() and not (self._drop and kind == "push"):
            return False
        self.items.append((kind, data))
        self._end_gaps()
        return True

    def end_grace(self) -> bool:
        self._ceiling = self._limit
        self._make_room()
        return self._drop

    def _make_room(self) -> bool:
        while self.size() >= self._ceiling:
            pushes = [index for index, (kind, _) in enumerate(self.items) if kind == "push"]
            if not self._drop or not pushes:
                return False
            self._replace_by_gap(pushes[0])
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
steps = st.lists(
    st.tuples(st.sampled_from(["push", "push", "reply", "reply", "end of grace"]), frames) | st.just(None),
    max_size=40,
)


@given(st.integers(1, 120), st.integers(1, 4), st.booleans(), steps)
def test_is_a_bounded_queue(
    limit: int, burst: int, drops: bool, steps: list[tuple[str, bytes] | None]
) -> None:
    """Against the model; None takes everything out."""
    waiting = queue(limit, drop if drops else None, limit * burst)
    model = Model(limit, limit * burst, drop=drops)
    for step in steps:
        if step is not None and step[0] == "end of grace":
            assert waiting.end_grace() is model.end_grace()
        elif step is not None:
            kind, data = step
            taken = waiting.put_pushes(pushes(data)) if kind == "push" else waiting.put(data)
            assert taken is model.put(kind, data)
        elif waiting:
            assert b"".join(waiting.get(1 << 20)) == model.all()
            model.items.clear()
        assert waiting.size == model.size()
        assert bool(waiting) is bool(model.items)
        assert waiting.is_over is (waiting.size > limit)
    if waiting:
        assert b"".join(waiting.get(1 << 20)) == model.all()
    assert not waiting
