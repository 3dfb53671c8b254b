"""A log for tests that read whole lines."""

from __future__ import annotations


class Lines:
    """A log whose lines are event and the values of the fields.

    Attributes:
        infos: see `Logger`.
    """

    infos = True

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.lines.append(" ".join([event, *map(str, fields.values())]))

    warning = error = info
