"""Who is free, and who waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from rr_py_ws.adapters.php.worker import Worker
from rr_py_ws.errors import NoFreeWorkers


class FreeWorkers:
    """Free workers and waiting requests, both in order of arrival; one of the two is always empty.

    Args:
        dismiss: gets each worker that is put back after it was retired.
    """

    def __init__(self, dismiss: Callable[[Worker], None]) -> None:
        self._dismiss = dismiss
        self._free: deque[Worker] = deque()
        self._waiting: dict[asyncio.Future[Worker], None] = {}
        self._closed = ""

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    async def take(self, timeout: float) -> Worker:
        """Take a worker; the request that came first gets the first one that is free.

        Cancelling this loses no worker.

        Args:
            timeout: seconds to wait for one.

        Raises:
            NoFreeWorkers: none became free in time, or there will be none any more.
        """
        if self._closed:
            raise NoFreeWorkers(self._closed)
        if self._free:
            return self._free.popleft()
        waiter: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
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
            self._waiting.pop(waiter, None)

    def _give_back(self, waiter: asyncio.Future[Worker]) -> None:
        """It may have come at the same moment as the end of the wait."""
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.put(waiter.result())

    def put(self, worker: Worker) -> None:
        """Give a worker to who waits longest, or keep it, unless it is gone."""
        if worker.gone.done():
            self._dismiss(worker)
            return
        while self._waiting:
            waiter = next(iter(self._waiting))
            del self._waiting[waiter]
            if not waiter.done():
                waiter.set_result(worker)
                return
        self._free.append(worker)

    def remove(self, worker: Worker) -> bool:
        """Keep this worker no longer.

        Returns:
            Whether it was here. One that is not will be put back.
        """
        if worker not in self._free:
            return False
        self._free.remove(worker)
        return True

    def close(self, reason: str) -> None:
        """Refuse who waits, and who comes."""
        self._closed = reason
        self._free.clear()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(NoFreeWorkers(reason))
        self._waiting.clear()
