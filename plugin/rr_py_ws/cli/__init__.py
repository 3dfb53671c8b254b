"""The `rr-py-ws` command: RoadRunner's command line, as far as it concerns websockets and broadcast.

Every error is one line `error: ...` on stderr and exit code 1; success is 0; there are no other codes.
Modules that cost time to load are imported inside the commands that need them.
"""

from __future__ import annotations

from rr_py_ws.cli.entry import main

__all__ = ["main"]
