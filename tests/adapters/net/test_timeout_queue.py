from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rr_py_ws.adapters.net.timeout_queue import TimeoutQueue
from support.loops import asyncio_loop


class Model(RuleBasedStateMachine):
    """A queue without a timer, and a list of items with the time at which each was added."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 10
        self.queue = TimeoutQueue[int](self.seconds)
        self.added: list[tuple[int, int]] = []
        self.now = 0
        self.next = 0

    @rule(later=st.integers(0, 15))
    def add(self, later: int) -> None:
        self.now += later
        self.queue.add(self.next, self.now)
        self.added.append((self.next, self.now))
        self.next += 1

    @precondition(lambda self: self.added)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.added))
        self.queue.pop(item[0], None)
        self.added.remove(item)

    @rule()
    def discard_what_is_not_there(self) -> None:
        self.queue.pop(-1, None)

    @rule(later=st.integers(0, 15))
    def take_due(self, later: int) -> None:
        self.now += later
        due = [item for item, since in self.added if since + self.seconds <= self.now]
        assert self.queue.take_due(self.now) == due
        self.added = [(item, since) for item, since in self.added if item not in due]

    @rule(seconds=st.integers(0, 20))
    def change(self, seconds: int) -> None:
        self.seconds = seconds
        self.queue.change(seconds)

    @invariant()
    def has_the_same_items(self) -> None:
        assert [(item, self.queue.since(item)) for item in self.queue] == self.added
        assert len(self.queue) == len(self.added)
        assert all(item in self.queue for item, _ in self.added)
        assert -1 not in self.queue


TestModel = Model.TestCase


async def test_items_are_announced_in_order_when_they_are_not_in_the_queue_any_more() -> None:
    loop = asyncio.get_running_loop()
    told: list[tuple[int, int]] = []
    done = asyncio.Event()

    def on_timeout(item: int) -> None:
        told.append((item, len(queue)))
        if len(told) == 3:
            done.set()

    queue = TimeoutQueue[int](0.01, on_timeout)
    now = loop.time()
    for item in range(4):
        queue.add(item, now)
    queue.pop(1, None)
    await done.wait()
    assert told == [(0, 0), (2, 0), (3, 0)]


async def test_a_callback_may_add_its_item_again() -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    times = 0

    def again(item: str) -> None:
        nonlocal times
        times += 1
        if times < 3:
            queue.add(item, loop.time())
        else:
            done.set()

    queue = TimeoutQueue[str](0.01, again)
    queue.add("a", loop.time())
    await done.wait()
    assert len(queue) == 0


async def test_an_item_that_is_added_while_another_waits_has_its_whole_time() -> None:
    loop = asyncio.get_running_loop()
    told: dict[str, float] = {}
    done = asyncio.Event()

    def on_timeout(item: str) -> None:
        told[item] = loop.time()
        if item == "late":
            done.set()

    queue = TimeoutQueue[str](0.05, on_timeout)
    queue.add("gone", loop.time())
    queue.pop("gone", None)  # its timer is still there, and fires too early for the other
    await asyncio.sleep(0.02)
    added = loop.time()
    queue.add("late", added)
    await done.wait()
    assert told.keys() == {"late"}
    assert told["late"] >= added + 0.05


@asyncio_loop
async def test_there_is_one_timer_and_none_after_a_stop() -> None:
    loop = asyncio.get_running_loop()
    queue = TimeoutQueue[int](60.0, lambda item: None)
    before = list(loop._scheduled)  # type: ignore[attr-defined]
    for item in range(1000):
        queue.add(item, loop.time())
    assert len(loop._scheduled) == len(before) + 1  # type: ignore[attr-defined]
    queue.stop()
    queue.stop()
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == before  # type: ignore[attr-defined]


async def test_another_time_counts_for_those_that_wait() -> None:
    gone = asyncio.Event()
    queue = TimeoutQueue[int](3600.0, lambda item: gone.set())
    queue.add(1, asyncio.get_running_loop().time())
    queue.change(0.01)
    await gone.wait()
    queue.change(3600.0)
    assert len(queue) == 0


@given(st.lists(st.integers(0, 5), max_size=20))
def test_without_a_callback_no_event_loop_is_needed(steps: list[int]) -> None:
    queue = TimeoutQueue[int](3)
    now = 0
    for number, step in enumerate(steps):
        now += step
        queue.add(number, now)
    assert queue.take_due(now + 3) == list(range(len(steps)))
    assert len(queue) == 0
