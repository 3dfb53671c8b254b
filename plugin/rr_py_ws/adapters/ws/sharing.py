"""Equal pushes that wait for many receivers, as one bytes object."""

from __future__ import annotations

import asyncio


class SharedPushes:
    """What waits since this turn of the event loop.

    The hub joins what a turn has for a connection that is in several topics, for each connection anew. That
    costs nothing when it is sent at once; while it waits, it should not be there a thousand times.
    """

    __slots__ = ("_turn",)

    def __init__(self) -> None:
        self._turn: dict[bytes, bytes] = {}

    def share(self, pushes: bytes) -> bytes:
        """Return the same as before for what is equal and came in the same turn."""
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._turn.clear)
        return self._turn.setdefault(pushes, pushes)
