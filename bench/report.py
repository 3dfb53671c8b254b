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

from bench.scenarios import Line

_WIDTHS = (44, 9, 9, 9, 9, 7, 16)
_HEADINGS = ("", "ours", "(least)", "bun", "(least)", "ratio", "target")


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


def heading() -> str:
    return _row(_HEADINGS)


def row(line: Line) -> str:
    """One line of the table: medians over the rounds, and the least."""
    ratio = line.ratio
    return _row(
        (
            f"{line.name}, {line.unit}",
            _figure(median(line.ours)),
            _figure(min(line.ours)),
            _figure(median(line.peer)) if line.peer else "-",
            _figure(min(line.peer)) if line.peer else "-",
            "-" if ratio is None else f"{ratio:.2f}",
            _target(line),
        )
    )


def as_json(lines: Sequence[Line], about: dict[str, Any]) -> str:
    return json.dumps(
        {
            "machine": about,
            "lines": [
                {
                    "name": line.name,
                    "unit": line.unit,
                    "ours": line.ours,
                    "bun": line.peer,
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
    verdict = {True: "PASS", False: "FAIL", None: "no peer" if limits else ""}[line.passed]
    return " ".join([*limits, verdict])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
