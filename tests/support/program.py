"""The program as a process, and what can stand behind the RPC server that it speaks to."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rr_py_ws.core.ports import Publish, WorkerState
from rr_py_ws.errors import BrokerError, WorkerStartError
from rr_py_ws.wire.publication import Publication


class Result(NamedTuple):
    """How a run of the program ended."""

    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """The environment of this process without what would change the program's configuration."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RR_", "DOTENV_"))}
    return inherited | {"NO_COLOR": "1"} | more


async def start(
    *args: str, cwd: Path, stdout: int = asyncio.subprocess.PIPE, **env: str
) -> asyncio.subprocess.Process:
    """Start the program with its output in pipes."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rr_py_ws",
        *args,
        cwd=cwd,
        env=environment(**env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


Cli = Callable[..., Awaitable[Result]]


def one_error_line(err: str) -> str:
    """The text of the error, which is all that is on stderr."""
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n"), err
    return err.removeprefix("error: ").rstrip("\n")


@dataclass
class Published:
    """A publisher that keeps what it is given, or refuses it."""

    messages: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    refuse: bool = False

    def publish(self, broker: str, publication: Publication) -> None:
        if self.refuse:
            raise BrokerError("the broker is away")
        self.messages.append((broker, [publication.topic], publication.payload))

    def publisher(self, broker: str) -> Publish:
        return partial(self.publish, broker)


@dataclass
class Workers:
    """A pool with given workers."""

    described: list[WorkerState] = field(default_factory=list)
    resets: int = 0
    broken: bool = False

    def states(self) -> list[WorkerState]:
        return self.described

    async def reset(self) -> None:
        if self.broken:
            raise WorkerStartError("php: not found\non this machine")
        self.resets += 1


@dataclass
class Running:
    """A running RPC server, and what stands behind it."""

    published: Published = field(default_factory=Published)
    websockets: Workers = field(default_factory=Workers)
    http: Workers = field(default_factory=Workers)
