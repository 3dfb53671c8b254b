"""The server under test runs in this process, with the settings that most applications have: the defaults."""

from __future__ import annotations

import pytest

from adapters.ws.conftest import pytest_asyncio_loop_factories, site, start
from ws_peer import Client
from ws_site import Site, Start

__all__ = ["pytest_asyncio_loop_factories", "site", "start"]


@pytest.fixture
async def client(site: Site) -> Client:
    """A WebSocket to a server that lets everybody in."""
    return await site.open()


@pytest.fixture
async def patient(start: Start) -> Client:
    """A WebSocket that may send messages of 1 MiB."""
    return await (await start(max_message_size=1 << 20)).open()
