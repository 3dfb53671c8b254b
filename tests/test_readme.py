"""The table of defects in README.md is complete and true."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
WANTED = [*range(1, 10), *range(11, 14), *range(18, 21), *range(23, 27), *range(29, 34)]
ROW = re.compile(r"^\| D-(\d+) \| .+ \| (.+) \|$", re.M)


def test_every_defect_has_end_to_end_tests_that_are_named_after_it() -> None:
    """Both ways: a test that is named after a defect is in its row, and what is in a row exists."""
    listed = {int(number): re.findall(r"`(\w+)`", cell) for number, cell in ROW.findall(readme())}
    assert list(listed) == WANTED
    existing = re.findall(r"^def (test_d(\d+)_\w+)", sources(), re.M)
    for number in WANTED:
        assert listed[number] == [name for name, its_number in existing if int(its_number) == number]
        assert listed[number], f"no test for D-{number}"


def readme() -> str:
    return (TESTS / "README.md").read_text()


def sources() -> str:
    return "\n".join(path.read_text() for path in sorted((TESTS / "e2e").glob("test_*.py")))
