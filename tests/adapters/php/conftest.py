from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.adapters.auth import php as authorizer
from rr_py_ws.adapters.net import tasks
from rr_py_ws.adapters.php import breaker, output, pool, process, relay, slot, worker
from rr_py_ws.adapters.php.pool import WorkerPool
from support.loops import pytest_asyncio_loop_factories
from support.php_pool import Gate, RecordedLog, Start, children, make_pool
from support.ports import free_port

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> RecordedLog:
    """What the whole adapter logs."""
    recorded = RecordedLog()
    for module in (authorizer, tasks, breaker, slot, output, process, relay, worker):
        monkeypatch.setattr(module, "log", recorded)
    return recorded


@pytest.fixture
async def start(log: RecordedLog) -> AsyncIterator[Start]:
    """Starts pools, and stops them in the end; then no process is left."""
    pools: list[WorkerPool] = []

    async def start(*args: Any, **kwargs: Any) -> WorkerPool:
        pools.append(make_pool(*args, **kwargs))
        await pools[-1].start()
        return pools[-1]

    yield start
    await asyncio.gather(*(pool.stop() for pool in pools))
    assert children() == []
    assert not any("failed" in event for event in log.events("error")), log.text()


@pytest.fixture(autouse=True)
def longest_rest(monkeypatch: pytest.MonkeyPatch) -> float:
    """Resets do not rest between one another; returns for how long they do otherwise."""
    longest = pool._LONGEST_REST
    monkeypatch.setattr(pool, "_LONGEST_REST", 0.0)
    return longest


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "open")


@pytest.fixture(params=["pipes", "tcp", "unix"])
def relay_dsn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of `server.relay`."""
    match request.param:
        case "tcp":
            return f"tcp://127.0.0.1:{free_port()}"
        case "unix":
            return f"unix://{tmp_path}/relay.sock"
        case pipes:
            return str(pipes)
