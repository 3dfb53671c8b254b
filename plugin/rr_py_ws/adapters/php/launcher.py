"""The processes of a pool, from their start to the moment when nothing of them is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.adapters.php.factory import WorkerFactory
from rr_py_ws.adapters.php.worker import State, Worker
from rr_py_ws.core.ports import WorkerState
from rr_py_ws.errors import WorkerStartError
from rr_py_ws.metrics import Sample, gauge

STOPPING = "the server is stopping"


class Launcher:
    """Starts workers, and knows all that are not buried yet, also those on their way out.

    Args:
        factory: starts a worker.
        timeout: seconds for the start of one.
        background: runs what waits for their ends.

    Attributes:
        stopping: whether no more may be started.
    """

    def __init__(self, factory: WorkerFactory, timeout: float, background: TaskSet) -> None:
        self.stopping = False
        self._factory = factory
        self._timeout = timeout
        self._background = background
        self._workers: dict[Worker, None] = {}

    @property
    def alive(self) -> bool:
        """Whether one of them answers questions."""
        return any(worker.state in (State.READY, State.WORKING) for worker in self._workers)

    def workers(self) -> list[Worker]:
        """Return all, in the order of their starts."""
        return list(self._workers)

    async def launch(self) -> Worker:
        """Start a worker.

        Raises:
            WorkerStartError: it cannot be started, or no more may be.
        """
        if self.stopping:
            raise WorkerStartError(STOPPING)
        worker = await self._factory.start(self._timeout)
        self._workers[worker] = None
        self._background.spawn(self._bury(worker))
        if self.stopping:
            worker.kill("came too late")
            raise WorkerStartError(STOPPING)
        return worker

    async def launch_all(self, count: int) -> list[Worker]:
        """Start so many workers at the same time.

        Raises:
            WorkerStartError: one of them cannot be started; the others are ended.
        """
        launches: list[asyncio.Task[Worker]] = []
        try:
            async with asyncio.TaskGroup() as group:
                launches += [group.create_task(self.launch()) for _ in range(count)]
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

    def states(self) -> list[WorkerState]:
        """Describe each process."""
        return [state for worker in self._workers if (state := worker.describe()) is not None]

    def metrics(self) -> Iterator[Sample]:
        """See `metrics.MetricSource`."""
        states = Counter({State.READY.text: 0, State.WORKING.text: 0})
        states.update(worker.state.text for worker in self._workers)
        memory = sum(worker.memory() for worker in self._workers)
        yield gauge("workers", "Worker processes, by state.", states, "state")
        yield gauge("workers_memory_bytes", "Resident memory of all workers.", memory)
