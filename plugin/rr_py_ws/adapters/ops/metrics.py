"""The page for Prometheus, on every path as RoadRunner's (roadrunner-server/metrics plugin.go @v2.14.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rr_py_ws.metrics import Kind, MetricSource, Sample

_PREFIX = "rr_ws_"
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class SampleCollector(Collector):
    """Reads the metrics of all parts at the moment of a scrape.

    Args:
        sources: the parts.
    """

    def __init__(self, sources: Sequence[MetricSource]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Translate them for `prometheus_client`; metrics of one name are put together."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for source in self._sources:
            for sample in source.metrics():
                family = families.get(sample.name) or families.setdefault(sample.name, _family(sample))
                for labels, value in sample.values.items():
                    family.add_metric(labels, value)
        yield from families.values()


class MetricsPage:
    """An ASGI application that tells the metrics of all parts, of the process and of Python.

    Args:
        sources: the parts.
    """

    def __init__(self, sources: Sequence[MetricSource]) -> None:
        self._parts, self._process = CollectorRegistry(), CollectorRegistry()
        self._parts.register(SampleCollector(sources))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._process)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one scrape."""
        text = generate_latest(self._parts)
        # Not in the event loop: it counts open files by listing them, which takes 8 ms for 10,000.
        text += await asyncio.to_thread(generate_latest, self._process)
        await Response(text, media_type=_CONTENT_TYPE)(scope, receive, send)


def _family(sample: Sample) -> CounterMetricFamily | GaugeMetricFamily:
    make = CounterMetricFamily if sample.kind is Kind.COUNTER else GaugeMetricFamily
    return make(_PREFIX + sample.name, sample.text, labels=sample.labels)
