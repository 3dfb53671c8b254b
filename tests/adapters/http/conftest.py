from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from rr_py_ws import logs
from rr_py_ws.adapters.http import connection, ending
from support.behind import Serve, answer_ok
from support.forward_site import ForwardSite, StartForward
from support.http_site import Site, Start, open_sockets
from support.loops import pytest_asyncio_loop_factories
from support.waiting import eventually

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts listeners; in the end they must have kept nothing, and the event loop must have no complaint."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    opened = open_sockets()
    sites: list[Site] = []

    async def start(
        *,
        tls: ssl.SSLContext | None = None,
        limits: dict[str, Any] | None = None,
        subnets: Sequence[str] = (),
        **options: Any,
    ) -> Site:
        sites.append(Site(limits or {}, subnets, **options))
        await sites[-1].listener.listen("127.0.0.1:0", tls)
        return sites[-1]

    yield start
    for site in sites:
        for client in site.clients:
            client.close()
        await site.listener.stop(5.0)
        await eventually(lambda site=site: site.sample("places_taken") == 0)  # type: ignore[misc]
        assert len(site.listener) == 0
    await eventually(lambda: open_sockets() == opened)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert complaints == []
    timers = getattr(loop, "_scheduled", ())  # asyncio's own loop can be looked into
    assert [timer for timer in timers if not timer.cancelled()] == []


@pytest.fixture
async def start_forward() -> AsyncIterator[StartForward]:
    """Starts forwarders; in the end nothing is left, and the event loop must have no complaint."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    opened = open_sockets()
    sites: list[ForwardSite] = []

    async def start(
        serve: Serve = answer_ok,
        *,
        subnets: Sequence[str] = (),
        **options: Any,
    ) -> ForwardSite:
        sites.append(ForwardSite(serve, subnets))
        await sites[-1].start(**options)
        return sites[-1]

    yield start
    for site in sites:
        await site.stop()
    await eventually(lambda: open_sockets() == opened)
    await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert complaints == []


@pytest.fixture
async def site(start: Start) -> Site:
    """A listener with the limits that a configuration without any has."""
    return await start()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was logged since the last look; every line, whatever earlier tests had to say."""
    for module in (connection, ending):
        monkeypatch.setattr(module, "log", logs.get_logger("websockets"))
    return lambda: capsys.readouterr().err
