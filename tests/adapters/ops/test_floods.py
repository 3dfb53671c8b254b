"""Who asks for metrics or health again and again costs little: pages are shared, few are made in a turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from adapters.ops.conftest import Serve
from rr_py_ws.adapters.ops import metrics
from rr_py_ws.adapters.ops.metrics import MetricsPage
from rr_py_ws.metrics import Sample, gauge
from support.http_peer import get

CLIENTS = 30


class Part:
    """Counts how often it is read, and says so."""

    read = 0

    def metrics(self) -> Iterator[Sample]:
        self.read += 1
        yield gauge("read", "How often.", self.read)


class DearPart(Part):
    """Takes longer than the smallest time that the clock of an event loop can tell."""

    def metrics(self) -> Iterator[Sample]:
        time.sleep(0.003)
        yield from super().metrics()


async def test_scrapes_that_come_while_a_page_is_made_share_the_next_one(serve: Serve) -> None:
    part = Part()
    server = await serve(MetricsPage([part]))
    answers = await asyncio.gather(*(get(server.address, "/metrics") for _ in range(CLIENTS)))
    assert part.read < CLIENTS // 2
    assert all("rr_ws_read " in answer.text for answer in answers)
    alone = await get(server.address, "/metrics")  # nobody is told what was true before it asked
    assert f"rr_ws_read {part.read}.0" in alone.text


async def test_who_asks_for_metrics_without_end_has_a_fifth_of_the_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pages that are made one after the other, clients waited a second for their handshakes."""
    rests: list[float] = []
    sleep = asyncio.sleep

    async def recording(seconds: float) -> None:
        rests.append(seconds)
        await sleep(0)

    server = await serve(MetricsPage([DearPart()]))
    await get(server.address, "/metrics")
    monkeypatch.setattr(metrics.asyncio, "sleep", recording)
    monkeypatch.setattr(metrics, "_REST", 1e6)
    for _ in range(3):
        await get(server.address, "/metrics")
    assert len(rests) >= 2
    assert 0.5 < max(rests) <= 1.0


async def test_few_requests_are_answered_in_a_turn(serve: Serve) -> None:
    begun = most = 0

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal begun
        begun += 1
        await PlainTextResponse("hello")(scope, receive, send)

    def look() -> None:
        nonlocal before, most, next_look
        before, most = begun, max(most, begun - before)
        next_look = loop.call_soon(look)

    server = await serve(page)
    loop, before = asyncio.get_running_loop(), 0
    next_look = loop.call_soon(look)
    answers = await asyncio.gather(*(get(server.address, "/") for _ in range(CLIENTS)))
    next_look.cancel()
    assert [answer.text for answer in answers] == ["hello"] * CLIENTS
    assert most <= 2
