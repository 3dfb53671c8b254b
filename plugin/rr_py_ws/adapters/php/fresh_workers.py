"""A worker of its own for each question, as `pool.debug` wants it: the code may have changed meanwhile."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from rr_py_ws.adapters.net.deadline import Deadline, timeout
from rr_py_ws.adapters.php.factory import STOPPING
from rr_py_ws.adapters.php.metrics import PoolMetrics
from rr_py_ws.adapters.php.question import Question
from rr_py_ws.adapters.php.worker import Worker
from rr_py_ws.errors import NoFreeWorkers, WorkerError, WorkerStartError


class FreshWorkers:
    """Starts a worker for a question, and ends it behind the answer.

    Args:
        start: starts a worker. Raises WorkerStartError.
        at_a_time: how many may run; other questions wait.
        stopping: whether no more may be started.
        refuse: answers a question that no worker has failed.
        counters: of the pool.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[Worker]],
        at_a_time: int,
        stopping: Callable[[], bool],
        refuse: Callable[[Question, WorkerError], None],
        counters: PoolMetrics,
    ) -> None:
        self._start = start
        self._permits = asyncio.Semaphore(at_a_time)
        self._stopping = stopping
        self._refuse = refuse
        self._counters = counters

    async def ask(self, question: Question) -> None:
        """Put a question to a worker of its own; returns when that has ended, however the question ends.

        Cancelling this kills the worker.
        """
        try:
            now = asyncio.get_running_loop().time()
            await self._take_permit(min(question.wait, max(0.0, question.ends - now)))
        except NoFreeWorkers as error:
            self._refuse(question, error)
            return
        # Given back here: the worker runs on when the caller of the question is gone.
        try:
            if question.answered:  # withdrawn meanwhile
                question.end()
            else:
                await self._ask_fresh_worker(question)
        finally:
            self._permits.release()

    async def _take_permit(self, wait: float) -> None:
        if self._stopping():
            raise NoFreeWorkers(STOPPING)
        try:
            async with timeout(wait):
                await self._permits.acquire()
        except TimeoutError:
            raise NoFreeWorkers(f"no worker could be started within {wait:g} s") from None

    async def _ask_fresh_worker(self, question: Question) -> None:
        late = None
        if question.ends < math.inf:  # nobody else looks at the time while the worker starts
            late = Deadline(question.ends, lambda _: question.answer(TimeoutError()))
        try:
            worker = await self._start()
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            worker.on_ready = lambda _: ready.set_result(None)
            try:
                worker.ask(question)
                # Not for the answer: when its caller is gone it is cancelled, and the worker still works.
                await asyncio.wait([ready, worker.retired], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await worker.stop()
        except WorkerStartError as error:
            self._counters.count_failure(error)
            question.answer(error)
            question.end()
        finally:
            if late is not None:
                late.cancel()
