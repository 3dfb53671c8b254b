"""The report: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import Line

_WIDTHS = (56, 9, 9, 9, 9, 7, 17)
_HEADINGS = ("", "ours", "(least)", "Bun", "(least)", "ratio", "target")
_OTHER_WIDTH = 12

LEGEND = """\
Medians of the rounds, in which the servers take turns; us: microseconds of the server's CPU time.
Bun: or what the line names behind "not" or ";". *: server and generator on one core. !: missed its target.
~: the load generator was busy all the time in some round, so that a server might have done more."""


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "rr-py-ws": version("rr-py-ws"),
        "load": os.getloadavg()[0],
    }


def heading(others: Sequence[str] = ()) -> str:
    """The first line of the table; others: the peers besides Bun."""
    return _row(_HEADINGS) + "".join(f"{name:>{_OTHER_WIDTH}}" for name in others)


def row(line: Line) -> str:
    """One line of the table: medians over the rounds, and the least."""
    ratio = line.ratio
    cells = _row(
        (
            f"{line.name}, {line.unit}".rstrip(", ") + " ~" * line.saturated,
            _figure(median(line.ours)),
            _figure(min(line.ours)),
            _figure(median(line.peer)) if line.peer else "-",
            _figure(min(line.peer)) if line.peer else "-",
            "-" if ratio is None else f"{ratio:.2f}",
            _target(line),
        )
    )
    return cells + "".join(f"{_figure(median(other)):>{_OTHER_WIDTH}}" for other in line.others)


def as_json(lines: Sequence[Line], about: dict[str, Any]) -> str:
    return json.dumps(
        {
            "machine": about,
            "lines": [
                {
                    "name": line.name,
                    "unit": line.unit,
                    "ours": line.ours,
                    "peer": line.peer,
                    "others": line.others,
                    "saturated": line.saturated,
                    "ratio": line.ratio,
                    "most": line.most,
                    "most_ratio": line.most_ratio,
                    "passed": line.passed,
                }
                for line in lines
            ],
        },
        indent=2,
    )


def _row(cells: Sequence[str]) -> str:
    first, *rest = (f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    return f"{first.strip():<{_WIDTHS[0]}}{''.join(rest)}"


def _figure(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _target(line: Line) -> str:
    limits = []
    if line.most is not None:
        limits.append(f"<={line.most:g}")
    if line.most_ratio is not None:
        limits.append(f"<={line.most_ratio:g}x")
    verdict = {True: "", False: "!", None: "no peer" if limits else ""}[line.passed]
    return " ".join([*limits, verdict]).rstrip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
