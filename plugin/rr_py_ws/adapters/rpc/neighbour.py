"""What the registry knows of the server that answers calls of other services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from rr_py_ws.core.hold import Gate
from rr_py_ws.wire.goridge import Frame

GiveBack = Callable[[bytes | Exception], None]
"""Gets the answer to a call: the whole frame, or why there is none."""


class Neighbour(Protocol):
    """The server that answers what is not ours: RoadRunner (`forward.Forward`)."""

    def answer(self, frame: Frame, give_back: GiveBack, *, may_wait: bool) -> Gate | None:
        """Have a call answered.

        Args:
            frame: as it came.
            give_back: called once, now or later.
            may_wait: whether nothing may be done with the call now.

        Returns:
            The gate that the call waits for; then nothing was done with it.

        Raises:
            RPCError: it cannot be answered now.
        """

    async def ask(self, method: str, argument: Any, *, timely: bool = True) -> Any:
        """Make a call of our own, with JSON.

        Args:
            method: what is called.
            argument: of the call.
            timely: whether an answer that takes longer than a moment is none.

        Raises:
            RPCError: there is no answer, it is an error, or it is no JSON.
        """


class NotOurs(Exception):
    """Raised by a method that has done nothing: the call is for the neighbour."""
