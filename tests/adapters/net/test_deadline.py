"""After a standstill nobody is given up before what is in the sockets was read."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rr_py_ws.adapters.net import deadline
from rr_py_ws.adapters.net.deadline import Deadline
from rr_py_ws.adapters.net.timeout_queue import TimeoutQueue
from support.loops import both_loops
from support.standstill import stand_still

pytestmark = both_loops

LIMIT = 0.02
MOMENT = 0.2


@pytest.fixture(autouse=True)
def _moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time enough for a read on a busy machine, before the second look."""
    monkeypatch.setattr(deadline, "MOMENT", MOMENT)


@contextmanager
def readable(read: Callable[[], object]) -> Iterator[socket.socket]:
    """The other end of a socket that the event loop reads."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        asyncio.get_running_loop().add_reader(near, lambda: read() if near.recv(100) else None)
        yield far
        asyncio.get_running_loop().remove_reader(near)


async def test_what_arrived_during_a_standstill_is_read_before_the_owner_looks() -> None:
    loop = asyncio.get_running_loop()
    events: list[str] = []
    done = asyncio.Event()

    def late(now: float) -> None:
        events.append("late")
        done.set()

    with readable(lambda: events.append("read")) as peer:
        Deadline(loop.time() + LIMIT, late)
        await stand_still(2 * LIMIT, lambda: peer.send(b"in time"))
        await done.wait()
    assert events == ["read", "late"]


async def test_a_standstill_of_the_timers_themselves_is_one_too() -> None:
    """Whoever sets a timer lets uvloop's clock go on, so that others may fire before a socket is read."""
    loop = asyncio.get_running_loop()
    events: list[str] = []
    done = asyncio.Event()

    def busy() -> None:
        time.sleep(1.2 * MOMENT)
        loop.call_later(60, print).cancel()

    def late(now: float) -> None:
        events.append("late")
        done.set()

    with readable(lambda: events.append("read")) as peer:
        loop.call_later(LIMIT, busy)
        Deadline(loop.time() + LIMIT, late)
        loop.call_later(LIMIT, busy)
        await stand_still(2 * LIMIT, lambda: peer.send(b"in time"))
        await done.wait()
    assert events == ["read", "late"]


async def test_an_item_whose_answer_is_in_the_socket_is_not_given_up_and_a_silent_one_is() -> None:
    given_up: list[str] = []
    done = asyncio.Event()

    def give_up(item: str) -> None:
        given_up.append(item)
        done.set()

    queue = TimeoutQueue[str](LIMIT, give_up)
    with readable(lambda: queue.pop("in time", None)) as peer:
        now = asyncio.get_running_loop().time()
        queue.add("in time", now)
        queue.add("silent", now)
        await stand_still(2 * LIMIT, lambda: peer.send(b"x"))
        await done.wait()
    assert given_up == ["silent"]
    queue.stop()


async def test_what_comes_due_between_the_looks_has_its_own_second_look() -> None:
    loop = asyncio.get_running_loop()
    told: list[float] = []
    done = asyncio.Event()
    begin = loop.time()

    def on_expired(now: float) -> None:
        told.append(now)
        done.set()

    Deadline(begin, on_expired)
    await done.wait()
    # uvloop's clock has milliseconds.
    assert begin <= told[0] <= loop.time() - MOMENT + 0.001


async def test_a_cancelled_deadline_calls_nobody_and_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "MOMENT", 0.0)

    class Owner:
        def __init__(self) -> None:
            self.limit = Deadline(asyncio.get_running_loop().time(), lambda _: self.fail())

        def fail(self) -> None:
            raise AssertionError

    gc.collect()
    gc.disable()
    try:
        for turns in range(3):  # before the first look, between the looks
            owner = Owner()
            for _ in range(turns):
                await asyncio.sleep(0)
            owner.limit.cancel()
            owner.limit.cancel()
            reference = weakref.ref(owner)
            del owner
            assert reference() is None
    finally:
        gc.enable()


async def test_a_timeout_does_not_end_what_is_answered_at_the_second_look() -> None:
    answered = asyncio.get_running_loop().create_future()
    with readable(lambda: answered.set_result("in time")) as peer:

        async def wait() -> str:
            async with deadline.timeout(LIMIT):
                return str(await answered)

        waiting = asyncio.create_task(wait())
        await stand_still(2 * LIMIT, lambda: peer.send(b"x"))
        assert await waiting == "in time"


async def test_a_timeout_ends_what_is_not() -> None:
    with pytest.raises(TimeoutError):
        async with deadline.timeout(LIMIT):
            await asyncio.get_running_loop().create_future()
    async with deadline.timeout(None):
        await asyncio.sleep(0)


async def test_deadlines_that_are_cancelled_take_no_memory_until_their_time() -> None:
    loop = asyncio.get_running_loop()
    kept = Deadline(loop.time() + 60, print)
    gone = [Deadline(loop.time() + 30, print) for _ in range(1000)]
    for one in gone:
        one.cancel()
    del one, gone
    assert sum(type(found) is Deadline for found in gc.get_objects()) < 500
    kept.cancel()


async def test_of_many_deadlines_each_has_its_own_time() -> None:
    loop = asyncio.get_running_loop()
    told: list[int] = []
    done = asyncio.Event()
    begun = loop.time()
    for number in (3, 1, 2):
        Deadline(begun + number * LIMIT, lambda _, number=number: told.append(number))  # type: ignore[misc]
    Deadline(begun + LIMIT / 2, print).cancel()
    Deadline(begun + 4 * LIMIT, lambda _: done.set())
    await done.wait()
    assert told == [1, 2, 3]
