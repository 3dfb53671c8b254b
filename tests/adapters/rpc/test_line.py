"""The line of those who wait, the next of whom has used least."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.adapters.rpc.line import Line

steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 5), st.integers(0, 3)),
        st.tuples(st.just("discard"), st.integers(0, 5)),
        st.tuples(st.just("pop")),
    )
)


@given(steps)
def test_as_a_sorted_list(steps: list[tuple[str, int, int]]) -> None:
    line, model = Line[int](), list[tuple[int, int, int]]()
    for number, (step, *values) in enumerate(steps):
        if step == "add":
            who, used = values
            line.add(who, used)
            if all(entry[2] != who for entry in model):
                model.append((used, number, who))
        elif step == "discard":
            line.discard(*values)
            model = [entry for entry in model if entry[2] != values[0]]
        elif model:
            used, number, who = min(model)
            model.remove((used, number, who))
            assert line.pop() == (used, who)
        else:
            with pytest.raises(IndexError):
                line.pop()
        assert len(line) == len(model)


def test_those_that_have_gone_are_not_kept() -> None:
    line = Line[object]()
    for _ in range(3):
        line.add(gone := object(), 1)
        line.discard(gone)
    assert not line._heap
    line.add(gone := object(), 2)
    line.add(here := object(), 1)
    line.discard(gone)
    assert line.pop() == (1, here)
    assert not line._heap
