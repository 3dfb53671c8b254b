"""Replaces workers that are too old, too big or idle for too long (key `supervisor`).

The rules and their order are RoadRunner's (roadrunner-server/sdk pool/supervisor_pool.go @v2.19.0); the first
that applies counts. A worker that works finishes first. `exec_ttl` is not here: it is a deadline of each
question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from rr_py_ws.adapters.php.worker import State, Worker
from rr_py_ws.config import Supervisor
from rr_py_ws.logs import get_limited

log = get_limited("server")

_MEBIBYTE = 1024 * 1024


async def supervise(
    config: Supervisor, workers: Callable[[], Iterable[Worker]], retire: Callable[[Worker, State], None]
) -> None:
    """Look at every worker, once each `watch_tick`, for ever.

    Args:
        config: the limits.
        workers: returns the workers.
        retire: replaces one.
    """
    while True:
        await asyncio.sleep(config.watch_tick)
        for worker in workers():
            reason = broken_rule(config, worker, time.monotonic())
            if reason is not None:
                log.info("worker is replaced", pid=worker.pid, reason=reason)
                retire(worker, State.INVALID)


def broken_rule(config: Supervisor, worker: Worker, now: float) -> str | None:
    """Return the name of the first limit that a worker has reached.

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
