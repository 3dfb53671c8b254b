"""A fixed number of workers, each replaced when it is gone.

Nothing that a worker does ends the pool: another is started, at once the first time, then after growing
pauses, for ever. Questions wait meanwhile, as long as `allocate_timeout` says.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from rr_py_ws.adapters.php.factory import WorkerFactory
from rr_py_ws.adapters.php.free import FreeWorkers
from rr_py_ws.adapters.php.stats import PoolStats
from rr_py_ws.adapters.php.supervisor import supervise
from rr_py_ws.adapters.php.worker import STOP_GRACE, State, Worker
from rr_py_ws.config import Pool
from rr_py_ws.domain.figures import Figure, gauge
from rr_py_ws.domain.ports import WorkerState
from rr_py_ws.errors import NoFreeWorkers, WorkerError, WorkerStartError
from rr_py_ws.logs import get_limited
from rr_py_ws.wire.worker import Message

log = get_limited("server")

MAX_TRIES = 3
"""How many workers are asked one question when they end, or answer "restart me"; RoadRunner has no bound."""
MAX_PAUSE = 5.0
"""Seconds between two attempts to start a worker, at most."""
_STOPPING = "the server is stopping"
_T = TypeVar("_T")
_Outcome = Message | WorkerError | None
"""An answer; an error, which is returned because nobody may be listening; or None: ask another worker."""


class _Place:
    """One of the pool's places: it holds a worker, or its keeper is starting one."""

    __slots__ = ("keeper", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker: Worker | None = worker
        self.keeper: asyncio.Task[None] | None = None


class WorkerPool:
    """Asks free workers, in the order of arrival of the questions.

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
        self._fresh = asyncio.Semaphore(config.num_workers)
        self._places: list[_Place] = []
        self._workers: dict[Worker, None] = {}
        self._questions: set[asyncio.Task[Any]] = set()
        self._chores: set[asyncio.Task[Any]] = set()
        self._resetting = asyncio.Lock()
        self._supervision: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def waiting(self) -> int:
        """How many questions wait for a worker."""
        return self._free.waiting

    @property
    def ready(self) -> bool:
        """Whether a question would be put to a worker, now or when one is free."""
        if self._config.debug:
            return not self._stopping
        return any(worker.state in (State.READY, State.WORKING) for worker in self._workers)

    async def start(self) -> None:
        """Start all workers; with `debug` none.

        Raises:
            WorkerStartError: one of them cannot be started; the others are ended.
        """
        await self._factory.open()
        try:
            workers = await self._launch_all()
        except BaseException:
            await self._factory.close()
            raise
        for worker in workers:
            self._places.append(place := _Place(worker))
            self._fill(place, worker)
        if self._config.supervisor is not None:
            supervision = supervise(self._config.supervisor, lambda: list(self._workers), self._retire)
            self._supervision = _start(supervision, self._chores)

    async def stop(self) -> None:
        """Refuse who waits, and end all workers; those that do not end in time are killed.

        Takes little more than `destroy_timeout` (at most 10) seconds. Cancelling this kills them.
        """
        self._stopping = True
        self._free.close(_STOPPING)
        for task in (self._supervision, *(place.keeper for place in self._places)):
            if task is not None:
                task.cancel()
        await self._factory.close()
        grace = min(STOP_GRACE, self._config.destroy_timeout)
        await asyncio.gather(*(worker.stop(grace) for worker in list(self._workers)))
        await asyncio.gather(*self._questions, *self._chores, return_exceptions=True)

    async def reset(self) -> None:
        """Replace every worker. The old ones finish what they work on; nobody is refused.

        Returns when the new ones are ready; for a moment there are twice as many.

        Raises:
            WorkerStartError: the new ones cannot be started; the old ones stay.
        """
        async with self._resetting:
            workers = await self._launch_all()
            for place, worker in zip(self._places, workers, strict=True):
                old = place.worker
                self._fill(place, worker)
                if old is not None:
                    self._retire(old, State.STOPPING)

    def states(self) -> list[WorkerState]:
        """Describe each process."""
        return [state for worker in self._workers if (state := worker.describe()) is not None]

    def figures(self) -> Iterator[Figure]:
        """See `figures.Source`."""
        states = Counter({State.READY.text: 0, State.WORKING.text: 0})
        states.update(worker.state.text for worker in self._workers)
        memory = sum(worker.memory() for worker in self._workers)
        yield gauge("workers", "Worker processes, by state.", states, "state")
        yield gauge("workers_memory_bytes", "Resident memory of all workers.", memory)
        yield gauge("workers_waiting", "Questions that wait for a free worker.", self._free.waiting)
        yield from self.stats.figures()

    async def exec(self, question: Message, limit: float = 0.0) -> Message:
        """Ask one worker.

        Cancelling this does not disturb the worker: it answers to nobody, and is free again.

        Args:
            question: context and body.
            limit: seconds for the answer of a worker, not counting the wait for it; then it is killed. 0 is
                no limit but `exec_ttl`.

        Raises:
            NoFreeWorkers: none became free within `allocate_timeout`.
            WorkerError: the worker failed.
        """
        try:
            return await self._exec(question, limit)
        except NoFreeWorkers as error:
            self.stats.count_failure(error)
            raise

    async def _exec(self, question: Message, limit: float) -> Message:
        limit = min(filter(None, (limit, self._exec_ttl)), default=0.0)
        for _ in range(MAX_TRIES):
            if self._config.debug:
                await self._take_permit()
                asking = self._ask_fresh(question, limit)
            else:
                asking = self._ask(await self._take(), question, limit)
            answer = await asyncio.shield(_start(self._count(asking), self._questions))
            if isinstance(answer, WorkerError):
                raise answer
            if answer is not None:
                return answer
        given_up = WorkerError(f"{MAX_TRIES} workers ended, or asked to be restarted, instead of answering")
        self.stats.count_failure(given_up)
        raise given_up

    async def _count(self, asking: Coroutine[Any, Any, _T]) -> _T:
        """Count a question and what came of it, also when nobody waits for the answer any more."""
        started = time.monotonic()
        outcome = await asking
        self.stats.execs += 1
        self.stats.exec_seconds += time.monotonic() - started
        if isinstance(outcome, WorkerError):
            self.stats.count_failure(outcome)
        return outcome

    async def _take(self) -> Worker:
        while True:
            worker = await self._free.take(self._config.allocate_timeout)
            if not worker.gone.done():
                return worker
            self._free.put(worker)

    async def _take_permit(self) -> None:
        if self._stopping:
            raise NoFreeWorkers(_STOPPING)
        timeout = self._config.allocate_timeout
        try:
            async with asyncio.timeout(timeout):
                await self._fresh.acquire()
        except TimeoutError:
            raise NoFreeWorkers(f"no worker could be started within {timeout:g} s") from None

    async def _ask(self, worker: Worker, question: Message, limit: float) -> _Outcome:
        """Ask a worker of the pool, and give it back, whatever happens."""
        try:
            return await _ask(worker, question, limit)
        finally:
            if 0 < self._config.max_jobs <= worker.execs:
                worker.retire(State.MAX_JOBS_REACHED)
            self._free.put(worker)

    async def _ask_fresh(self, question: Message, limit: float) -> _Outcome:
        """Start a worker, ask it, end it. The permit is there already."""
        try:
            worker = await self._launch()
            try:
                return await _ask(worker, question, limit)
            finally:
                await worker.stop()
        except WorkerStartError as error:
            return error
        finally:
            self._fresh.release()

    async def _launch(self) -> Worker:
        worker = await self._factory.start(self._config.allocate_timeout)
        self._workers[worker] = None
        _start(self._bury(worker), self._chores)
        if self._stopping:
            worker.kill("came too late")
            raise WorkerStartError(_STOPPING)
        return worker

    async def _launch_all(self) -> list[Worker]:
        count = 0 if self._config.debug else self._config.num_workers
        launches: list[asyncio.Task[Worker]] = []
        try:
            async with asyncio.TaskGroup() as group:
                launches += [group.create_task(self._launch()) for _ in range(count)]
        except BaseException as error:
            for launch in launches:
                if not launch.cancelled() and launch.exception() is None:
                    launch.result().kill("was not wanted any more")
                    await launch.result().process.wait()
            raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error from None
        return [launch.result() for launch in launches]

    async def _bury(self, worker: Worker) -> None:
        await worker.buried()
        del self._workers[worker]

    def _fill(self, place: _Place, worker: Worker) -> None:
        """Put a new worker into a place."""
        if place.keeper is not None:
            place.keeper.cancel()
        place.worker = worker
        self._free.put(worker)
        place.keeper = _start(self._keep(place), self._chores)

    async def _keep(self, place: _Place) -> None:
        """Start another worker in this place whenever the last one is gone."""
        failures = 0
        while True:
            if place.worker is None:
                await asyncio.sleep(_pause(failures))
                try:
                    place.worker = await self._launch()
                except WorkerStartError as error:
                    failures += 1
                    self.stats.count_failure(error)
                    log.error("cannot replace a worker, will try again", reason=error)
                    continue
                self._free.put(place.worker)
            worker = place.worker
            await asyncio.wait([worker.gone])
            place.worker = None
            self.stats.restarts += 1
            self._free.remove(worker)
            if worker.state is State.ERRORED:
                _start(self._mourn(worker), self._chores)
            # One that dies without having been asked anything would be replaced in a fast endless loop.
            useful = worker.asked is not None or time.monotonic() - worker.started > MAX_PAUSE
            failures = 0 if useful else failures + 1

    async def _mourn(self, worker: Worker) -> None:
        log.warning("worker is replaced", pid=worker.pid, reason=await worker.obituary())

    def _retire(self, worker: Worker, state: State) -> None:
        """Replace a worker; it finishes what it works on."""
        worker.retire(state)
        if self._free.remove(worker):
            self._dismiss(worker)

    def _dismiss(self, worker: Worker) -> None:
        _start(worker.stop(), self._chores)


async def _ask(worker: Worker, question: Message, limit: float) -> _Outcome:
    try:
        answer = await worker.exec(question, limit)
    except WorkerError as error:
        return None if worker.ended_in_order else error
    if answer.asks_for_restart:
        worker.retire(State.STOPPING)
        return None
    return answer


def _start(work: Coroutine[Any, Any, _T], tasks: set[asyncio.Task[Any]]) -> asyncio.Task[_T]:
    """Run something in the background; a failure, which would be a mistake in this program, is logged."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    task.add_done_callback(_report)
    return task


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background task of the worker pool failed", exc_info=error)


def _pause(failures: int) -> float:
    """Seconds before the next attempt to start a worker: none, then 0.1, doubling to `MAX_PAUSE`."""
    return min(MAX_PAUSE, 0.1 * 2 ** min(failures - 1, 10)) if failures else 0.0
