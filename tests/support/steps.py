"""Steps of a random machine that two can take: Hypothesis, which looks for the shortest, and a fast hunt.

What a step is given is said by choices, so that a run of either is a list of names and numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule


@dataclass(frozen=True)
class Choice:
    """One of some values, or several of them.

    Attributes:
        values: to choose from.
        most: so many; -1 for exactly one, which is not a list then.
    """

    values: tuple[Any, ...]
    most: int = -1

    def strategy(self) -> st.SearchStrategy[Any]:
        one = st.sampled_from(self.values)
        return one if self.most < 0 else st.lists(one, max_size=self.most)


def one_of(values: Sequence[Any]) -> Choice:
    return Choice(tuple(values))


def between(least: int, most: int) -> Choice:
    return Choice(tuple(range(least, most + 1)))


def some_of(values: Sequence[Any], most: int) -> Choice:
    return Choice(tuple(values), most)


class Chooses(Protocol):
    """Chooses among what there is at the moment of the step."""

    def one(self, values: Sequence[Any]) -> Any: ...


class _ChosenByHypothesis:
    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def one(self, values: Sequence[Any]) -> Any:
        return self._data.draw(st.sampled_from(values))


CHOOSES = Choice(("chooses",))
"""The argument of a step that chooses when it is taken; see `Chooses`."""


@dataclass(frozen=True)
class Step:
    """How a step is taken without Hypothesis."""

    take: Callable[..., None]
    choices: dict[str, Choice]
    when: Callable[[Any], Any]


def step(*, when: Callable[[Any], Any] = lambda machine: True, **choices: Choice) -> Callable[[Any], Any]:
    """Make a method a rule of Hypothesis, and a step of `steps_of`."""

    def decorate(method: Callable[..., None]) -> Any:
        strategies = {
            name: st.builds(_ChosenByHypothesis, st.data()) if choice is CHOOSES else choice.strategy()
            for name, choice in choices.items()
        }
        made = precondition(when)(rule(**strategies)(method))
        made.step = Step(method, choices, when)  # type: ignore[attr-defined]
        return made

    return decorate


def steps_of(machine: type) -> dict[str, Step]:
    """Return the steps of a class by name."""
    found = ((name, getattr(getattr(machine, name, None), "step", None)) for name in dir(machine))
    return {name: one for name, one in found if one is not None}


class Taken(NamedTuple):
    """A step of a run.

    Attributes:
        name: of the method.
        given: the arguments.
        chosen: numbers of what it chooses when it is taken.
    """

    name: str
    given: dict[str, Any]
    chosen: Sequence[int] = ()

    def __str__(self) -> str:
        return f"{tuple(self)!r},"


class _Chosen:
    """What a step chooses when it is taken."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = iter(numbers)

    def one(self, values: Sequence[Any]) -> Any:
        return values[next(self._numbers) % len(values)]


def take_all(machine: object, sequence: Iterable[Taken]) -> None:
    """Take the steps that are possible."""
    steps = steps_of(type(machine))
    for name, given, chosen in sequence:
        step = steps[name]
        if step.when(machine):
            choosing = {of: _Chosen(chosen) for of, choice in step.choices.items() if choice is CHOOSES}
            step.take(machine, **given, **choosing)
