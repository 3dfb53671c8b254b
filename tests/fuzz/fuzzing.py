"""The fuzzer on one target, in a process of its own: that is instrumented, and ends without cleaning up."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
MAX_LENGTH = 4096
"""Bytes; below what makes Python's own limits (digits of a number) differ from those of a C library."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        found: the files with what broke the target; each is worth a place in the corpus when it is mended.
        report: what the fuzzer said.
    """

    found: list[Path]
    report: str


def fuzz(name: str, directory: Path, *flags: str, module: str = "fuzz.targets") -> Outcome:
    """Fuzz a target.

    Args:
        name: of the target.
        directory: where inputs that reach new code are kept, and found again by the next run.
        flags: of libFuzzer, such as `-runs=1000`.
        module: where the target is.
    """
    kept, found = directory / "corpus", directory / "found"
    for folder in (kept, found):
        folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "fuzz.child", module, name, *flags),
        *(f"-max_len={MAX_LENGTH}", "-timeout=20", f"-dict={HERE / 'tokens.dict'}"),
        *(f"-artifact_prefix={found}/", str(kept), str(CORPUS / name)),
    ]
    path = (str(HERE.parent), os.environ.get("PYTHONPATH"))
    before = set(found.iterdir())
    run = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    report = run.stdout.decode("utf-8", "replace")
    new = sorted(set(found.iterdir()) - before)
    assert new or run.returncode == 0, f"the fuzzer did not run:\n{report}"
    return Outcome(new, report)
