"""Workers die with the server, however it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from support.php_pool import WORKERS, alive
from support.waiting import eventually


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
async def test_busy_and_idle_workers_end_with_a_killed_server(relay_dsn: str, ending: signal.Signals) -> None:
    """The busy one does not read its pipe or socket, so only the kernel can tell it."""
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WORKERS / "server.py"),
        relay_dsn,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert server.stdout is not None
    pids = [int(pid) for pid in (await server.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    server.send_signal(ending)
    assert await server.wait() == -ending
    await eventually(lambda: not any(alive(pid) for pid in pids))
