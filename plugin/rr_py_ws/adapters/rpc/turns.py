"""How much RPC calls may do in one turn of the event loop, all connections together.

Work is measured in units of about 10 ns. What is carried out says what it costs, whether it succeeds or not.
When the budget is used up, connections that have more wait in line, and each gets its share in the turns that
follow; clients, handshakes and a stop have theirs in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

BUDGET = 256 * 1024
"""Units of one turn: two or three milliseconds."""
HALF = BUDGET // 2
SHARE = BUDGET // 8
"""Units after which a connection lets others go first, if others wait."""
CALL = 256
"""Units of a call, besides one for each byte of it and of its reply."""
TOPIC = 256
"""Units of a message, and of publishing it to one topic; once more for each KiB of its payload."""
FAILED_BYTE = 128
"""Units of each byte of an argument that was decoded in vain: nobody knows how far the decoder came."""


class Turns:
    """The budget of the turns, and who waits for the next one.

    Attributes:
        left: units that are left of this turn; below zero after one call that was dearer than the rest.
    """

    __slots__ = ("_renewing", "_resumed", "_waiting", "left")

    def __init__(self) -> None:
        self.left = BUDGET
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._waiting: dict[Callable[[], object], None] = {}
        self._renewing = False

    @property
    def crowded(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def wait(self, go_on: Callable[[], object]) -> None:
        """Call a function in the next turn that has units left, after those that wait already."""
        self._waiting[go_on] = None
        self.renew()

    def discard(self, go_on: Callable[[], object]) -> None:
        """Do not call it any more."""
        self._waiting.pop(go_on, None)

    def renew(self) -> None:
        """Begin with a full budget in the next turn of the loop.

        To be called when half of it is used up: quiet turns, which are nearly all, share one budget, and to
        find out that a turn is over costs them nothing.
        """
        if not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._begin)

    def pause(self, paused: bool) -> None:
        """Let nobody go on in `next`, because there is enough to write; or let them go on."""
        if paused:
            self._resumed.clear()
        else:
            self._resumed.set()

    async def next(self) -> None:
        """Wait for another turn, and until publishers are not paused.

        Nobody waits longer than the others do: who was woken goes on even if publishers are paused again.
        """
        self.renew()
        await asyncio.sleep(0)
        await self._resumed.wait()

    def _begin(self) -> None:
        self._renewing = False
        self.left = BUDGET
        # Those that have to wait again are behind everybody else.
        while self._waiting and self.left > 0:
            go_on = next(iter(self._waiting))
            del self._waiting[go_on]
            go_on()
        if self._waiting:
            self.renew()
