"""`rr-py-ws stop`, and the `.pid` file that `serve -p` keeps for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from rr_py_ws.cli.flags import Command, Flags
from rr_py_ws.errors import ConfigError, RRWSError

PID_FILE = Path(".pid")
_PATIENCE = 1.0
_LOOK_AGAIN = 0.05
_MAX_PID_FILE = 64


@contextmanager
def pid_file() -> Iterator[None]:
    """Keep this process's id in `.pid` of the working directory meanwhile.

    Raises:
        ConfigError: the file cannot be written.
    """
    own = str(os.getpid())
    try:
        PID_FILE.write_text(own, encoding="ascii")
    except OSError as error:
        raise ConfigError("--pid", f"cannot write {PID_FILE.absolute()}: {error.strerror}") from error
    try:
        yield
    finally:
        # Another server that was started here meanwhile has its own id in it.
        if PID_FILE.exists() and PID_FILE.read_text(encoding="ascii", errors="replace") == own:
            PID_FILE.unlink()


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
    flags.enter_workdir()
    pid = _read_pid()
    if not flags.silent:
        click.echo(f"stopping process with PID: {pid}", err=True)
    if not _terminate(pid):
        raise RRWSError(f"no process has the id {pid} of {PID_FILE.absolute()}; is it left from a crash?")
    if flags.force and not _ends_within(pid, _PATIENCE):
        _terminate(pid)


def _read_pid() -> int:
    try:
        with PID_FILE.open("rb") as file:
            text = file.read(_MAX_PID_FILE).strip()
    except FileNotFoundError:
        raise RRWSError(
            "open .pid: no such file or directory, to create a .pid file, you must run RR with the following"
            " options: 'rr-py-ws serve -p'"
        ) from None
    except OSError as error:
        raise RRWSError(f"cannot read {PID_FILE.absolute()}: {error.strerror}") from error
    if not text.isdigit() or not 0 < int(text) < 2**31:
        raise RRWSError(
            f"{PID_FILE.absolute()} holds no process id: {text.decode('ascii', 'backslashreplace')}"
        )
    return int(text)


def _terminate(pid: int) -> bool:
    """Send SIGTERM; False when there is no such process."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise RRWSError(f"process {pid} belongs to another user") from None
    return True


def _ends_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(_LOOK_AGAIN)
    return False
