"""A Redis server of the test's own, which it may break, and brokers that notice soon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.broker_node import Node, started
from support.redis_nodes import Start, make_broker
from support.redis_servers import Monitor, Proxy, RedisServer, redis_server


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may break."""
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a node: `await start(address, option=value)`."""
    async with AsyncExitStack() as stack:

        async def start(*addresses: str, **options: Any) -> Node:
            return await stack.enter_async_context(started(make_broker(*addresses, **options)))

        yield start


@pytest.fixture
async def node(own: RedisServer, start: Start) -> Node:
    """A node on a server of its own."""
    running = await start(own.address)
    assert running.broker.ready
    return running


@pytest.fixture
async def proxy(own: RedisServer) -> AsyncIterator[Proxy]:
    """A proxy before a server of the test's own."""
    async with Proxy(own.port) as running:
        yield running


@pytest.fixture
def monitor(own: RedisServer) -> Iterator[Monitor]:
    """What is asked of the test's own server."""
    with ExitStack() as stack:
        watching = Monitor(own)
        stack.callback(watching.close)
        yield watching
