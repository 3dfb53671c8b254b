"""The findings of `check`, and the text of the report."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rr_py_ws.config.yaml_file import without_item
from rr_py_ws.errors import Place

Kind = Literal["used", "ignored", "differs", "warning", "error"]
"""What a finding says about a part of the file."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        section: the top-level section that the finding is about; empty: a file, or a flag.
        kind: what the finding says.
        text: one line, which may have values of the file in it.
        key: dotted path of the key that it is about; empty: more than one, or none.
        place: where that was written.
    """

    section: str
    kind: Kind
    text: str
    key: str = ""
    place: Place | None = None


def about(key: str, kind: Kind, text: str) -> Finding:
    """Make a finding about one key; `check` knows where that was written."""
    return Finding(re.split(r"[.\[]", key)[0], kind, f"{without_item(key)}: {text}", key)


def has_errors(findings: Sequence[Finding]) -> bool:
    """Whether something would keep the server from starting."""
    return any(finding.kind == "error" for finding in findings)


def report_text(path: Path, findings: Sequence[Finding]) -> str:
    """Make the report for a terminal, without a line feed at its end: the errors, then the sections.

    Args:
        path: the file.
        findings: those of `check`, a section's next to each other.
    """
    lines = [str(path)]
    errors = [finding for finding in findings if finding.kind == "error"]
    if errors:
        errors.sort(key=lambda finding: finding.place.order if finding.place else ("", 0))
        lines += ["\nerrors", *(f"  {_shown(path, finding)}" for finding in errors)]
    section = ""
    for finding in findings:
        if finding.kind == "error":
            continue
        if finding.section != section:
            section = finding.section
            lines.append(f"\n{section}")
        lines.append(f"  {finding.kind:8} {_shown(path, finding)}")
    counts = _counts(findings)
    lines.append(f"\n{'cannot be served' if errors else 'can be served'}")
    lines.append(", ".join(f"{name}: {count}" for name, count in counts.items()))
    return "\n".join(lines)


def report_json(path: Path, findings: Sequence[Finding]) -> str:
    """Make the report about a file for programs; docs/operations.md has its form."""
    counts = _counts(findings)
    report = {
        "schema": 1,
        "file": str(path),
        "can_be_served": not has_errors(findings),
        "errors": counts["errors"],
        "warnings": counts["warnings"],
        "differences": counts["differences from RoadRunner"],
        "findings": [_finding(finding) for finding in findings],
    }
    return json.dumps(report, indent=2)


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "section": finding.section or None,
        "kind": finding.kind,
        "key": finding.key or None,
        "text": finding.text,
        "source": finding.place.source if finding.place else None,
        "line": finding.place.line if finding.place else None,
    }


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    kinds = [finding.kind for finding in findings]
    return {
        "errors": kinds.count("error"),
        "warnings": kinds.count("warning"),
        "differences from RoadRunner": kinds.count("differs"),
    }


def _shown(path: Path, finding: Finding) -> str:
    """Return a finding as one line, after its place."""
    text, place = finding.text, finding.place
    if place and not text.startswith(str(place)):
        text = f"{f'line {place.line}' if place.line and place.source == str(path) else place}: {text}"
    # A value of the file may have line ends in it, and sequences that control the terminal.
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )
