"""The server under test runs in this process, with the settings that most applications have: the defaults.

But for the number of frames in a second: some cases send thousands, and nobody shall have to wait for them.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from adapters.ws.conftest import start as start_any
from conformance.pairwise import deselect
from support.loops import pytest_asyncio_loop_factories
from support.ws_peer import Client
from support.ws_site import Site, Start

__all__ = ["pytest_asyncio_loop_factories", "start_any"]

HERE = Path(__file__).parent


@pytest.hookimpl(trylast=True)  # after `-k` and `-m`: what is left must cover its pairs
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run pairs of values, not all combinations, unless `CONFORMANCE=full` asks for those."""
    if os.environ.get("CONFORMANCE") == "full":
        return
    dropped = deselect([item for item in items if HERE in item.path.parents])
    config.hook.pytest_deselected(items=[item for item in items if item in dropped])
    items[:] = [item for item in items if item not in dropped]


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
