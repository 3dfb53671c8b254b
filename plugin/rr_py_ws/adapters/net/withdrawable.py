"""A result that somebody may no longer want before it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Withdrawable(asyncio.Future[T]):
    """The result of a question; to cancel it withdraws the question.

    Attributes:
        withdraw: called once, when it is cancelled. Whoever sets the result takes it off before, since it
            leads back here.
    """

    def __init__(self) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.withdraw: Callable[[], None] = do_nothing

    def cancel(self, msg: object = None) -> bool:
        """Withdraw the question."""
        withdraw, self.withdraw = self.withdraw, do_nothing
        withdraw()
        return super().cancel(msg)


def do_nothing() -> None:
    """Withdraw nothing: there is nothing any more."""
