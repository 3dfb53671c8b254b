"""`rr-py-ws serve`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING

import click

from rr_py_ws.cli.flags import Command, Flags
from rr_py_ws.cli.stop import pid_file

if TYPE_CHECKING:
    from rr_py_ws.config import Logs


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
    longer than `endure.grace_period`. A second signal exits at once, with 1.
    """
    with _stoppable_before_the_start():
        return _serve(flags)


def _serve(flags: Flags) -> int:
    from rr_py_ws import config, logs
    from rr_py_ws.server import run

    loaded = flags.load_config()
    config.validate_for_serve(loaded)
    if flags.debug:
        loaded = loaded.model_copy(update={"logs": _at_debug(loaded.logs)})
    logs.setup(loaded.logs)
    try:
        with pid_file() if flags.pid else nullcontext():
            return run.run(loaded, silent=flags.silent, debug=flags.debug)
    finally:
        logs.shutdown()


@contextmanager
def _stoppable_before_the_start() -> Iterator[None]:
    """Until the event loop listens to signals there is nothing to stop: one ends the process, in order."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _at_debug(logs: Logs) -> Logs:
    channels = {
        name: channel.model_copy(update={"level": "debug"}) for name, channel in logs.channels.items()
    }
    return logs.model_copy(update={"level": "debug", "channels": channels})
