"""What replaces workers: the slots of a pool, and the limits of a worker's life (key `supervisor`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.adapters.php.breaker import Breaker
from rr_py_ws.adapters.php.idle_workers import IdleWorkers
from rr_py_ws.adapters.php.metrics import PoolMetrics
from rr_py_ws.adapters.php.worker import State, Worker
from rr_py_ws.config import Supervisor
from rr_py_ws.core.backoff import Backoff
from rr_py_ws.errors import WorkerStartError
from rr_py_ws.logs import get_limited

log = get_limited("server")

FIRST_PAUSE = 0.1
"""Seconds between the first attempt to start a worker, which is made at once, and the second, at most."""
LONGEST_PAUSE = 5.0
"""Seconds between two attempts, at most."""

_SHORTEST_TICK = 0.01
"""Seconds between two looks at all workers, at least: `watch_tick: 1ns` would take a core."""
_MEBIBYTE = 1024 * 1024


class WorkerSlot:
    """Keeps one worker of a pool: replaces it whenever it is gone, for ever.

    At once the first time, and after growing pauses when that fails.

    Args:
        start: starts a worker.
        idle: gets the new workers.
        breaker: is told whether there is a worker.
        tasks: runs what waits here.
        counters: counts.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[Worker]],
        idle: IdleWorkers,
        breaker: Breaker,
        tasks: TaskSet,
        counters: PoolMetrics,
    ) -> None:
        self._start = start
        self._idle = idle
        self._breaker = breaker
        self._tasks = tasks
        self._counters = counters
        self._worker: Worker | None = None
        self._keeper: asyncio.Task[None] | None = None

    def fill(self, worker: Worker) -> Worker | None:
        """Put a worker here; returns the one that was here, which is the caller's now."""
        # The keeper of the old worker would replace it as well.
        self.close()
        old, self._worker = self._worker, worker
        self._breaker.filled(self)
        self._idle.add(worker)
        self._keeper = self._tasks.spawn(self._keep())
        return old

    def close(self) -> None:
        """Replace no more."""
        if self._keeper is not None:
            self._keeper.cancel()

    async def _keep(self) -> None:
        failures = 0
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            if self._worker is None:
                # Also before the first attempt: the breaker counts the slots without a worker.
                self._breaker.emptied(self, failures)
                if failures:
                    # A broken deployment must not take a CPU for its endless starts.
                    await asyncio.sleep(backoff.next_pause())
                try:
                    self._worker = await self._start()
                except WorkerStartError as error:
                    failures += 1
                    self._counters.count_failure(error)
                    log.error("cannot replace a worker, will try again", reason=error)
                    continue
                self._breaker.filled(self)
                self._idle.add(self._worker)
            worker = self._worker
            await asyncio.wait([worker.retired])
            self._worker = None
            self._counters.restarts += 1
            self._idle.remove(worker)
            if worker.state is State.ERRORED:
                self._tasks.spawn(_log_exit(worker))
            # One that dies without having been asked anything would be replaced in a fast endless loop.
            useful = worker.asked is not None or time.monotonic() - worker.started > LONGEST_PAUSE
            if worker.state is State.ERRORED and not useful:
                failures += 1
            else:
                failures = 0
                backoff.reset()


async def _log_exit(worker: Worker) -> None:
    reason = await worker.exit_reason()
    write = log.info if worker.ended_in_order else log.warning
    write("worker is replaced", pid=worker.pid, reason=reason)


async def supervise(
    config: Supervisor, workers: Callable[[], Iterable[Worker]], retire: Callable[[Worker, State], None]
) -> None:
    """Look at every worker, once each `watch_tick`, for ever; one that works finishes first.

    Args:
        config: the limits. `exec_ttl` is none of those here: it is a deadline of each question.
        workers: returns the workers.
        retire: replaces one.
    """
    while True:
        await asyncio.sleep(max(_SHORTEST_TICK, config.watch_tick))
        for worker in workers():
            reason = broken_rule(config, worker, time.monotonic())
            if reason is not None:
                log.info("worker is replaced", pid=worker.pid, reason=reason)
                retire(worker, State.INVALID)


def broken_rule(config: Supervisor, worker: Worker, now: float) -> str | None:
    """Return the name of the first limit that a worker has reached.

    The rules and their order are RoadRunner's (roadrunner-server/sdk pool/supervisor_pool.go @v2.19.0).

    Args:
        config: the limits; 0 is no limit.
        worker: one that is not ready or working has reached none.
        now: monotonic seconds.
    """
    if worker.state not in (State.READY, State.WORKING):
        return None
    if config.ttl and now - worker.started >= config.ttl:
        return "ttl"
    if config.max_worker_memory and worker.memory() >= config.max_worker_memory * _MEBIBYTE:
        return "max_worker_memory"
    # Never asked is not idle; the time counts from the start of the last question.
    if config.idle_ttl and worker.state is State.READY and worker.asked is not None:
        return "idle_ttl" if now - worker.asked >= config.idle_ttl else None
    return None
