"""`docs/reliability.md` says how many cases the conformance suite has; this counts them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUITE = "tests/conformance"
PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROW = re.compile(rf"^\| \[[^]]+\]\(\.\./{SUITE}/(test_\w+\.py)\) \| (\d+) \|", re.M)
TOTAL = re.compile(r"\*\*([\d,]+) cases\*\*")


def test_the_stated_numbers_of_cases_are_those_that_are_collected() -> None:
    """A case that runs on both event loops is one case."""
    collected = Counter(case.partition("::")[0] for case in {_without_loop(case) for case in _collect()})
    stated = {f"{SUITE}/{name}": int(count) for name, count in ROW.findall(PAGE)}
    assert stated == collected
    assert TOTAL.findall(PAGE) == [f"{collected.total():,}"]


def _collect() -> list[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", SUITE]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [line for line in listing.splitlines() if line.startswith(SUITE)]


def _without_loop(case: str) -> str:
    return re.sub(r"\[(asyncio|uvloop)(-|\])", "[", case, count=1)
