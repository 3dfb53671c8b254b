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
    # Until the commands are loaded, Ctrl-C ends the process as it ends others, without a traceback.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rr_py_ws.cli.entry import run

    signal.signal(signal.SIGINT, before)
    sys.exit(run())
