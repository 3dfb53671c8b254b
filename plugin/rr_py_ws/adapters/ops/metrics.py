"""The page for Prometheus, on every path as in RoadRunner (roadrunner-server/metrics plugin.go @v2.14.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

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

from rr_py_ws.metrics import MetricSource

_PREFIX = "rr_ws_"
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


class MetricsPage(Collector):
    """An ASGI application that serves the metrics of all parts, of the process and of Python.

    Args:
        sources: the parts; read at each scrape.
    """

    def __init__(self, sources: Sequence[MetricSource]) -> None:
        self._sources = sources
        # Two registries, because only one of them can be read in a thread: the parts belong to the loop.
        self._parts, self._process = CollectorRegistry(), CollectorRegistry()
        self._parts.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._process)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one scrape."""
        text = generate_latest(self._parts)
        # Not in the event loop: it counts open files by listing them, which takes 8 ms for 10,000.
        text += await asyncio.to_thread(generate_latest, self._process)
        await Response(text, media_type=_CONTENT_TYPE)(scope, receive, send)

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """Translate the metrics of all parts for `prometheus_client`; samples of one name are one family."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for source in self._sources:
            for sample in source.metrics():
                # The text format allows each name once, with all its samples together.
                if sample.name not in families:
                    make = _FAMILIES[sample.kind]
                    families[sample.name] = make(_PREFIX + sample.name, sample.text, labels=sample.labels)
                for labels, value in sample.values.items():
                    families[sample.name].add_metric(labels, value)
        return families.values()
