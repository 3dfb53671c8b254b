"""Metrics that parts of the program report about themselves, independent of how they are served.

A part counts in plain integers of its own and makes samples of them only when it is asked, so that counting
costs an addition, and serving metrics costs nothing between two scrapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Values = float | Mapping[str, float] | Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One number, or one for each combination of label values.

    Attributes:
        name: in lower case with underscores, without a prefix and without the `_total` of counters.
        kind: a counter only goes up, from 0 at the start of the process; a gauge goes up and down.
        text: what the number means, one line.
        labels: names of the labels.
        values: label values, as many as there are labels -> number.
    """

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


class MetricSource(Protocol):
    """A part of the program that has metrics."""

    def metrics(self) -> Iterable[Sample]:
        """Read all metrics as they are now. Takes microseconds and does not wait."""


def counter(name: str, text: str, values: Values, *labels: str) -> Sample:
    """Make a counter; with labels, `values` is a map from their values."""
    return Sample(name, "counter", text, labels, _by_labels(values))


def gauge(name: str, text: str, values: Values, *labels: str) -> Sample:
    """Make a gauge; with labels, `values` is a map from their values."""
    return Sample(name, "gauge", text, labels, _by_labels(values))


def _by_labels(values: Values) -> dict[tuple[str, ...], float]:
    if not isinstance(values, Mapping):
        return {(): values}
    return {key if isinstance(key, tuple) else (key,): value for key, value in values.items()}
