from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from rr_py_ws import logs
from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.http import connection as http_connection
from rr_py_ws.adapters.http import ending as http_ending
from rr_py_ws.adapters.http import limiter
from rr_py_ws.adapters.ws import connection, handler, upgrade
from rr_py_ws.core import fail_closed
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.node import Node
from rr_py_ws.core.ports import Authorizer
from support.loops import pytest_asyncio_loop_factories
from support.waiting import eventually
from support.ws_site import Server, Site, Start, make_backpressure, open_sockets

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts servers; in the end they must have kept nothing, and the event loop must not have complained."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    opened = open_sockets()
    sites: list[Site] = []

    async def start(
        authorizer: Authorizer | None = None, *, tls: ssl.SSLContext | None = None, **settings: Any
    ) -> Site:
        backpressure = make_backpressure(settings.pop("turn", 1 << 30))
        rules = HistoryRules(settings.get("history", ()))
        broker = MemoryBroker(rules, settings.get("history_memory", 1 << 26))
        node = Node({"default": broker}, "default", loop.call_soon, backpressure)
        await node.start()
        server = Server(authorizer or AllowAll(), node, backpressure, **settings)
        await server.listen("127.0.0.1:0", tls)
        sites.append(Site(server, node, backpressure))
        return sites[-1]

    yield start
    for site in sites:
        for client in site.clients:
            client.close()
        await site.server.stop(5.0)
        assert site.server.connections == 0
        assert len(site.hub) == 0
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert complaints == []
    timers = getattr(loop, "_scheduled", ())  # asyncio's own loop can be looked into
    assert [timer for timer in timers if not timer.cancelled()] == []
    await eventually(lambda: open_sockets() == opened)


@pytest.fixture
async def site(start: Start) -> Site:
    """A server that lets everybody in."""
    return await start()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was logged so far; every line, whatever earlier tests had to say."""
    for module in (connection, fail_closed, handler, http_connection, http_ending, limiter, upgrade):
        monkeypatch.setattr(module, "log", logs.get_logger("websockets"))
    return lambda: capsys.readouterr().err


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Without the garbage collector: what is in a cycle stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
