"""One run of the server process: limits and event loop, signals, start and stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable

from rr_py_ws import __version__, config, logs, native
from rr_py_ws.adapters.php.reaper import reap_orphans
from rr_py_ws.errors import RRWSError
from rr_py_ws.server import allocator, rlimits
from rr_py_ws.server.app import App
from rr_py_ws.server.changes import Changes
from rr_py_ws.server.loop import event_loop
from rr_py_ws.server.preparation import Preparation
from rr_py_ws.server.reload import Reloader
from rr_py_ws.server.systemd import InheritedSockets, notify

_FORCED_TIMEOUT = 0.1
"""Seconds, at most, that the last lines of the log may take at a forced exit."""


def run(
    loaded: config.Config,
    prepared: Preparation,
    read_again: Callable[[], config.Config],
    *,
    silent: bool,
    debug: bool,
) -> int:
    """Serve until SIGINT or SIGTERM and return the exit code.

    Args:
        loaded: the configuration.
        prepared: of this configuration, without problems.
        read_again: reads the configuration at SIGHUP.
        silent: print nothing to stdout.
        debug: switch on asyncio's debug mode.

    Raises:
        RRWSError: the server cannot start, and nothing of it is left running; or it did not stop in the
            grace period.
    """
    if loaded.settings.processes > 1:
        from rr_py_ws.server import processes

        return processes.run(loaded, prepared, read_again, silent=silent, debug=debug)
    # First: the shares of clients and of RPC are computed from it.
    rlimits.raise_limit()
    allocator.keep_freed_memory()
    with asyncio.Runner(loop_factory=event_loop(), debug=debug) as runner:
        return runner.run(_serve(loaded, prepared, read_again, silent))


def print_start() -> None:
    """Print what tells people, and scripts that wait for it, that the server is started."""
    logs.print_line(f"[INFO] rr-py-ws server started; version: {__version__}")
    if native.MISSING:
        logs.print_line(f"[INFO] it runs without its native part, slower: {native.MISSING}")


async def _serve(
    loaded: config.Config, prepared: Preparation, read_again: Callable[[], config.Config], silent: bool
) -> int:
    stopping = asyncio.Event()
    _handle_signals(stopping, silent, lambda: app.grace_period)
    reap_orphans()
    app = App(loaded, prepared, InheritedSockets.take_over())
    certificates = app.certificates
    changes = Changes(loaded, serves_pages=app.serves_pages)
    reloader = Reloader(loaded, read_again, app.reload, certificates.look, changes)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.ask)
    background: list[asyncio.Future[None]] = []
    try:
        await _start_or_stop(app, stopping)
        if not stopping.is_set():
            _freeze()
            notify("READY=1")
            if not silent:
                print_start()
            background = [asyncio.ensure_future(work) for work in (reloader.run(), certificates.run())]
            await stopping.wait()
    finally:
        for task in background:
            task.cancel()
        if background:
            await asyncio.wait(background)
        # Also after a start that failed, whose clean-up takes a moment.
        notify("STOPPING=1")
        in_time = await app.stop(app.grace_period)
    if not in_time:
        raise RRWSError("grace timeout exceeded, some parts were not stopped in order")
    return 0


async def _start_or_stop(app: App, stopping: asyncio.Event) -> None:
    """Start the app; a stop signal cancels the start."""
    start, stop = asyncio.ensure_future(app.start()), asyncio.ensure_future(stopping.wait())
    await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
    for task in (start, stop):
        if not task.done():
            task.cancel()
    await asyncio.wait((start, stop))  # A cancelled start needs some turns of the loop to clean up.
    if not start.cancelled():
        start.result()


def _handle_signals(stopping: asyncio.Event, silent: bool, grace: Callable[[], float]) -> None:
    """Stop in order at the first SIGINT or SIGTERM, exit at once at the second.

    Source: RR internal/cli/serve/command.go @v2.11.4.
    """

    def on_signal() -> None:
        if stopping.is_set():
            if not silent:
                logs.print_line("exit forced")
            logs.shutdown(_FORCED_TIMEOUT)
            os._exit(1)  # not sys.exit: nothing may delay the exit, neither tasks nor threads
        if not silent:
            logs.print_line(f"stop signal received, grace timeout is: {grace():g} seconds")
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)


def _freeze() -> None:
    """Have passes over cycles leave out what the start has made, which lives as long as the process."""
    # Without a pass before: the start leaves next to nothing in cycles, and would take a tenth longer.
    gc.freeze()
