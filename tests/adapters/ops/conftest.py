from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from starlette.types import ASGIApp

from rr_py_ws.adapters.ops import OpsListener
from support.loops import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]


Serve = Callable[..., Awaitable[OpsListener]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve pages on free ports; the servers are stopped in the end."""
    servers: list[OpsListener] = []

    async def serve(page: ASGIApp, address: str = "127.0.0.1:0", *, max_connections: int = 64) -> OpsListener:
        options = {"key": "metrics.address", "max_connections": max_connections}
        servers.append(OpsListener(page, address, **options))
        await servers[-1].start()
        return servers[-1]

    yield serve
    await asyncio.gather(*(server.stop(1.0) for server in servers))
