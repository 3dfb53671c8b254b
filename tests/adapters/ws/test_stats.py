"""What the listener counts; what all servers count alike is in `tests/test_monitoring.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rr_py_ws.adapters.http.refusals import REFUSALS
from rr_py_ws.adapters.ws.metrics import WebSocketMetrics
from rr_py_ws.wire.http import Request
from rr_py_ws.wire.verdict import FAILED, Verdict
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import CLOSE, close, command, frame, request
from support.ws_site import Site, Start


class Refusing:
    """An authorizer that gives one answer."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    def connect(self, request: Request) -> Verdict:
        return self._verdict

    def join(self, grant: object, topics: Sequence[str]) -> Verdict:
        return self._verdict


@pytest.mark.parametrize(("verdict", "reason"), [(Verdict(403), "authorization"), (FAILED, "unanswered")])
async def test_a_no_is_told_from_no_answer(start: Start, verdict: Verdict, reason: str) -> None:
    site = await start(Refusing(verdict))
    await site.ask(request())
    assert site.sample("handshakes_refused", reason) == 1
    assert sum(site.sample("handshakes_refused", reason) for reason in REFUSALS) == 1


@pytest.mark.parametrize("head", [b"nonsense\r\n\r\n", b"x" * 20_000], ids=["broken", "too large"])
async def test_a_request_that_cannot_be_read_is_counted(site: Site, head: bytes) -> None:
    await site.ask(head)
    assert site.sample("handshakes_refused", "head") == 1


async def test_who_comes_while_the_server_stops_is_counted(site: Site) -> None:
    client = await site.connect()
    await client.send(b"GET")
    await eventually(lambda: site.sample("handshakes") == 1)
    await site.server.stop(0.0)
    assert site.sample("handshakes_refused", "stopping") == 1
    await client.ended()


async def test_ends_are_counted_by_the_code_of_the_first_close_frame(site: Site) -> None:
    codes = {"1000": close(1000), "1005": b"", "1001": close(1001), "4xxx": close(4123), "1002": close(1)}
    for label, payload in codes.items():
        client = await site.open()
        await client.send(frame(CLOSE, payload))
        await client.ended()
        client.close()
        await eventually(lambda label=label: site.sample("connections_closed", label) == 1)
    client = await site.open()
    client.reset()
    await eventually(lambda: site.sample("connections_closed", "1006") == 1)


async def test_slow_clients_are_counted(start: Start) -> None:
    site = await start(send_queue=100_000)
    client = await site.open(small_buffers=True)
    await client.send(command("join", ["t"]))
    await client.frame()
    while "t" in site.hub:
        site.publish("t", "x" * 50_000)
        await asyncio.sleep(0)
    assert site.sample("slow_clients") == 1
    client.close()
    await eventually(lambda: site.sample("connections_closed", "1013") == 1)


@both_loops
async def test_silent_clients_are_counted(start: Start) -> None:
    site = await start(ping_interval=0.05, ping_timeout=0.05)
    client = await site.open()
    await client.ended()
    assert site.sample("silent_clients") == site.sample("connections_closed", "1006") == 1


def test_codes_of_applications_are_two_labels() -> None:
    """A client must not be able to make up time series."""
    stats = WebSocketMetrics()
    for code in range(3000, 5000):
        stats.count_close(code)
    assert stats.closed == {"3xxx": 1000, "4xxx": 1000}
