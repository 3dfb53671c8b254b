"""Real servers, real PHP, real clients. A failed test shows the log of every server that runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect as connect_websocket
from websockets.typing import Origin, Subprotocol

from e2e.client import Client, Connect, OpenRaw
from support.blocking import BlockingClient
from support.php import PHP, StartPHP
from support.process import Server, Servers


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server in Servers.running:
            lines = str(server.log).splitlines()[-40:]
            report.sections.append((f"log of {server.directory.name}", "\n".join(lines)))
    return report


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack, tmp_path_factory.mktemp)


@pytest.fixture
def path_without_php(tmp_path: Path) -> str:
    """A PATH with a `python3`, the one that runs the tests, and without `php`."""
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    folders = [folder for folder in os.environ["PATH"].split(":") if not (Path(folder) / "php").exists()]
    return ":".join([str(tmp_path), *folders])


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect WebSocket clients, which are closed after the test."""
    with ExitStack() as stack:

        def connect(
            server: Server,
            path: str = "/ws",
            *,
            headers: dict[str, str] | None = None,
            origin: str | None = None,
            subprotocol: str | None = None,
        ) -> Client:
            websocket = connect_websocket(
                server.url + path,
                additional_headers=headers,
                origin=Origin(origin) if origin else None,
                subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
                compression=None,
                proxy=None,
                ping_interval=None,
                max_size=None,
                max_queue=None,
            )
            return Client(stack.enter_context(websocket))

        yield connect


@pytest.fixture
def raw() -> Iterator[OpenRaw]:
    """Open TCP connections, which are closed after the test."""
    with ExitStack() as stack:

        def raw(server: Server, **options: Any) -> BlockingClient:
            connection = BlockingClient(server.address, **options)
            stack.callback(connection.close)
            return connection

        yield raw


@pytest.fixture
def php() -> Iterator[StartPHP]:
    """Start PHP processes that answer line by line; they end with the test."""
    with ExitStack() as stack:

        def php(server: Server, code: str) -> PHP:
            process = PHP(code, server.rpc)
            stack.callback(process.end)
            return process

        yield php
