"""Fuzzes targets: `python -m fuzz.child MODULE`, then a line of JSON on stdin for each run.

A line names a target, the file for the report, a folder to be in, and the flags of libFuzzer, which ends the
process of a run. Such a process is a fork: to instrument the program takes far longer than a short run. The
answer is a line on stdout, with the exit code.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

import atheris

with atheris.instrument_imports(include=["rr_py_ws"]):
    targets = import_module(sys.argv[1]).TARGETS


def run(target: str, report: str, folder: str, flags: list[str]) -> None:
    """Fuzz a target in this process, and end it."""
    file = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.chdir(folder)
    atheris.Setup([sys.argv[0], *flags], targets[target])
    atheris.Fuzz()


for line in sys.stdin:
    if (child := os.fork()) == 0:
        run(*json.loads(line))
    sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
    sys.stdout.flush()
