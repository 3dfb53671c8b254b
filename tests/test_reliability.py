"""The list of what was tried in `docs/reliability.md`."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "reliability.md").read_text()


def test_the_list_of_what_was_tried_has_every_number_once() -> None:
    """Points 1 to 25: each has what was tried, and what happens now."""
    tried = PAGE.split("## Tried, and what it did")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (\S.+) \| (\S.+) \|$", tried, re.M)
    assert [int(number) for number, _, _ in rows] == list(range(1, 26))
