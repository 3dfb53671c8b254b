"""The fuzzer on one target, in a process of its own: that is instrumented, and ends without cleaning up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

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


class Fuzzer:
    """A process that fuzzes targets, one after the other; to be used in a `with`.

    Args:
        module: where the targets are.
    """

    def __init__(self, module: str = "fuzz.targets") -> None:
        path = (str(HERE.parent), os.environ.get("PYTHONPATH"))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.child", module],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libFuzzer's words about what it instruments
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def fuzz(self, name: str, directory: Path, *flags: str) -> Outcome:
        """Fuzz a target.

        Args:
            name: of the target.
            directory: where inputs that reach new code are kept, and found again by the next run.
            flags: of libFuzzer, such as `-runs=1000`.
        """
        kept, found, report = directory / "corpus", directory / "found", directory / "report"
        for folder in (kept, found):
            folder.mkdir(parents=True, exist_ok=True)
        flags = (
            *flags,
            *(f"-max_len={MAX_LENGTH}", "-timeout=20", f"-dict={HERE / 'tokens.dict'}"),
            *(f"-artifact_prefix={found}/", str(kept), str(CORPUS / name)),
        )
        before = set(found.iterdir())
        assert self._process.stdin and self._process.stdout
        print(json.dumps((name, str(report), str(directory), flags)), file=self._process.stdin, flush=True)
        code = self._process.stdout.readline()
        text = report.read_text("utf-8", "replace") if report.exists() else "there is no report"
        new = sorted(set(found.iterdir()) - before)
        assert new or code == "0\n", f"the fuzzer did not run:\n{text}"
        return Outcome(new, text)
