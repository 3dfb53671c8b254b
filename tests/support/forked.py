"""Short commands of the program in forks of a process that has loaded it: loading takes most of their time.

`support.program.start` starts the program anew, as users do. This file, run as a program, is the process that
has loaded it: each line of its stdin says what to run, each line of its stdout is the exit code of that.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rr_py_ws.cli import main
from support.waiting import DEADLINE

LOADED = ("rr_py_ws.cli.entry", "rr_py_ws.config", "rr_py_ws.adapters.rpc.client", "rr_py_ws.logs.outputs")


class Forked:
    """The process that has loaded the program."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, *args: str, cwd: Path, env: Mapping[str, str], out: Path, err: Path) -> int:
        """Run a command to its end; what it prints is in the files then. Returns its exit code."""
        assert self._process.stdin and self._process.stdout
        wanted = json.dumps([args, str(cwd), dict(env), str(out), str(err)])
        self._process.stdin.write(f"{wanted}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def forked() -> Iterator[Forked]:
    """Start the process; it ends with its stdin."""
    command = [sys.executable, "-m", "support.forked"]
    search_path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": search_path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Forked(process)


def _serve() -> None:
    for name in LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(*json.loads(line))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


def _become(args: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    """Be the program, and exit."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["rr-py-ws", *args]
    signal.alarm(int(DEADLINE))  # nobody else would end one that hangs
    main()


if __name__ == "__main__":
    _serve()
