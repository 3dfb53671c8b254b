"""Numbers that a part of the program tells about itself, for whoever shows them.

A part counts in plain integers of its own and makes metrics of them only when it is asked, so that counting
costs an addition, and showing costs nothing until somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

Values = float | Mapping[str, float] | Mapping[tuple[str, ...], float]


class Kind(StrEnum):
    """How a sample moves: a counter only up, from 0 at the start of the process; a gauge as it likes."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Sample:
    """One number, or one for each combination of label values.

    Attributes:
        name: in lower case with underscores, without a prefix and without the `_total` of counters.
        kind: see `Kind`.
        text: what it says, one line.
        labels: names of the labels.
        values: label values, as many as there are labels -> number.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


class MetricSource(Protocol):
    """A part of the program that has something to tell."""

    def metrics(self) -> Iterable[Sample]:
        """Read all metrics as they are now. Takes microseconds and does not wait."""


def counter(name: str, text: str, values: Values, *labels: str) -> Sample:
    """Make a counter; with labels, `values` is a map from their values."""
    return Sample(name, Kind.COUNTER, text, labels, _rows(values))


def gauge(name: str, text: str, values: Values, *labels: str) -> Sample:
    """Make a gauge; with labels, `values` is a map from their values."""
    return Sample(name, Kind.GAUGE, text, labels, _rows(values))


def _rows(values: Values) -> dict[tuple[str, ...], float]:
    if not isinstance(values, Mapping):
        return {(): values}
    return {key if isinstance(key, tuple) else (key,): value for key, value in values.items()}
