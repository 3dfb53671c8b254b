"""The rules of RoadRunner's endpoint, on a real socket."""

from __future__ import annotations

import pytest

from adapters.ops.conftest import Serve
from rr_py_ws.adapters.ops import OpsListener, health_page
from rr_py_ws.core.ports import Probe
from support.http_peer import get

PROBES = {
    "good": Probe(healthy=lambda: True, ready=lambda: True),
    "busy": Probe(healthy=lambda: True, ready=lambda: False),
    "ill": Probe(healthy=lambda: False, ready=lambda: False),
}

ANSWERS = [
    ("/health?plugin=good", 200, "Service: good: Status: 200\n"),
    ("/ready?plugin=good", 200, "Service: good: Status: 200\n"),
    ("/health?plugin=busy", 200, "Service: busy: Status: 200\n"),
    ("/ready?plugin=busy", 503, ""),
    ("/health?plugin=ill", 503, ""),
    ("/ready?plugin=ill", 503, ""),
    (
        "/health?plugin=good&plugin=busy",
        200,
        "Service: good: Status: 200\nService: busy: Status: 200\n",
    ),
    ("/health?plugin=good,busy", 200, "Service: good: Status: 200\nService: busy: Status: 200\n"),
    ("/health?plugin=good&plugin=ill&plugin=busy", 503, "Service: good: Status: 200\n"),
    ("/health?plugin=http", 200, "Service: http not found"),
    ("/ready?plugin=http&plugin=good", 200, "Service: http not foundService: good: Status: 200\n"),
    ("/health?plugin=http&plugin=ill", 503, "Service: http not found"),
    ("/health?plugin=", 200, "Service:  not found"),
    ("/health?plugin=%C3%BC%FF", 200, "Service: ü\ufffd not found"),
    ("/health/x?plugin=good", 200, "Service: good: Status: 200\n"),
    ("/readyx?plugin=good", 200, "Service: good: Status: 200\n"),
    # Point 21: without plugins all are asked, as by RoadRunner 2023.3 and later.
    ("/health", 503, "Service: good: Status: 200\nService: busy: Status: 200\n"),
    ("/ready?plugins=good", 503, "Service: good: Status: 200\n"),
    ("/?plugin=good", 404, "Cannot GET /"),
    ("/live", 404, "Cannot GET /live"),
]


@pytest.fixture
async def server(serve: Serve) -> OpsListener:
    return await serve(health_page(PROBES, 503))


async def test_answers_are_roadrunners(server: OpsListener) -> None:
    for path, *expected in ANSWERS:
        answer = await get(server.address, path)
        assert [path, answer.status, answer.text] == [path, *expected]
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_every_method_is_accepted(server: OpsListener) -> None:
    for method in ("HEAD", "POST", "DELETE", "OPTIONS"):
        assert (await get(server.address, "/ready?plugin=good", method=method)).status == 200
        assert (await get(server.address, "/ready?plugin=ill", method=method)).status == 503


async def test_the_status_of_an_unavailable_plugin_can_be_chosen(serve: Serve) -> None:
    server = await serve(health_page(PROBES, 500))
    assert (await get(server.address, "/health?plugin=ill")).status == 500
