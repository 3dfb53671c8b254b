"""The findings of `check`, and the text of the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What a finding says about a part of the file."""

    USED = "used"
    IGNORED = "ignored"
    DIFFERS = "differs"
    WARNING = "warning"
    ERROR = "error"


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


@dataclass(frozen=True, slots=True)
class Report:
    """All findings about one file, a section's findings next to each other."""

    path: Path
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether the server would start."""
        return not self._count(Kind.ERROR)

    @property
    def text(self) -> str:
        """The report for a terminal, without a line feed at its end."""
        return "\n".join(self._lines())

    def _count(self, kind: Kind) -> int:
        return sum(finding.kind is kind for finding in self.findings)

    def _lines(self) -> Iterator[str]:
        yield str(self.path)
        section = ""
        for finding in self.findings:
            if finding.section != section:
                section = finding.section
                yield f"\n{section}"
            yield f"  {finding.kind:8} {_printable(finding.text)}"
        errors, warnings, differences = map(self._count, (Kind.ERROR, Kind.WARNING, Kind.DIFFERS))
        yield f"\n{'can be served' if self.ok else 'cannot be served'}"
        yield f"errors: {errors}, warnings: {warnings}, differences from RoadRunner: {differences}"


def _printable(text: str) -> str:
    """Escape what a value of the file may have in it: line ends, and sequences that control the terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )
