"""One place of a pool: there is always a worker in it, or one is on its way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.adapters.php.breaker import Breaker
from rr_py_ws.adapters.php.idle_workers import FreeWorkers
from rr_py_ws.adapters.php.stats import PoolStats
from rr_py_ws.adapters.php.worker import State, Worker
from rr_py_ws.errors import WorkerStartError
from rr_py_ws.logs import get_limited

log = get_limited("server")

MAX_PAUSE = 5.0
"""Seconds between two attempts to start a worker, at most."""


class Place:
    """Replaces its worker whenever that is gone: at once, and after growing pauses when it fails, for ever.

    Args:
        launch: starts a worker.
        free: gets the new workers.
        breaker: is told whether there is a worker.
        background: runs what waits here.
        stats: counts.
    """

    def __init__(
        self,
        launch: Callable[[], Awaitable[Worker]],
        free: FreeWorkers,
        breaker: Breaker,
        background: TaskSet,
        stats: PoolStats,
    ) -> None:
        self._launch = launch
        self._free = free
        self._breaker = breaker
        self._background = background
        self._stats = stats
        self._worker: Worker | None = None
        self._keeper: asyncio.Task[None] | None = None

    def fill(self, worker: Worker) -> Worker | None:
        """Put a worker here; returns the one that was here, which is the caller's now."""
        self.close()
        old, self._worker = self._worker, worker
        self._breaker.filled(self)
        self._free.put(worker)
        self._keeper = self._background.spawn(self._keep())
        return old

    def close(self) -> None:
        """Replace no more."""
        if self._keeper is not None:
            self._keeper.cancel()

    async def _keep(self) -> None:
        failures = 0
        while True:
            if self._worker is None:
                self._breaker.emptied(self, failures)
                await asyncio.sleep(pause(failures))
                try:
                    self._worker = await self._launch()
                except WorkerStartError as error:
                    failures += 1
                    self._stats.count_failure(error)
                    log.error("cannot replace a worker, will try again", reason=error)
                    continue
                self._breaker.filled(self)
                self._free.put(self._worker)
            worker = self._worker
            await asyncio.wait([worker.gone])
            self._worker = None
            self._stats.restarts += 1
            self._free.remove(worker)
            if worker.state is State.ERRORED:
                self._background.spawn(_mourn(worker))
            # One that dies without having been asked anything would be replaced in a fast endless loop.
            useful = worker.asked is not None or time.monotonic() - worker.started > MAX_PAUSE
            failed = worker.state is State.ERRORED and not useful
            failures = failures + 1 if failed else 0


async def _mourn(worker: Worker) -> None:
    reason = await worker.obituary()
    write = log.info if worker.ended_in_order else log.warning
    write("worker is replaced", pid=worker.pid, reason=reason)


def pause(failures: int) -> float:
    """Seconds before the next attempt to start a worker: none, then 0.1, doubling to `MAX_PAUSE`."""
    return min(MAX_PAUSE, 0.1 * 2 ** min(failures - 1, 10)) if failures else 0.0
