"""Fuzz for a while: `python -m fuzz [--seconds N] [TARGET...]`, every target if none is named.

What is learned is kept in `.fuzz/` and built upon by the next run. Exit code 1: something was found.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz.fuzzing import Fuzzer, Outcome
from fuzz.targets import TARGETS

KEPT = Path(".fuzz").absolute()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    options = parser.parse_args()
    unknown = set(options.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}")
    names = options.targets or list(TARGETS)

    def run(name: str) -> Outcome:
        with Fuzzer() as fuzzer:
            return fuzzer.fuzz(name, KEPT / name, f"-max_total_time={options.seconds}")

    failed = False
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, outcome in zip(names, pool.map(run, names), strict=True):
            runs = re.findall(r"^#(\d+)", outcome.report, re.MULTILINE)
            count = int(runs[-1]) if runs else 0
            print(f"{name:16} {count:>12,} runs, {len(outcome.found)} found", flush=True)
            if outcome.found:
                failed = True
                print(outcome.report[-6000:], *outcome.found, sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
