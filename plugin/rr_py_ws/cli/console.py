"""What the commands write to the terminal."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rr_py_ws.errors import RRWSError

if TYPE_CHECKING:
    from rr_py_ws.adapters.rpc.client import RPCClient
    from rr_py_ws.cli.flags import Flags

_T = TypeVar("_T")


def escape(text: str) -> str:
    """Make text of a peer fit for one line of the terminal."""
    from rr_py_ws.logs import escape as visible  # takes as long to load as all the rest of a short command

    return visible(text)


def fail(text: str) -> int:
    """Write the error line; returns the exit code."""
    line = escape(" ".join(text.split()))  # RoadRunner's RPC errors are chains over several lines
    click.secho(f"error: {line}", err=True, fg="red", bold=True)
    return 1


def run(flags: Flags, work: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end, and return the result."""
    if not flags.debug:
        # What a library reports by `logging` would be a traceback; the error line says what went wrong.
        logging.getLogger().addHandler(logging.NullHandler())
    return asyncio.run(work)


def run_until_signal(flags: Flags, work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, or until SIGINT or SIGTERM, which is a good end too."""

    async def guarded() -> None:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    run(flags, guarded())


async def connect_rpc(flags: Flags) -> RPCClient:
    """Connect to the server of this configuration.

    Raises:
        ConfigError: the configuration cannot be used.
        RRWSError: it has no RPC address, or nobody answers there.
    """
    from rr_py_ws.adapters.rpc.client import RPCClient

    dsn = flags.load_config().rpc_listen
    if dsn is None:
        raise RRWSError(
            "rpc service not specified in the configuration. Tip: add rpc: {listen: tcp://127.0.0.1:6001}"
        )
    return await RPCClient.connect(dsn)
