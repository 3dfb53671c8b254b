"""The server under test runs in this process, with the settings that most applications have: the defaults.

But for the number of frames in a second: some cases send thousands, and nobody shall have to wait for them.
"""

from __future__ import annotations

from functools import partial

import pytest

from adapters.ws.conftest import pytest_asyncio_loop_factories
from adapters.ws.conftest import start as start_any
from support.ws_peer import Client
from support.ws_site import Site, Start

__all__ = ["pytest_asyncio_loop_factories", "start_any"]


@pytest.fixture
def start(start_any: Start) -> Start:
    """Starts servers; see `Start`."""
    return partial(start_any, commands_per_second=0)


@pytest.fixture
async def site(start: Start) -> Site:
    """A server that lets everybody in."""
    return await start()


@pytest.fixture
async def client(site: Site) -> Client:
    """A WebSocket to a server that lets everybody in."""
    return await site.open()


@pytest.fixture
async def patient(start: Start) -> Client:
    """A WebSocket that may send messages of 1 MiB."""
    return await (await start(max_message_size=1 << 20)).open()
