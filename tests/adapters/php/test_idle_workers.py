from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from rr_py_ws.adapters.php.idle_workers import FreeWorkers, Lane
from rr_py_ws.adapters.php.worker import Worker
from rr_py_ws.errors import NoFreeWorkers, WorkersDown
from support.php_pool import until


class Idle:
    """What the queue looks at in a worker."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()


@pytest.fixture
async def make() -> Callable[[], Worker]:
    return lambda: cast(Worker, Idle())


@pytest.fixture
def dismissed() -> list[Worker]:
    return []


@pytest.fixture
async def free(dismissed: list[Worker]) -> FreeWorkers:
    return FreeWorkers(dismissed.append)


async def take(free: FreeWorkers, lane: Lane = Lane.JOINS) -> asyncio.Task[Worker]:
    """Begin to wait."""
    waiting = free.waiting
    task = asyncio.ensure_future(free.take(lane, 60))
    await until(lambda: free.waiting > waiting)
    return task


async def test_workers_are_used_in_turn(free: FreeWorkers, make: Callable[[], Worker]) -> None:
    workers = [make() for _ in range(3)]
    for worker in workers:
        free.put(worker)
    assert [await free.take(Lane.JOINS, 60) for _ in workers] == workers


async def test_who_waits_longest_is_first(free: FreeWorkers, make: Callable[[], Worker]) -> None:
    waiting = [await take(free) for _ in range(3)]
    workers = [make() for _ in range(3)]
    for worker in workers:
        free.put(worker)
    assert await asyncio.gather(*waiting) == workers
    assert free.waiting == 0


async def test_a_wait_ends_and_loses_no_worker(free: FreeWorkers, make: Callable[[], Worker]) -> None:
    with pytest.raises(NoFreeWorkers, match=r"^no worker became free within 0\.01 s$"):
        await free.take(Lane.JOINS, 0.01)
    assert free.waiting == 0
    free.put(worker := make())
    assert await free.take(Lane.JOINS, 60) is worker


async def test_a_worker_that_comes_with_the_cancellation_goes_to_the_next(
    free: FreeWorkers, make: Callable[[], Worker]
) -> None:
    first, second = await take(free), await take(free)
    free.put(worker := make())
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second is worker


async def test_a_cancelled_wait_gets_no_worker(free: FreeWorkers, make: Callable[[], Worker]) -> None:
    first, second = await take(free), await take(free)
    first.cancel()
    free.put(worker := make())
    assert await second is worker
    assert first.cancelled()


async def test_a_retired_worker_is_dismissed_and_serves_nobody(
    free: FreeWorkers, make: Callable[[], Worker], dismissed: list[Worker]
) -> None:
    waiting = await take(free)
    retired = make()
    retired.gone.set_result(None)
    free.put(retired)
    assert dismissed == [retired]
    free.put(worker := make())
    assert await waiting is worker


async def test_removing_says_whether_the_worker_was_free(
    free: FreeWorkers, make: Callable[[], Worker]
) -> None:
    free.put(worker := make())
    assert free.remove(worker)
    assert not free.remove(worker)


async def test_closing_refuses_who_waits_and_who_comes(free: FreeWorkers) -> None:
    waiting: asyncio.Task[Any] = await take(free)
    free.close("no more")
    for refused in (waiting, free.take(Lane.JOINS, 60)):
        with pytest.raises(NoFreeWorkers, match="no more"):
            await refused


async def test_handshakes_and_joins_get_workers_in_turn(
    free: FreeWorkers, make: Callable[[], Worker]
) -> None:
    """However many joins came before them, handshakes get every other worker; and the other way round."""
    served: list[str] = []
    for kind, lane in [("join", Lane.JOINS)] * 6 + [("handshake", Lane.HANDSHAKES)] * 2:
        (await take(free, lane)).add_done_callback(lambda _, kind=kind: served.append(kind))  # type: ignore
    for _ in range(8):
        free.put(make())
    await until(lambda: len(served) == 8)
    assert sorted(served[:2]) == sorted(served[2:4]) == ["handshake", "join"]
    assert served[4:] == ["join"] * 4


async def test_who_waits_can_be_refused_and_who_comes_later_waits(
    free: FreeWorkers, make: Callable[[], Worker]
) -> None:
    refused = [await take(free, lane) for lane in (*Lane, *Lane)]
    cancelled = await take(free)
    cancelled.cancel()
    free.refuse(WorkersDown, "no hope")
    for waiting in refused:
        with pytest.raises(WorkersDown, match="no hope"):
            await waiting
    later = await take(free)
    free.put(worker := make())
    assert await later is worker


async def test_a_cancelled_wait_leaves_its_lane_at_once(free: FreeWorkers) -> None:
    waiting = [await take(free, lane) for lane in (*Lane, *Lane)]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert free.waiting == 0
