"""The findings of `check`, and the text of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["used", "ignored", "differs", "warning", "error"]
"""What a finding says about a part of the file."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        section: the top-level section that the finding is about.
        kind: what the finding says.
        text: one line, which may have values of the file in it.
    """

    section: str
    kind: Kind
    text: str


def has_errors(findings: Sequence[Finding]) -> bool:
    """Whether something would keep the server from starting."""
    return any(finding.kind == "error" for finding in findings)


def report_text(path: Path, findings: Sequence[Finding]) -> str:
    """Make the report about a file for a terminal, without a line feed at its end.

    Args:
        path: the file.
        findings: those of `check`, a section's next to each other.
    """
    lines = [str(path)]
    section = ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            lines.append(f"\n{section}")
        # A value of the file may have line ends in it, and sequences that control the terminal.
        shown = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
            for char in finding.text
        )
        lines.append(f"  {finding.kind:8} {shown}")
    kinds = [finding.kind for finding in findings]
    errors, warnings, differences = (kinds.count(kind) for kind in ("error", "warning", "differs"))
    lines.append(f"\n{'cannot be served' if errors else 'can be served'}")
    lines.append(f"errors: {errors}, warnings: {warnings}, differences from RoadRunner: {differences}")
    return "\n".join(lines)
