"""The program in a directory of its own, and a real RPC server for it to speak to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rr_py_ws.adapters.rpc import RPCListener, build_registry
from rr_py_ws.config import Limits
from support.program import Cli, Result, Running, start


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run the program in the test's directory."""

    async def run(*args: str, **env: str) -> Result:
        process = await start(*args, cwd=tmp_path, **env)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    return run


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A server, and the `.rr.yaml` that leads to it."""
    state = Running()
    registry = build_registry(
        publisher=state.published,
        pools={"websockets": state.websockets, "http": state.http},
        probes={},
        version="1",
        config=lambda: b"{}",
        limits=Limits(),
    )
    server = RPCListener(registry, "tcp://127.0.0.1:0", limits=Limits())
    await server.start()
    brokers = "broadcast: {default: {driver: memory}, replica: {driver: memory}}"
    (tmp_path / ".rr.yaml").write_text(f"rpc: {{listen: '{server.address}'}}\n{brokers}\n")
    yield state
    await server.stop(1.0)
