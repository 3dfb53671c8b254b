"""The `rr-py-ws` command: RoadRunner's command line, as far as it concerns websockets and broadcast.

Every error is one line `error: ...` on stderr and exit code 1; success is 0; there are no other codes.
Modules that cost time to load are imported inside the commands that need them.
"""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit."""
    # Until the commands are loaded, Ctrl-C ends the process as it ends others, without a traceback. Where it
    # is ignored (a job in the background), or is handled by somebody else, that stays as it is.
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rr_py_ws.cli.entry import run

    if raises:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run())
