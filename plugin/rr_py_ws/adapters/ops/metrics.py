"""The page for Prometheus, on every path as in RoadRunner (roadrunner-server/metrics plugin.go @v2.14.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rr_py_ws.metrics import Distribution, Histogram, MetricSource, Sample

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_REST = 4
"""Times as long as a page took to make it is before the next one is made, so that who asks without end costs
others a fifth of their time,"""
_LONGEST_REST = 1.0
"""and seconds that this is at most."""
_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


class MetricsPage(Collector):
    """An ASGI application that serves the metrics of all parts, of the process and of Python.

    Args:
        sources: the parts; read at each scrape.
        refresh: waited for before that, when parts are in other processes.
    """

    def __init__(
        self, sources: Sequence[MetricSource], refresh: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._sources = sources
        self._refresh = refresh
        self._one_at_a_time = asyncio.Lock()
        self._next: asyncio.Task[bytes] | None = None
        self._rests_until = 0.0
        # Two registries, because only one of them can be read in a thread: the parts belong to the loop.
        self._parts, self._process = CollectorRegistry(), CollectorRegistry()
        self._parts.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._process)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one scrape; those that come while a page is made share the next one."""
        if self._next is None:
            self._next = asyncio.create_task(self._make())
        text = await asyncio.shield(self._next)
        await Response(text, media_type=_CONTENT_TYPE)(scope, receive, send)

    async def _make(self) -> bytes:
        now = asyncio.get_running_loop().time
        async with self._one_at_a_time:
            if (rest := self._rests_until - now()) > 0:
                await asyncio.sleep(rest)
            self._next = None
            began = now()
            if self._refresh is not None:
                await self._refresh()
            text = generate_latest(self._parts)
            # Not in the event loop: it counts open files by listing them, which takes 8 ms for 10,000.
            text += await asyncio.to_thread(generate_latest, self._process)
            self._rests_until = now() + min(_LONGEST_REST, _REST * (now() - began))
            return text

    def collect(self) -> Iterable[_Family]:
        """Translate the metrics of all parts for `prometheus_client`; samples of one name are one family."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        histograms = []
        for source in self._sources:
            for metric in source.metrics():
                if isinstance(metric, Histogram):
                    histograms.append(_histogram(metric))
                else:
                    _add(metric, families)
        return (*families.values(), *histograms)


def _add(sample: Sample, families: dict[str, CounterMetricFamily | GaugeMetricFamily]) -> None:
    # The text format allows each name once, with all its samples together.
    name = sample.prefix + sample.name
    if name not in families:
        families[name] = _FAMILIES[sample.kind](name, sample.text, labels=sample.labels)
    for labels, value in sample.values.items():
        families[name].add_metric(labels, value)


def _histogram(metric: Histogram) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.prefix + metric.name, metric.text, labels=metric.labels)
    for labels, distribution in metric.values.items():
        family.add_metric(labels, list(_buckets(distribution)), distribution.total)
    return family


def _buckets(distribution: Distribution) -> Iterator[tuple[str, float]]:
    """Yield the upper ends as Go writes them, and how many numbers are not above each."""
    ends = (*(f"{bound:g}" for bound in distribution.bounds), "+Inf")
    yield from zip(ends, accumulate(distribution.buckets), strict=True)
