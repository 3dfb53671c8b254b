"""RoadRunner's middleware `http_metrics` (prometheus plugin.go @v2.14.4), with its names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rr_py_ws.metrics import Distribution, Histogram, Metric, Sample

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; the default buckets of Prometheus' library for Go."""
_PREFIX = "rr_http_"
_NO_WORKERS = (b"no-workers", b"true")
"""Header of an answer that no worker could be found for; RoadRunner's http sets it."""


@dataclass(slots=True)
class RequestMetrics:
    """Plain numbers since the start of the process.

    Attributes:
        started: monotonic time of the start.
        waiting: requests that are not answered yet.
        no_free_workers: requests that no worker could be found for.
        durations: status -> how long the requests took that were answered with it.
    """

    started: float = field(default_factory=time.monotonic)
    waiting: int = 0
    no_free_workers: int = 0
    durations: dict[int, Distribution] = field(default_factory=dict)

    def count(self, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            status: of it; -1 when there was none.
            seconds: from the request to its end.
        """
        durations = self.durations.get(status)
        if durations is None:
            durations = self.durations[status] = Distribution(_BOUNDS)
        durations.add(seconds)

    def metrics(self) -> Iterator[Metric]:
        """Yield all of them, with RoadRunner's names and texts."""
        durations: dict[tuple[str, ...], Distribution] = {
            (str(status),): one for status, one in self.durations.items()
        }
        answers: dict[tuple[str, ...], float] = {key: one.count for key, one in durations.items()}
        text = "Total number of handled http requests after server restart."
        yield Sample("request", "counter", text, ("status",), answers, _PREFIX)
        yield Histogram("request_duration_seconds", "HTTP request duration.", ("status",), durations, _PREFIX)
        text = "Total number of queued requests."
        yield Sample("requests_queue", "gauge", text, (), {(): self.waiting}, _PREFIX)
        text = "Total number of NoFreeWorkers occurrences."
        yield Sample("no_free_workers", "counter", text, (), {(): self.no_free_workers}, _PREFIX)
        # RoadRunner calls it a counter; the name of a counter has to end in _total here.
        uptime = int(time.monotonic() - self.started)
        yield Sample("uptime_seconds", "gauge", "Uptime in seconds", (), {(): uptime}, _PREFIX)


class HTTPMetrics:
    """Counts what the application answers.

    Args:
        app: who answers.
        metrics: where it is counted.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer."""
        started, status, metrics = time.perf_counter(), -1, self._metrics

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if _NO_WORKERS in message["headers"]:
                    metrics.no_free_workers += 1
            await send(message)

        metrics.waiting += 1
        try:
            await self._app(scope, receive, send_and_look)
        finally:
            metrics.waiting -= 1
            metrics.count(status, time.perf_counter() - started)
