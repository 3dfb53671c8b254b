"""`rr-py-ws serve`, and `rr-py-ws stop` with the `.pid` file that `serve -p` keeps for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import click

from rr_py_ws.cli.flags import Command, Flags
from rr_py_ws.cli.pid_file import RunningServer, pid_file

if TYPE_CHECKING:
    from rr_py_ws.config import Config

_FORCE_AFTER = 1.0
"""Seconds between the two signals of `stop --force`."""


@click.command(
    cls=Command,
    examples=[
        "rr-py-ws serve",
        "rr-py-ws serve -c /etc/app/.rr.yaml -w /srv/app",
        "rr-py-ws serve -o websockets.authorize=none -o logs.level=info",
        "rr-py-ws serve -p   # then: rr-py-ws stop",
    ],
)
@click.pass_obj
def serve(flags: Flags) -> int:
    """Run the server until SIGINT or SIGTERM.

    Clients are told to go (close code 1001), workers are stopped, and the exit code is 0 when that took no
    longer than `endure.grace_period`. A second signal exits at once, with 1. SIGHUP has the file read again.
    """
    with _exit_on_signals():  # from here on: the imports alone take a noticeable time
        from rr_py_ws import logs
        from rr_py_ws.server import run
        from rr_py_ws.server.preparation import prepare

        loaded, errors = flags.read_config()
        prepared = prepare(loaded, errors)
        prepared.expect_no_problem()
        read_again = partial(_read_again, flags, loaded)
        if flags.debug:
            loaded = _at_debug(loaded)
        logs.setup(loaded.logs, loaded.settings.limits.log_queue)
        try:
            # After the checks: a server that cannot start must not take the file from one that runs.
            with pid_file() if flags.pid else nullcontext():
                return run.run(loaded, prepared, read_again, silent=flags.silent, debug=flags.debug)
        finally:
            logs.shutdown()


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Have SIGINT and SIGTERM end the process with code 0 as long as the event loop does not handle them."""

    def end(number: int, frame: FrameType | None) -> None:
        # As for a stop later: being told to go before the start is done is not a failure.
        raise SystemExit(0)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: a handler that was not installed from Python.
            signal.signal(number, handler or signal.SIG_DFL)


def _read_again(flags: Flags, loaded: Config) -> Config:
    found = flags.load_again(loaded)
    return _at_debug(found) if flags.debug else found


def _at_debug(loaded: Config) -> Config:
    # Not -o logs.level=debug: that would not reach the channels, which inherit nothing.
    channels = {
        name: channel.model_copy(update={"level": "debug"}) for name, channel in loaded.logs.channels.items()
    }
    logs = loaded.logs.model_copy(update={"level": "debug", "channels": channels})
    return loaded.model_copy(update={"logs": logs})


@click.command(
    cls=Command,
    short_help="Stop the server that was started with `serve -p`.",
    examples=[
        "rr-py-ws serve -p     # the server must have been started like this",
        "rr-py-ws stop",
        "rr-py-ws stop --force # exit now, without waiting for what is in progress",
    ],
)
@click.pass_obj
def stop(flags: Flags) -> None:
    """Stop the server that was started with `serve -p` in the same working directory.

    Returns at once; the server takes up to `endure.grace_period` to end. With --force it is told a second
    time after one second, and exits whatever it is doing.
    """
    # The configuration is not read: stopping must work also when the file has become wrong.
    flags.enter_workdir()
    with RunningServer() as server:
        if not flags.silent:
            click.echo(f"stopping process with PID: {server.pid}", err=True)
        server.terminate()
        if flags.force and not server.ends_within(_FORCE_AFTER):
            server.terminate()
