"""A fixed number of workers, each replaced when it is gone.

Nothing that a worker does ends the pool: another is started, at once the first time, then after growing
pauses, for ever. Questions wait meanwhile, as long as `allocate_timeout` says; when there is no hope, they
are refused at once (see `breaker`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial

from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.adapters.php.breaker import Breaker
from rr_py_ws.adapters.php.factory import WorkerFactory
from rr_py_ws.adapters.php.idle_workers import FreeWorkers, Lane
from rr_py_ws.adapters.php.launcher import STOPPING, Launcher
from rr_py_ws.adapters.php.slot import Place
from rr_py_ws.adapters.php.stats import PoolStats
from rr_py_ws.adapters.php.supervisor import supervise
from rr_py_ws.adapters.php.worker import STOP_GRACE, State, Worker
from rr_py_ws.config import Pool
from rr_py_ws.core.ports import WorkerState
from rr_py_ws.errors import (
    ExecTimeout,
    NoFreeWorkers,
    SoftJobError,
    WorkerError,
    WorkersDown,
    WorkerStartError,
)
from rr_py_ws.metrics import Sample, gauge
from rr_py_ws.wire.worker import Message

MAX_TRIES = 3
"""How many workers are asked one question when they answer "restart me"; RoadRunner has no bound."""
_Answered = asyncio.Future[Message | WorkerError]
"""What a question came to; cancelled when nobody wants to know any more."""


class WorkerPool:
    """Asks free workers, in the order of arrival of the questions in each lane.

    Args:
        factory: starts the workers; it is opened and closed with the pool.
        config: the `pool` section. With `debug` each question gets a fresh worker, and at most `num_workers`
            of them run at a time.
    """

    def __init__(self, factory: WorkerFactory, config: Pool) -> None:
        self.stats = PoolStats()
        self._factory = factory
        self._config = config
        self._exec_ttl = config.supervisor.exec_ttl if config.supervisor else 0.0
        self._free = FreeWorkers(self._dismiss)
        self._size = 0 if config.debug else config.num_workers
        self._breaker = Breaker(self._size, config.num_workers, self._free.refuse)
        self._fresh = asyncio.Semaphore(config.num_workers)
        self._places: list[Place] = []
        self._background = TaskSet("php")
        self._launcher = Launcher(factory, config.allocate_timeout, self._background)
        self._resetting = asyncio.Lock()
        self._resets = 0
        self._last_reset = 0
        self._supervision: asyncio.Task[None] | None = None

    @property
    def allocate_timeout(self) -> float:
        """Seconds, at most, that a question waits for a free worker."""
        return self._config.allocate_timeout

    @property
    def waiting(self) -> int:
        """How many questions wait for a worker."""
        return self._free.waiting

    @property
    def alive(self) -> bool:
        """Whether there is a worker, or would be one for a question."""
        if self._config.debug:
            return not self._launcher.stopping
        return self._launcher.alive

    @property
    def ready(self) -> bool:
        """Whether a question would be put to a worker, now or when one is free."""
        return self.alive and not self._breaker.refuses

    async def start(self) -> None:
        """Start all workers; with `debug` none.

        Raises:
            WorkerStartError: one of them cannot be started; the others are ended.
        """
        async with self._resetting:  # a reset that is asked for meanwhile has to wait
            await self._factory.open()
            try:
                workers = await self._launcher.launch_all(self._size)
            except BaseException:
                await self._factory.close()
                raise
            for worker in workers:
                self._places.append(
                    Place(self._launcher.launch, self._free, self._breaker, self._background, self.stats)
                )
                self._places[-1].fill(worker)
        if self._config.supervisor is not None:
            supervision = supervise(self._config.supervisor, self._launcher.workers, self._retire)
            self._supervision = self._background.spawn(supervision)

    async def stop(self, limit: float = STOP_GRACE) -> int:
        """Refuse who waits, and end all workers; those that do not end in time are killed.

        Takes little more than `destroy_timeout` (at most 10) seconds. Cancelling this kills them.

        Args:
            limit: seconds, if that is less.

        Returns:
            How many had to be killed.
        """
        self._launcher.stopping = True
        self._free.close(STOPPING)
        for place in self._places:
            place.close()
        if self._supervision is not None:
            self._supervision.cancel()
        await self._factory.close()
        grace = min(STOP_GRACE, self._config.destroy_timeout, limit)
        ended = await asyncio.gather(*(worker.stop(grace) for worker in self._launcher.workers()))
        await self._background.finish()
        return ended.count(False)

    async def reset(self) -> None:
        """Replace every worker. The old ones finish what they work on; nobody is refused.

        Returns when the new ones are ready; for a moment there are twice as many. All calls that come while
        a reset is running share the next one.

        Raises:
            WorkerStartError: the new ones cannot be started, and the old ones stay; or the pool is not
                started yet, or stopping.
        """
        begun = self._resets
        async with self._resetting:
            if self._last_reset > begun:  # it began after this call, and all workers are newer than that
                return
            if len(self._places) < self._size:
                raise WorkerStartError("the workers are not started yet")
            self._resets = number = self._resets + 1
            workers = await self._launcher.launch_all(self._size)
            if self._launcher.stopping:  # since they are there: `stop` ends them
                raise WorkerStartError(STOPPING)
            for place, worker in zip(self._places, workers, strict=True):
                old = place.fill(worker)
                if old is not None:
                    self._retire(old, State.STOPPING)
            self._breaker.answered()
            self._last_reset = number

    def states(self) -> list[WorkerState]:
        """Describe each process."""
        return self._launcher.states()

    def metrics(self) -> Iterator[Sample]:
        """See `metrics.MetricSource`."""
        yield from self._launcher.metrics()
        yield gauge("workers_waiting", "Questions that wait for a free worker.", self._free.waiting)
        yield from self._breaker.metrics()
        yield from self.stats.metrics()

    async def exec(
        self,
        question: Message,
        limit: float = 0.0,
        *,
        lane: Lane = Lane.JOINS,
        wait: float | None = None,
    ) -> Message:
        """Ask one worker.

        Cancelling this does not disturb the worker: it answers to nobody, and is free again.

        Args:
            question: context and body.
            limit: seconds for the answer of a worker, not counting the wait for it; then it is killed. 0 is
                no limit but `exec_ttl`.
            lane: where to wait for a worker.
            wait: seconds to wait for one; None is `allocate_timeout`.

        Raises:
            NoFreeWorkers: none became free in time.
            WorkersDown: refused at once, or while it waited.
            WorkerError: the worker failed.
        """
        limit = min(filter(None, (limit, self._exec_ttl)), default=0.0)
        wait = self._config.allocate_timeout if wait is None else wait
        try:
            self._breaker.admit()
            return await self._exec(question, limit, lane, wait)
        except (NoFreeWorkers, WorkersDown) as error:
            self.stats.count_failure(error)
            raise

    async def _exec(self, question: Message, limit: float, lane: Lane, wait: float) -> Message:
        for _ in range(MAX_TRIES):
            answered: _Answered = asyncio.get_running_loop().create_future()
            if self._config.debug:
                await self._take_permit(wait)
                asking = self._ask_fresh(question, limit, answered)
            else:
                asking = self._ask(await self._take(lane, wait), question, limit, answered)
            self._background.spawn(asking).add_done_callback(partial(_give_up, answered))
            answer = await answered
            if isinstance(answer, WorkerError):
                raise answer
            if not answer.asks_for_restart:
                return answer
        given_up = WorkerError(f"{MAX_TRIES} workers asked to be restarted instead of answering")
        self.stats.count_failure(given_up)
        raise given_up

    async def _take(self, lane: Lane, wait: float) -> Worker:
        while True:
            worker = await self._free.take(lane, wait)
            if not worker.gone.done():
                return worker
            self._free.put(worker)

    async def _take_permit(self, wait: float) -> None:
        if self._launcher.stopping:
            raise NoFreeWorkers(STOPPING)
        try:
            async with asyncio.timeout(wait):
                await self._fresh.acquire()
        except TimeoutError:
            raise NoFreeWorkers(f"no worker could be started within {wait:g} s") from None

    async def _ask(self, worker: Worker, question: Message, limit: float, answered: _Answered) -> None:
        """Ask a worker, and give it back when it waits for questions again, whatever happens."""
        try:
            await self._exec_on(worker, question, limit, answered)
            if 0 < self._config.max_jobs <= worker.execs:
                worker.retire(State.MAX_JOBS_REACHED)
            await worker.settle(limit)
        finally:
            self._free.put(worker)

    async def _ask_fresh(self, question: Message, limit: float, answered: _Answered) -> None:
        """Start a worker, ask it, end it. The permit is there already."""
        try:
            worker = await self._launcher.launch()
            try:
                await self._exec_on(worker, question, limit, answered)
            finally:
                await worker.stop()
        except WorkerStartError as error:
            self.stats.count_failure(error)
            _answer(answered, error)
        finally:
            self._fresh.release()

    async def _exec_on(self, worker: Worker, question: Message, limit: float, answered: _Answered) -> None:
        """Ask, count, answer; all the same when nobody waits for the answer any more."""
        started = time.monotonic()
        answer: Message | WorkerError
        try:
            answer = await worker.exec(question, limit)
        except WorkerError as error:
            answer = error
            self.stats.count_failure(error)
            if isinstance(error, ExecTimeout):
                self._breaker.timed_out()
            elif isinstance(error, SoftJobError):
                self._breaker.answered()
        else:
            self._breaker.answered()
            if answer.asks_for_restart:
                worker.retire(State.STOPPING)
        self.stats.execs += 1
        self.stats.exec_seconds += time.monotonic() - started
        _answer(answered, answer)

    def _retire(self, worker: Worker, state: State) -> None:
        """Replace a worker; it finishes what it works on."""
        worker.retire(state)
        if self._free.remove(worker):
            self._dismiss(worker)

    def _dismiss(self, worker: Worker) -> None:
        self._background.spawn(worker.stop())


def _answer(answered: _Answered, answer: Message | WorkerError) -> None:
    if not answered.done():
        answered.set_result(answer)


def _give_up(answered: _Answered, _: asyncio.Task[None]) -> None:
    """The asking has ended; an answer that is still missing will never come."""
    _answer(answered, WorkerError("the question got lost"))
