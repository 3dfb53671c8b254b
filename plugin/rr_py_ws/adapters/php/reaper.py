"""Reaps children that nobody waits for: orphans, which the kernel gives to process 1 of a container.

What PHP starts in the background outlives its parents. Without somebody who reaps it, each that ends stays
in the table of processes until the container has none left.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from rr_py_ws.adapters.php.process import Process

_INTERVAL = 1.0
"""Seconds between two looks. Not SIGCHLD, which uvloop keeps to itself; a look takes microseconds."""
_BATCH = 100
"""Children that are reaped in one look."""


def reap_orphans() -> None:
    """Reap whatever ends, now and then, as long as the running event loop runs."""
    for _ in range(_BATCH):
        if not _reap_one():
            break
    asyncio.get_running_loop().call_later(_INTERVAL, reap_orphans)


def _reap_one() -> bool:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # there are no children
        return False
    if ended is None:
        return False
    # The exit code belongs to whoever started it; it has to be taken here, or it would be found again.
    if (process := Process.running.get(ended.si_pid)) is not None:
        process.reap()
    else:
        with suppress(ChildProcessError):
            os.waitpid(ended.si_pid, os.WNOHANG)
    return True
