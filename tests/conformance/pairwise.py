"""Fewer cases of a test with many parameters: as many as it takes for all pairs of values.

A fault in a decoder shows with one value, or with two together; the third parameter hardly ever matters. So
of the product of all values only a covering array of strength 2 is run: every value, and every pair of
values of two parameters, is in one case at least. `make conformance` runs the whole product.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

import pytest

Case = Mapping[str, int]
"""Parameter -> a number for its value."""


def choose(cases: Sequence[Case]) -> list[int]:
    """Choose cases that have every pair of values that any case has; return where they are, in order.

    Greedy, and always with the same result: next is the case with the most pairs that no chosen one has.
    """
    pairs = [_pairs(case) for case in cases]
    missing = set().union(*pairs)
    chosen = []
    while missing:
        best = max(range(len(cases)), key=lambda at: len(pairs[at] & missing))  # the first of equal ones
        chosen.append(best)
        missing -= pairs[best]
    return sorted(chosen)


def _pairs(case: Case) -> set[tuple[tuple[str, int], ...]]:
    """Every pair of values in a case; with one parameter or none, the case itself."""
    values = sorted(case.items())
    return set(combinations(values, 2)) if len(values) > 1 else {tuple(values)}


def deselect(items: Sequence[pytest.Item]) -> set[pytest.Item]:
    """Of these cases, those whose pairs of values are all in others that stay."""
    functions: dict[str, list[pytest.Function]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function):
            functions[item.nodeid.partition("[")[0]].append(item)
    dropped: set[pytest.Item] = set()
    for cases in functions.values():
        kept = choose([_values(case) for case in cases])
        dropped.update(cases)
        dropped.difference_update(cases[at] for at in kept)
    return dropped


def _values(case: pytest.Function) -> Case:
    """The values by identity: some cannot be hashed, and pytest's `indices` only number the cases."""
    callspec = getattr(case, "callspec", None)
    return {} if callspec is None else {name: id(value) for name, value in callspec.params.items()}
