"""A fixed number of workers, each replaced when it is gone.

Nothing that a worker does ends the pool: another is started, at once the first time, then after growing
pauses, for ever. Questions wait meanwhile, as long as `allocate_timeout` says; when there is no hope, they
are refused at once (see `breaker`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from functools import partial

from rr_py_ws.adapters.php.breaker import Breaker
from rr_py_ws.adapters.php.factory import STOPPING, WorkerFactory
from rr_py_ws.adapters.php.fresh_workers import FreshWorkers
from rr_py_ws.adapters.php.idle_workers import IdleWorkers
from rr_py_ws.adapters.php.metrics import PoolMetrics
from rr_py_ws.adapters.php.question import Question
from rr_py_ws.adapters.php.slot import WorkerSlot, supervise
from rr_py_ws.adapters.php.stream import StreamedAnswer
from rr_py_ws.adapters.php.worker import STOP_GRACE, State, Worker
from rr_py_ws.config import Pool
from rr_py_ws.core.ports import Answer, Lane, WorkerState
from rr_py_ws.errors import (
    ExecTimeout,
    SoftJobError,
    WorkerError,
    WorkersDown,
    WorkerStartError,
)
from rr_py_ws.metrics import Sample, gauge
from rr_py_ws.wire import worker as wire
from rr_py_ws.wire.worker import Message, encode_question

MAX_TRIES = 3
"""How many workers are asked one question when they answer "restart me"; RoadRunner has no bound."""
_REST = 3
"""How many times as long as a reset takes there is none after it: to start PHP takes all cores."""
_LONGEST_REST = 1.0
"""Seconds, at most."""


class WorkerPool:
    """Asks idle workers, in the order of arrival of the questions in each lane.

    Args:
        factory: starts the workers; it is opened and closed with the pool.
        config: the `pool` section. With `debug` each question gets a fresh worker, and at most `num_workers`
            of them run at a time.

    Attributes:
        counters: what is counted of questions and workers.
    """

    def __init__(self, factory: WorkerFactory, config: Pool) -> None:
        self.counters = PoolMetrics()
        self._factory = factory
        self._tasks = factory.tasks
        self._config = config
        self._exec_ttl = config.supervisor.exec_ttl if config.supervisor else 0.0
        self._idle = IdleWorkers(self._dismiss, self._refuse)
        self._size = 0 if config.debug else config.num_workers
        self._breaker = Breaker(self._size, config.num_workers, self._idle.refuse)
        self._fresh = FreshWorkers(
            self._start_worker, config.num_workers, lambda: factory.stopping, self._refuse, self.counters
        )
        self._slots: list[WorkerSlot] = []
        self._resetting = asyncio.Lock()
        self._resets = 0
        self._last_reset = 0
        self._rested = 0.0
        self._supervision: asyncio.Task[None] | None = None

    def limit_answers(self, size: int) -> None:
        """Let workers that are started from now on answer with at most so many bytes."""
        self._factory.max_answer = size

    @property
    def allocate_timeout(self) -> float:
        """Seconds, at most, that a question waits for an idle worker."""
        return self._config.allocate_timeout

    @property
    def waiting(self) -> int:
        """How many questions wait for a worker."""
        return self._idle.waiting

    @property
    def alive(self) -> bool:
        """Whether there is a worker, or would be one for a question."""
        return not self._factory.stopping if self._config.debug else self._factory.alive

    @property
    def ready(self) -> bool:
        """Whether a question would be put to a worker, now or when one is idle."""
        return self.alive and not self._breaker.refuses

    async def start(self) -> None:
        """Start all workers; with `debug` none.

        Raises:
            ConfigError: the address of `server.relay` cannot be used.
            WorkerStartError: one of the workers cannot be started; the others are ended.
        """
        async with self._resetting:  # a reset that is asked for meanwhile has to wait
            await self._factory.open()
            try:
                workers = await self._factory.start_all(self._size, self._config.allocate_timeout)
            except BaseException:
                await self._factory.close()
                raise
            for worker in workers:
                slot = WorkerSlot(self._start_worker, self._idle, self._breaker, self._tasks, self.counters)
                self._slots.append(slot)
                slot.fill(worker)
        if self._config.supervisor is not None:
            supervision = supervise(self._config.supervisor, self._factory.workers, self._retire)
            self._supervision = self._tasks.spawn(supervision)

    async def stop(self, limit: float = STOP_GRACE) -> int:
        """Refuse the questions that wait, and end all workers; those that do not end in time are killed.

        Takes little more than `destroy_timeout` (at most 10) seconds. Cancelling this kills them.

        Args:
            limit: seconds, if that is less.

        Returns:
            How many had to be killed.
        """
        self._idle.close(STOPPING)
        for slot in self._slots:
            slot.close()
        if self._supervision is not None:
            self._supervision.cancel()
        await self._factory.close()
        grace = min(STOP_GRACE, self._config.destroy_timeout, limit)
        ended = await asyncio.gather(*(worker.stop(grace) for worker in self._factory.workers()))
        await self._tasks.finish()
        return ended.count(False)

    async def reset(self) -> None:
        """Replace every worker. The old ones finish what they work on; nobody is refused.

        Returns when the new ones are ready; for a moment there are twice as many. All calls that come while
        a reset is running share the next one, and that begins after a rest.

        Raises:
            WorkerStartError: the new ones cannot be started, and the old ones stay; or the pool is not
                started yet, or stopping.
        """
        begun = self._resets
        async with self._resetting:
            if self._last_reset > begun:  # it began after this call, and all workers are newer than that
                return
            # `start` has failed or has not been called; `rr reset` may come at any time.
            if len(self._slots) < self._size:
                raise WorkerStartError("the workers are not started yet")
            loop = asyncio.get_running_loop()
            await asyncio.sleep(self._rested - loop.time())
            self._resets = number = self._resets + 1
            began = loop.time()
            try:
                workers = await self._factory.start_all(self._size, self._config.allocate_timeout)
            finally:
                self._rested = loop.time() + min(_LONGEST_REST, _REST * (loop.time() - began))
            if self._factory.stopping:  # since they are there: `stop` ends them
                raise WorkerStartError(STOPPING)
            for slot, worker in zip(self._slots, workers, strict=True):
                old = slot.fill(worker)
                if old is not None:
                    self._retire(old, State.STOPPING)
            self._breaker.answered()
            self._last_reset = number

    def states(self) -> list[WorkerState]:
        """Describe each process."""
        return self._factory.states()

    def metrics(self) -> Iterator[Sample]:
        """Yield the samples of workers, questions and the breaker."""
        yield from self._factory.metrics()
        yield gauge("workers_waiting", "Questions that wait for a free worker.", self._idle.waiting)
        yield from self._breaker.metrics()
        yield from self.counters.metrics()

    def ask(
        self,
        question: wire.Question,
        on_answer: Callable[[Answer], object],
        limit: float = 0.0,
        *,
        lane: Lane = Lane.JOINS,
        wait: float | None = None,
        within: float = math.inf,
    ) -> Callable[[], None]:
        """Ask one worker, or another when the first asks to be restarted. See `ports.WorkerPool.ask`.

        The usual case costs no task and no future: everything happens in callbacks.
        """
        asked = self._make_question(question, on_answer, limit, lane, wait, within)
        self._admit(asked)
        return partial(self._withdraw, asked)

    async def exec_streamed(
        self, question: wire.Question, limit: float = 0.0
    ) -> tuple[Message, StreamedAnswer | None]:
        """Ask one worker, which may answer in parts. See `ports.WorkerPool.exec_streamed`."""
        # A failure is a result, too, so that it is no loss when nobody waits any more.
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def on_answer(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        asked = self._make_question(question, on_answer, limit, Lane.JOINS, None, math.inf)
        asked.streams = True
        asked.over = asyncio.get_running_loop().create_future()
        self._admit(asked)
        try:
            answer = await answered
        except asyncio.CancelledError:
            self._withdraw(asked)
            await asked.over
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer, asked.parts

    def _make_question(
        self,
        question: wire.Question,
        on_answer: Callable[[Answer], object],
        limit: float,
        lane: Lane,
        wait: float | None,
        within: float,
    ) -> Question:
        # The stricter of the two counts: the caller's time or the supervisor's.
        if self._exec_ttl:
            limit = min(limit or math.inf, self._exec_ttl)
        return Question(
            encode_question(question),
            limit,
            self._exec_ttl,
            asyncio.get_running_loop().time() + within if within < math.inf else math.inf,
            on_answer,
            self._record,
            lane=lane,
            wait=self._config.allocate_timeout if wait is None else wait,
        )

    def _admit(self, question: Question) -> None:
        try:
            self._breaker.admit()
        except WorkersDown as error:
            self._refuse(question, error)
        else:
            self._put(question)

    def _put(self, question: Question) -> None:
        """Put a question to a worker, now or when one is idle."""
        # Debug: the code may have changed since the last question, so each one gets a new process.
        if self._config.debug:
            self._tasks.spawn(self._fresh.ask(question))
        else:
            self._idle.ask(question, question.lane, question.wait)

    def _withdraw(self, question: Question) -> None:
        """A question that waits is taken back; one at a worker is answered to nobody."""
        question.answered = True
        if self._idle.withdraw(question):
            question.end()
        if question.parts is not None:  # its first part came in this turn of the loop
            question.parts.stop()

    def _refuse(self, question: Question, error: WorkerError) -> None:
        """Answer a question that no worker has failed."""
        if not question.answered:
            self.counters.count_failure(error)
        question.answer(error)
        question.end()

    def _record(self, worker: Worker, question: Question, answer: Message | WorkerError) -> None:
        """Take what a worker did, count it, and answer; all the same when nobody waits any more."""
        if isinstance(answer, Message):
            self._breaker.answered()
            if answer.asks_for_restart:
                worker.retire(State.STOPPING)
        else:
            self.counters.count_failure(answer)
            if isinstance(answer, ExecTimeout):
                self._breaker.timed_out()
            elif isinstance(answer, SoftJobError):
                self._breaker.answered()
        # Restarts against leaks of PHP code; the count includes answers that were errors.
        if 0 < self._config.max_jobs <= worker.execs:
            worker.retire(State.MAX_JOBS_REACHED)
        assert worker.asked is not None
        self.counters.execs += 1
        self.counters.exec_seconds += time.monotonic() - worker.asked
        # It has a successor: what it does after its answer must end, also when `exec_ttl` sets no limit.
        if worker.retired.done() and worker.state is not State.ERRORED and not self._config.debug:
            self._dismiss(worker)
        if isinstance(answer, Message) and answer.asks_for_restart:
            self._try_again(question)
        else:
            question.answer(answer)
            question.end()

    def _try_again(self, question: Question) -> None:
        """Ask another worker, unless several have asked to be restarted or nobody waits any more."""
        question.tries += 1
        if question.tries >= MAX_TRIES:
            text = f"{MAX_TRIES} workers asked to be restarted instead of answering"
            self._refuse(question, WorkerError(text))
        elif not question.answered:
            self._put(question)
        else:
            question.end()

    async def _start_worker(self) -> Worker:
        return await self._factory.start(self._config.allocate_timeout)

    def _retire(self, worker: Worker, state: State) -> None:
        """Replace a worker; it finishes what it works on."""
        worker.retire(state)
        if self._idle.remove(worker) or not worker.is_asked:
            self._dismiss(worker)

    def _dismiss(self, worker: Worker) -> None:
        self._tasks.spawn(worker.stop())
