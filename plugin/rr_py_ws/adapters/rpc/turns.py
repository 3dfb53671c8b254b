"""How much RPC calls may do in one turn of the event loop, all connections together.

Work is measured in units of about 10 ns. What is carried out says what it costs, whether it succeeds or not.
When the budget is used up, connections that have more wait in line, and each gets its share in the turns that
follow; clients, handshakes and a stop have theirs in between.
"""

from __future__ import annotations

import asyncio

from rr_py_ws.adapters.net.turns import Turns

BUDGET = 256 * 1024
"""Units of one turn: two or three milliseconds."""
HALF = BUDGET // 2
SHARE = BUDGET // 8
"""Units after which a connection lets others go first, if others wait."""
LIGHT = SHARE // 8
"""Units below which a connection that has nothing more has asked for little; the share of one that did."""
CALL = 512
"""Units of a call, besides one for each byte of it and of its reply; to publish one message is in that."""
TOPIC = 256
"""Units of a message, and of publishing it to one topic; once more for each KiB of its payload."""
_SLOW_BYTE = 128
"""Units of each byte of an argument that was decoded in vain or read slowly."""


class CallTurns(Turns):
    """The turns of calls, in which those that are carried out in pieces wait, too."""

    __slots__ = ("_resumed",)

    def __init__(self) -> None:
        super().__init__(BUDGET)
        self._resumed = asyncio.Event()
        self._resumed.set()

    def charge_slow(self, size: int) -> None:
        """Charge for an argument of so many bytes that was read slowly."""
        self.left -= _SLOW_BYTE * size

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
