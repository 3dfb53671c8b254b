"""Commands that ask a running server about its workers: `rr-py-ws workers` and `reset`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from rr_py_ws.cli.console import escape, fail, run, run_until_signal
from rr_py_ws.cli.flags import Command, Flags
from rr_py_ws.errors import RPCError, RRWSError

if TYPE_CHECKING:
    from rr_py_ws.adapters.rpc.client import RPCClient
    from rr_py_ws.config import Config

TIMEOUT = 10.0
_REFRESH_INTERVAL = 1.0
_COLUMNS = ("PID", "Status", "Execs", "Memory", "CPU%", "Created")
_UNITS = (
    ("year", 31536000),
    ("month", 2592000),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
    ("second", 1),
)


async def connect(config: Config) -> RPCClient:
    """Connect to the server of this configuration.

    Raises:
        RRWSError: the configuration has no RPC address, or no server answers there.
    """
    from rr_py_ws.adapters.rpc.client import RPCClient

    dsn = config.rpc_listen
    if dsn is None:
        raise RRWSError(
            "rpc service not specified in the configuration. Tip: add rpc: {listen: tcp://127.0.0.1:6001}"
        )
    return await RPCClient.connect(dsn)


@click.command(
    cls=Command,
    examples=["rr-py-ws workers", "rr-py-ws workers websockets -i"],
)
@click.argument("plugins", metavar="[PLUGIN...]", nargs=-1)
@click.option("-i", "--interactive", is_flag=True, help="Repeat each second until Ctrl-C.")
@click.pass_obj
def workers(flags: Flags, plugins: tuple[str, ...], interactive: bool) -> None:
    """Show the PHP workers of the running server.

    A table for each plugin that has workers: process id, state, requests answered, memory, CPU time as a
    share of its life, age.
    """
    if interactive:
        run_until_signal(flags, _show(flags, plugins, repeat=True))
    else:
        run(flags, _show(flags, plugins, repeat=False))


@click.command(
    cls=Command,
    short_help="Replace the PHP workers of the running server.",
    examples=["rr-py-ws reset", "rr-py-ws reset websockets"],
)
@click.argument("plugins", metavar="[PLUGIN...]", nargs=-1)
@click.pass_obj
def reset(flags: Flags, plugins: tuple[str, ...]) -> int:
    """Replace the PHP workers of the running server, e.g. after a deployment.

    Returns when the new workers are ready. Requests wait meanwhile, none is refused. The exit code is 1 when
    a plugin could not be reset.
    """
    return run(flags, _reset(flags, plugins))


async def _show(flags: Flags, plugins: tuple[str, ...], *, repeat: bool) -> None:
    async with await connect(flags.load_config()) as rpc:
        while True:
            text = await _tables(rpc, plugins)
            if repeat:
                click.clear()  # does nothing unless on a terminal
            click.echo(text, nl=False)
            if not repeat:
                return
            await asyncio.sleep(_REFRESH_INTERVAL)


async def _tables(rpc: RPCClient, plugins: tuple[str, ...]) -> str:
    known = await _names(rpc, "informer.List")
    for name in plugins:
        if name not in known:
            raise RRWSError(f"no plugin {name!r} has workers, accepted: {', '.join(known) or 'none'}")
    parts = []
    for name in plugins or known:
        answer = await rpc.call_json("informer.Workers", name, timeout=TIMEOUT)
        try:
            # The server may be RoadRunner itself, of any version, so nothing is taken for granted.
            rows = [_row(state, time.time()) for state in answer["workers"] or ()]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RRWSError(f"informer.Workers: the answer for {name} is not understood") from error
        if rows:
            parts.append(f"Workers of [{escape(name)}]:\n{_table(rows)}")
    return "".join(parts)


async def _names(rpc: RPCClient, method: str) -> list[str]:
    answer = await rpc.call_json(method, True, timeout=TIMEOUT)
    if not isinstance(answer, list) or not all(isinstance(name, str) for name in answer):
        raise RRWSError(f"{method}: the answer is not understood")
    return sorted(answer)


async def _reset(flags: Flags, plugins: tuple[str, ...]) -> int:
    def tell(text: str) -> None:
        if not flags.silent:
            click.echo(escape(text), err=True)

    async with await connect(flags.load_config()) as rpc:
        names = plugins or await _names(rpc, "resetter.List")
        # All at the same time: a plugin that takes long does not delay the others.
        return max(await asyncio.gather(*(_reset_one(rpc, name, tell) for name in names)), default=0)


async def _reset_one(rpc: RPCClient, name: str, tell: Callable[[str], None]) -> int:
    """Reset one plugin and return the exit code."""
    tell(f"resetting plugin: [{name}]")
    try:
        # No timeout: workers may finish what they do, for as long as their own limits allow.
        if await rpc.call_json("resetter.Reset", name) is not True:
            raise RPCError("the answer is not understood")
    except RPCError as error:
        return fail(f"plugin not reset: [{name}]: {error}")
    tell(f"plugin reset: [{name}]")
    return 0


def _row(state: dict[str, Any], now: float) -> tuple[str, ...]:
    """Cells of the table for one worker; RoadRunner before 2.11.2 has the state as a text in `status`."""
    return (
        str(int(state["pid"])),
        escape(str(state.get("statusStr") or state["status"])),
        f"{int(state['numExecs']):,}",
        decimal_size(int(state["memoryUsage"])),
        f"{float(state['CPUPercent']):.2f}",
        age(now - int(state["created"]) / 1e9),
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    # Loaded late: rich takes a noticeable time, and only this command draws tables.
    from io import StringIO

    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*_COLUMNS, box=box.ASCII)
    for row in rows:
        table.add_row(*row)
    # A fixed width: the table must not be cut to the width of a terminal that a script does not have.
    output = Console(file=StringIO(), width=200, markup=False, highlight=False)
    with output.capture() as captured:
        output.print(table)
    return captured.get()


def decimal_size(count: int) -> str:
    """Format a number of bytes for a person: `31 MB`, `4.2 GB`."""
    size, units = float(count), iter(("B", "kB", "MB", "GB", "TB", "PB", "EB"))
    unit = next(units)
    while size >= 1000 and (larger := next(units, "")):
        size, unit = size / 1000, larger
    return f"{size:.1f} {unit}" if unit != "B" and size < 10 else f"{size:.0f} {unit}"


def age(seconds: float) -> str:
    """Format a time in the past for a person: `5 minutes ago`."""
    for unit, length in _UNITS:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s'[: count != 1]} ago"
    return "now"
