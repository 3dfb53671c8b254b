"""The choice of cases: that no pair of values is lost, and how few it leaves."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from conformance.pairwise import Case, choose


def every_case(*sizes: int) -> list[Case]:
    """The product of parameters with so many values each."""
    return [dict(zip("abcdef", values, strict=False)) for values in product(*map(range, sizes))]


@pytest.mark.parametrize("sizes", [(), (5,), (3, 4), (2, 3, 4), (17, 2, 3, 2), (2, 2, 8, 10), (2,) * 6])
def test_every_pair_of_values_is_in_a_chosen_case(sizes: tuple[int, ...]) -> None:
    cases = every_case(*sizes)
    chosen = [cases[at] for at in choose(cases)]
    for one, other in combinations("abcdef"[: len(sizes)], 2):
        assert {(case[one], case[other]) for case in chosen} == {(case[one], case[other]) for case in cases}
    for name, size in zip("abcdef", sizes, strict=False):
        assert {case[name] for case in chosen} == set(range(size))


@pytest.mark.parametrize(
    ("sizes", "most"), [((5,), 5), ((3, 4), 12), ((17, 2, 3, 2), 51), ((2, 2, 8, 10), 80), ((2,) * 6, 9)]
)
def test_few_cases_are_chosen(sizes: tuple[int, ...], most: int) -> None:
    """The least possible is the product of the two longest parameters."""
    assert len(choose(every_case(*sizes))) <= most


def test_a_case_that_is_asked_for_alone_is_chosen() -> None:
    assert choose([{"a": 3, "b": 4}]) == [0]
    assert choose([{}]) == [0]
