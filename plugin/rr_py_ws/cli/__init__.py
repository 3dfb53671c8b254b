"""The `rr-py-ws` command: RoadRunner's command line, as far as it concerns websockets and broadcast.

Every error is one line `error: ...` on stderr and exit code 1; success is 0; there are no other codes.
Modules that cost time to load are imported inside the commands that need them.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit."""
    _open_standard_streams()
    # Loading makes many objects and no cycles: passes of the collector would take an eighth of a start. And a
    # server has many connections, which are freed without it; a full pass would walk all of them.
    gc.set_threshold(50_000, 20, 50)
    # Until the commands are loaded, Ctrl-C ends the process as it ends others, without a traceback. Where it
    # is ignored (a job in the background), or is handled by somebody else, that stays as it is.
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rr_py_ws.cli.entry import run

    if raises:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = run()
    _flush_standard_streams()
    sys.exit(code)


def _open_standard_streams() -> None:
    """Open those that the process was started without, on /dev/null.

    Otherwise the first sockets get their numbers, and what is written to stderr goes to a client.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one


def _flush_standard_streams() -> None:
    """Write what the streams still hold; when nobody takes it, forget it.

    Python does it once more when it exits, and an error then is exit code 120, whatever the command has done.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # the reader is gone, a closed stream, no stream
            with suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
