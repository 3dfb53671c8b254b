"""Becomes a worker: a script that runs between the server's fork and PHP, and is never imported.

::

    python -I -S exec_shim.py SERVER_PID FILES UID:GID PROGRAM ARGV...

What happens here cannot be done by the server itself: Python code in the forked child of a process with
threads may hang. `FILES` is the soft limit of open files; `UID:GID` is empty for the server's own account.
The process id does not change, so the server sees the worker's.

Whoever kills workers makes others wait for their successors, so this takes as little time as it can: `signal`
would import `enum` for its names, a quarter of all the time.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import ctypes
import os
import resource
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def main(server: str, files: str, account: str, program: str, *argv: str) -> None:
    """Become `program`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The server has raised its own limit, which a child inherits; `select` cannot take descriptors over 1023.
    if int(files) < soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(files), hard))
    if account:
        uid, gid = account.split(":")
        # In this order: after setuid none of the others is allowed any more.
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    # After the change of account, which clears it. SIGKILL when the server dies, however it dies.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != int(server):
        return  # it died before that, so the kernel will not tell
    # Python ignores these two, and a program inherits what is ignored.
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    # Keeps the process id and the pipes.
    os.execv(program, argv)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        # The server logs what comes here, and 126 is a shell's code for it.
        sys.stderr.write(f"cannot run {sys.argv[4]}: {error.strerror}\n")
        sys.exit(126)
