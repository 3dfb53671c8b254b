"""One run of the server: from the start to a signal, and what is set for the process meanwhile."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import cast

import click

from rr_py_ws import __version__, config
from rr_py_ws.errors import RRWSError
from rr_py_ws.server import rlimits
from rr_py_ws.server.app import App
from rr_py_ws.server.systemd import InheritedSockets, notify


def run(loaded: config.Config, *, silent: bool, debug: bool) -> int:
    """Serve until SIGINT or SIGTERM and return the exit code.

    Args:
        loaded: a configuration that `config.validate_for_serve` accepts.
        silent: print nothing to stdout.
        debug: switch on asyncio's debug mode.

    Raises:
        RRWSError: the server cannot start; nothing of it is left running.
    """
    rlimits.raise_limit()
    with asyncio.Runner(loop_factory=_event_loop(), debug=debug) as runner:
        return runner.run(_serve(loaded, silent))


async def _serve(loaded: config.Config, silent: bool) -> int:
    stopping = asyncio.Event()
    _handle_signals(stopping, silent, loaded.endure.grace_period)
    app = App(loaded, InheritedSockets.take_over())
    try:
        await _unless(stopping, app.start())
        if not stopping.is_set():
            _relax_garbage_collector()
            notify("READY=1")
            if not silent:
                _say(f"[INFO] rr-py-ws server started; version: {__version__}")
            await stopping.wait()
    finally:
        notify("STOPPING=1")
        in_time = await app.stop(loaded.endure.grace_period)
    if not in_time:
        raise RRWSError("grace timeout exceeded, some parts were not stopped in order")
    return 0


async def _unless(stopping: asyncio.Event, starting: Coroutine[None, None, None]) -> None:
    """Wait for the start; a stop signal in the middle of it cancels it."""
    start, stop = asyncio.ensure_future(starting), asyncio.ensure_future(stopping.wait())
    await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
    for task in (start, stop):
        if not task.done():
            task.cancel()
    await asyncio.wait((start, stop))
    if not start.cancelled():
        start.result()


def _handle_signals(stopping: asyncio.Event, silent: bool, grace: float) -> None:
    """First signal: stop in order. Second: exit at once (RR internal/cli/serve/command.go @v2.11.4)."""

    def on_signal() -> None:
        if stopping.is_set():
            if not silent:
                _say("exit forced")
            os._exit(1)
        if not silent:
            _say(f"stop signal received, grace timeout is: {grace:g} seconds")
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)


def _say(line: str) -> None:
    """Tell the person at the terminal; a server goes on when nobody is there to read."""
    with suppress(OSError):
        click.echo(line)


def _event_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """The fastest loop there is: uvloop, or asyncio's own where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return cast(Callable[[], asyncio.AbstractEventLoop], uvloop.new_event_loop)


def _relax_garbage_collector() -> None:
    """Collect cycles less often: with many connections each full pass walks all of them and finds nothing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
