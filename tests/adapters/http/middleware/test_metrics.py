from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp, Receive, Scope, Send

from rr_py_ws.adapters.http.middleware.metrics import HTTPMetrics, RequestMetrics
from rr_py_ws.adapters.http.middleware.response import PresetHeaders
from rr_py_ws.adapters.ops.metrics import MetricsPage
from rr_py_ws.metrics import Distribution
from support.asgi import ask, page


async def samples(metrics: RequestMetrics) -> dict[str, float]:
    text = (await ask(MetricsPage([metrics]))).body.decode()
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sample.labels.items()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("rr_")
    }


async def test_the_names_are_those_of_roadrunner() -> None:
    metrics = RequestMetrics()
    for status in (200, 200, 404):
        await ask(HTTPMetrics(page(status=status), metrics))
    found = await samples(metrics)
    assert found["rr_http_request_total status=200"] == 2
    assert found["rr_http_request_total status=404"] == 1
    assert found["rr_http_request_duration_seconds_count status=200"] == 2
    assert found["rr_http_requests_queue"] == 0
    assert found["rr_http_no_free_workers_total"] == 0
    assert found["rr_http_uptime_seconds"] >= 0
    buckets = [key for key in found if "duration_seconds_bucket" in key and "status=200" in key]
    ends = [key.split("le=")[1].split(" ")[0] for key in buckets]
    assert ends == ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]


async def test_a_request_without_an_answer_has_the_status_minus_one() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        raise ConnectionResetError

    metrics = RequestMetrics()
    with pytest.raises(ConnectionResetError):
        await ask(HTTPMetrics(silent, metrics))
    found = await samples(metrics)
    assert (found["rr_http_request_total status=-1"], found["rr_http_requests_queue"]) == (1, 0)


async def test_requests_that_wait_are_counted() -> None:
    waiting, metrics = asyncio.Event(), RequestMetrics()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await waiting.wait()
        await page()(scope, receive, send)

    app: ASGIApp = HTTPMetrics(slow, metrics)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask(app))
        await asyncio.sleep(0)
        assert (await samples(metrics))["rr_http_requests_queue"] == 1
        waiting.set()
    assert (await samples(metrics))["rr_http_requests_queue"] == 0


async def test_answers_for_which_there_was_no_worker_are_counted() -> None:
    metrics = RequestMetrics()
    await ask(HTTPMetrics(PresetHeaders(page(status=500, headers=[("No-Workers", "true")])), metrics))
    assert (await samples(metrics))["rr_http_no_free_workers_total"] == 1


def test_a_distribution_counts_each_number_once() -> None:
    distribution = Distribution((1.0, 2.0))
    for number in (0.5, 1.0, 1.5, 2.5, 9.0):
        distribution.add(number)
    assert (distribution.buckets, distribution.count, distribution.total) == ([2, 1, 2], 5, 14.5)
