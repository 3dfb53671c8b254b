"""Metrics that parts of the program report about themselves, independent of how they are served.

A part counts in plain integers of its own and makes samples of them only when it is asked, so that counting
costs an addition, and serving metrics costs nothing between two scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

PREFIX = "rr_ws_"
"""Of all names but those that RoadRunner has too."""

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
        prefix: what the served name begins with.
    """

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]
    prefix: str = PREFIX


@dataclass(slots=True)
class Distribution:
    """How often numbers of which size were seen.

    Attributes:
        bounds: the upper ends of the buckets, each included, in order; what is larger has one more bucket.
        buckets: how many numbers are in each.
        total: the sum of all numbers.
    """

    bounds: Sequence[float]
    buckets: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.buckets = [0] * (len(self.bounds) + 1)

    @property
    def count(self) -> int:
        """How many numbers there were."""
        return sum(self.buckets)

    def add(self, number: float) -> None:
        """Count a number."""
        self.buckets[bisect_left(self.bounds, number)] += 1
        self.total += number


@dataclass(frozen=True, slots=True)
class Histogram:
    """A distribution for each combination of label values; the attributes are those of `Sample`."""

    name: str
    text: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], Distribution]
    prefix: str = PREFIX


Metric = Sample | Histogram


class MetricSource(Protocol):
    """A part of the program that has metrics."""

    def metrics(self) -> Iterable[Metric]:
        """Read all metrics as they are now. Takes microseconds and does not wait."""


class Labelled:
    """A part that there is more than once: one more label tells its samples from those of the others.

    Args:
        source: the part.
        label: name of the label.
        value: its value.
    """

    def __init__(self, source: MetricSource, label: str, value: str) -> None:
        self._source, self._label, self._value = source, label, value

    def metrics(self) -> Iterator[Metric]:
        """Read the metrics of the part."""
        for metric in self._source.metrics():
            values: Any = {(self._value, *found): value for found, value in metric.values.items()}
            yield replace(metric, labels=(self._label, *metric.labels), values=values)


def merge(metrics: Iterable[Metric]) -> list[Metric]:
    """Make one metric of those that have one name: the numbers of the same labels are added."""
    merged: dict[str, Metric] = {}
    for metric in metrics:
        name = metric.prefix + metric.name
        known = merged.get(name)
        if isinstance(metric, Histogram):
            distributions = dict(known.values) if isinstance(known, Histogram) else {}
            for labels, distribution in metric.values.items():
                distributions[labels] = _together(distributions.get(labels), distribution)
            merged[name] = replace(metric, values=distributions)
        else:
            numbers = dict(known.values) if isinstance(known, Sample) else {}
            for labels, number in metric.values.items():
                numbers[labels] = numbers.get(labels, 0) + number
            merged[name] = replace(metric, values=numbers)
    return list(merged.values())


def _together(one: Distribution | None, other: Distribution) -> Distribution:
    if one is None:
        return other
    both = Distribution(other.bounds)
    both.buckets = [sum(pair) for pair in zip(one.buckets, other.buckets, strict=True)]
    both.total = one.total + other.total
    return both


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
