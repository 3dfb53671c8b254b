from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.domain.outbox import Outbox


def test_gives_back_in_order_what_was_put() -> None:
    outbox = Outbox(100)
    assert not outbox
    for frames in (b"one", b"two", b"three"):
        assert outbox.put(frames)
    assert outbox
    assert outbox.size == 11
    assert [outbox.get(), outbox.get(), outbox.get()] == [b"one", b"two", b"three"]
    assert not outbox
    assert outbox.size == 0


def test_the_limit_may_be_reached_and_not_exceeded() -> None:
    outbox = Outbox(10)
    assert outbox.put(b"x" * 6)
    assert outbox.put(b"x" * 4)
    assert not outbox.put(b"x")


def test_what_is_not_taken_changes_nothing() -> None:
    outbox = Outbox(10)
    outbox.put(b"first")
    assert not outbox.put(b"too much")
    assert outbox.size == 5
    assert outbox.put(b"small")
    assert [outbox.get(), outbox.get()] == [b"first", b"small"]


def test_an_empty_queue_takes_a_message_above_the_limit() -> None:
    """Otherwise a payload larger than the limit could never be delivered to a receiver that pauses once."""
    outbox = Outbox(10)
    assert outbox.put(b"x" * 1000)
    assert not outbox.put(b"")
    assert outbox.get() == b"x" * 1000
    assert outbox.put(b"y" * 1000)


def test_clear_makes_room() -> None:
    outbox = Outbox(10)
    outbox.put(b"x" * 10)
    outbox.clear()
    assert not outbox
    assert outbox.size == 0
    assert outbox.put(b"y" * 10)


def test_nothing_can_be_taken_from_an_empty_queue() -> None:
    with pytest.raises(IndexError):
        Outbox(10).get()


@given(st.integers(0, 30), st.lists(st.binary(max_size=20) | st.none(), max_size=40))
def test_is_a_bounded_queue(limit: int, steps: list[bytes | None]) -> None:
    """Against a plain deque; None takes something out."""
    outbox, model = Outbox(limit), deque[bytes]()
    for step in steps:
        if step is not None:
            fits = not model or sum(map(len, model)) + len(step) <= limit
            assert outbox.put(step) is fits
            if fits:
                model.append(step)
        elif model:
            assert outbox.get() == model.popleft()
        assert bool(outbox) is bool(model)
        assert outbox.size == sum(map(len, model))
        assert outbox.size <= limit or len(model) == 1
