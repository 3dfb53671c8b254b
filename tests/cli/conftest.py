"""The program in a directory of its own, and a real RPC server for it to speak to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from rr_py_ws.adapters.rpc import RPCListener, build_registry
from rr_py_ws.config import Limits
from support.forked import Forked, forked
from support.program import Cli, Result, Running, environment


@pytest.fixture(scope="module")
def loaded() -> Iterator[Forked]:
    """The program, loaded."""
    with forked() as running:
        yield running


@pytest.fixture
def cli(loaded: Forked, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Run a command of the program in the test's directory."""
    printed = tmp_path_factory.mktemp("printed")
    out, err = printed / "out", printed / "err"

    async def run(*args: str, **env: str) -> Result:
        running = partial(loaded.run, *args, cwd=tmp_path, env=environment(**env), out=out, err=err)
        return Result(await asyncio.to_thread(running), out.read_text(), err.read_text())

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
