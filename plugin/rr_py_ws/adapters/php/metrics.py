"""What the worker pool counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rr_py_ws.errors import (
    ExecTimeout,
    NoFreeWorkers,
    SoftJobError,
    WorkerDied,
    WorkerError,
    WorkersDown,
    WorkerStartError,
)
from rr_py_ws.metrics import Sample, counter

_KINDS: dict[type[WorkerError], str] = {
    SoftJobError: "error",
    ExecTimeout: "timeout",
    WorkerDied: "died",
    WorkerStartError: "start",
    NoFreeWorkers: "no_free_worker",
    WorkersDown: "breaker",
    WorkerError: "given_up",
}


@dataclass(slots=True)
class PoolMetrics:
    """Plain numbers since the start of the process.

    Attributes:
        execs: questions that were put to a worker.
        exec_seconds: how long all of them together took.
        failures: kind -> questions without an answer, and workers that could not be started.
        restarts: workers that were replaced, but for those of a reset.
    """

    execs: int = 0
    exec_seconds: float = 0.0
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS.values(), 0))
    restarts: int = 0

    def count_failure(self, error: WorkerError) -> None:
        """Count a failure by its kind."""
        self.failures[_KINDS[type(error)]] += 1

    def metrics(self) -> Iterator[Sample]:
        """Yield the samples of all that is counted."""
        yield counter("worker_execs", "Questions that were put to a worker.", self.execs)
        yield counter("worker_exec_seconds", "How long workers took for all of them.", self.exec_seconds)
        yield counter("worker_failures", "Questions and starts that failed.", self.failures, "kind")
        yield counter("worker_restarts", "Workers replaced, but for those of a reset.", self.restarts)
