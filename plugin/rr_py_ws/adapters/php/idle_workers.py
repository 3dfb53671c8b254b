"""Who is free, and who waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum

from rr_py_ws.adapters.php.worker import Worker
from rr_py_ws.errors import NoFreeWorkers, WorkerError


class Lane(Enum):
    """Where a question waits. A free worker is given to the lanes in turn, so that none starves another.

    A handshake has little time, and may not wait behind thousands of joins.
    """

    HANDSHAKES = 0
    JOINS = 1


_Waiter = asyncio.Future[Worker]


class FreeWorkers:
    """Free workers and waiting questions, both in order of arrival; one of the two is always empty.

    Args:
        dismiss: gets each worker that is put back after it was retired.
    """

    def __init__(self, dismiss: Callable[[Worker], None]) -> None:
        self._dismiss = dismiss
        self._free: deque[Worker] = deque()
        self._lanes: dict[Lane, dict[_Waiter, None]] = {lane: {} for lane in Lane}
        self._turns = deque(Lane)
        self._closed = ""

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        return sum(map(len, self._lanes.values()))

    async def take(self, lane: Lane, timeout: float) -> Worker:
        """Take a worker; of a lane, the question that came first gets the first one that is free.

        Cancelling this loses no worker.

        Args:
            lane: where to wait.
            timeout: seconds to wait for one.

        Raises:
            NoFreeWorkers: none became free in time, or there will be none any more.
            WorkerError: the kind that `refuse` was called with.
        """
        if self._closed:
            raise NoFreeWorkers(self._closed)
        if self._free:
            return self._free.popleft()
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        self._lanes[lane][waiter] = None
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            self._give_back(waiter)
            raise NoFreeWorkers(f"no worker became free within {timeout:g} s") from None
        except asyncio.CancelledError:
            self._give_back(waiter)
            raise
        finally:
            self._lanes[lane].pop(waiter, None)

    def _give_back(self, waiter: _Waiter) -> None:
        """It may have come at the same moment as the end of the wait."""
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.put(waiter.result())

    def put(self, worker: Worker) -> None:
        """Give a worker to who waits longest in the lane whose turn it is, or keep it, unless it is gone."""
        if worker.gone.done():
            self._dismiss(worker)
            return
        for waiter in self._in_turn():
            if not waiter.done():
                waiter.set_result(worker)
                return
        self._free.append(worker)

    def _in_turn(self) -> Iterator[_Waiter]:
        """Take waiters out, of the lanes in turn."""
        while self.waiting:
            self._turns.rotate()
            lane = self._lanes[self._turns[0]]
            if lane:
                waiter = next(iter(lane))
                del lane[waiter]
                yield waiter

    def remove(self, worker: Worker) -> bool:
        """Keep this worker no longer.

        Returns:
            Whether it was here. One that is not will be put back.
        """
        if worker not in self._free:
            return False
        self._free.remove(worker)
        return True

    def refuse(self, kind: type[WorkerError], reason: str) -> None:
        """Refuse who waits."""
        for waiter in self._in_turn():
            if not waiter.done():
                waiter.set_exception(kind(reason))

    def close(self, reason: str) -> None:
        """Refuse who waits, and who comes."""
        self._closed = reason
        self._free.clear()
        self.refuse(NoFreeWorkers, reason)
