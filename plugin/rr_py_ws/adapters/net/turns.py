"""How much may be done in one turn of the event loop by all peers of one kind together."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable


class Budget(ABC):
    """The budget of the turns. What is carried out is taken from `left`.

    Who waits for the next turn, and in which order they go on, is up to classes that inherit from this one.

    Args:
        budget: units of one turn, whatever a unit is.

    Attributes:
        left: units that are left of this turn; below zero after one piece that was dearer than the rest.
        renewing: whether the next turn begins with a full budget: half of it is used up, or somebody waits.
    """

    __slots__ = ("_budget", "_half", "left", "renewing")

    def __init__(self, budget: int) -> None:
        self.left = self._budget = budget
        self._half = budget // 2
        self.renewing = False

    def charge(self, units: int) -> None:
        """Take from the budget of this turn; what follows is charged to the next one when half is used up."""
        self.left -= units
        if self.left < self._half and not self.renewing:
            self.renew()

    def renew(self) -> None:
        """Begin with a full budget in the next turn of the loop.

        To be called when half of it is used up: quiet turns, which are nearly all, share one budget, and to
        find out that a turn is over costs them nothing.
        """
        if not self.renewing:
            self.renewing = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self.renewing = False
        self.left = self._budget
        if self._go_on():
            self.renew()

    @abstractmethod
    def _go_on(self) -> bool:
        """Let those go on that wait, as many as there are units for; return whether any still wait."""


class Turns(Budget):
    """The budget of the turns, and who waits for the next one.

    When the budget is used up, those that have more wait in line. A peer that asks for little does not stand
    in line behind those that always have more: it waits for one turn of the others, however many they are.

    Args:
        budget: units of one turn, whatever a unit is.
    """

    __slots__ = ("_granted", "_heavy", "_light")

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self._granted = 0
        self._light: dict[Callable[[], object], None] = {}
        self._heavy: dict[Callable[[], object], None] = {}

    @property
    def crowded(self) -> bool:
        """Whether anybody waits."""
        return bool(self._light or self._heavy)

    def wait(self, go_on: Callable[[], object], *, light: bool) -> None:
        """Call a function in the next turn that has units left, after those of its kind that wait already.

        Args:
            go_on: what is called, once.
            light: it asks for little.
        """
        (self._light if light else self._heavy)[go_on] = None
        self.renew()

    def discard(self, go_on: Callable[[], object]) -> None:
        """Do not call it any more."""
        self._light.pop(go_on, None)
        self._heavy.pop(go_on, None)

    def take(self, units: int) -> bool:
        """Take so many units, unless others wait or nothing is left; returns whether that was done."""
        if free := self.left > 0 and not self._heavy:
            self.charge(units)
        return free

    async def piece(self, units: int) -> None:
        """Wait, if others do or nothing is left, for a turn for a piece of so many units; take them."""
        if self.take(units):
            return
        begun = asyncio.get_running_loop().create_future()

        def go_on() -> None:
            self._granted += units
            self.charge(units)
            if not begun.done():
                begun.set_result(None)

        self.wait(go_on, light=False)
        try:
            await begun
        finally:
            self.discard(go_on)

    def _go_on(self) -> bool:
        # Tasks that were told in the last turn that they may go on do so in this one.
        self.left -= self._granted
        self._granted = 0
        # The light ones first, but only half of a turn: very many of them do not keep the others waiting for
        # good. Those that have to wait again are behind everybody else.
        for queue, reserve in ((self._light, self._budget // 2), (self._heavy, 0), (self._light, 0)):
            while queue and self.left > reserve:
                go_on = next(iter(queue))
                del queue[go_on]
                go_on()
        return self.crowded
