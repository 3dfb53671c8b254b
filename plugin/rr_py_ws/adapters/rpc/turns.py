"""How much RPC calls may do in one turn of the event loop, all connections together, and who comes next.

Work is measured in units of about 10 ns. What is carried out says what it costs, whether it succeeds or not.
When the budget is used up, connections that have more wait in line, and go on in the turns that follow;
clients, handshakes and a stop have theirs in between.

Next is who has used least (start-time fair queueing). Each connection has a sum of what its calls have cost,
and the line has a clock: the sum with which the last one of it went on. Who was idle comes with what the
clock shows less one share, so that it is before those that always have more, and nobody saves up turns. A new
connection has what the clock shows: to connect again makes nobody better off. So a publisher that uses less
than its part does not wait for the others; who waits is overtaken only until the others have used as much.
Those that have left are one publisher together, however many they are: nobody waits for all of their calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Protocol

from rr_py_ws.adapters.net.turns import Budget
from rr_py_ws.adapters.rpc.line import Line
from rr_py_ws.core.turn_end import TurnEnd
from rr_py_ws.wire.go_json import MOST

BUDGET = 256 * 1024
"""Units of one turn: two or three milliseconds."""
HALF = BUDGET // 2
SHARE = BUDGET // 8
"""Units after which a connection lets others go first, if others wait; fewer if many do."""
CALL = 512
"""Units of a call, besides one for each byte of it and of its reply; to publish one message is in that."""
TOPIC = 256
"""Units of a message, and of publishing it to one topic;"""
PAYLOAD_STEP = 1024
"""once more for each so many bytes of its payload, which is encoded for each topic."""
PIECE = 512 * TOPIC
"""Units that are published in one turn of the loop."""
LARGE = 256 * 1024
"""Bytes of a call that is decoded and published in pieces, however little is in it."""
ELEMENT = 32
"""Units of an element that is counted (`wire.elements`), and decoded then."""
_SLOW_BYTE = 128
"""Units of each byte of an argument that was decoded in vain or read slowly."""


class Caller(Hashable, Protocol):
    """Who has calls carried out.

    Attributes:
        used: what that has cost; `CallTurns` writes it.
    """

    used: int

    def begin_turn(self) -> None:
        """Go on."""


class CallTurns(Budget):
    """The turns of calls, in which those that are carried out in pieces wait, too.

    Attributes:
        waiting: who waits in line; empty in quiet turns.
        clock: what those had used that went on last.
        floor: what somebody counts as having used who was idle.
        latest: what somebody has used who has used most.
        share: what a caller may use before it lets others go first, if others wait.
        last: who was read last.
        in_row: how often it was read since anybody else was.
        end: of the turns, when what is published is written.
    """

    __slots__ = (
        "_alone",
        "_began",
        "_begun",
        "_gone",
        "_gone_used",
        "_large",
        "_large_of_gone",
        "_resumed",
        "_turns",
        "clock",
        "end",
        "floor",
        "in_row",
        "last",
        "latest",
        "share",
        "waiting",
    )

    def __init__(self, end: TurnEnd | None = None) -> None:
        super().__init__(BUDGET)
        self.end = end or TurnEnd(_call_soon)
        self.last: Caller | None = None
        self.in_row = 0
        self.waiting: Line[Caller] = Line()
        self.clock = self.latest = 0
        self.floor = -SHARE
        self.share = SHARE
        self._large: Line[asyncio.Future[None]] = Line()
        self._turns: dict[Caller, asyncio.Future[None]] = {}
        self._begun: set[Caller] = set()
        self._gone: set[Caller] = set()
        self._gone_used = 0
        self._large_of_gone: dict[asyncio.Future[None], None] = {}
        self._alone = False
        self._began = 0
        self._resumed = asyncio.Event()
        self._resumed.set()

    def wait(self, caller: Caller) -> None:
        """Let a caller go on in one of the next turns, once."""
        self.waiting.add(caller, max(caller.used, self.floor))
        self.renew()

    def discard(self, caller: Caller) -> None:
        """Take note that a caller waits no longer."""
        self.waiting.discard(caller)
        self._gone.discard(caller)
        if self.last is caller:
            self.last = None

    def leave(self, caller: Caller) -> bool:
        """Take note that a caller has left; return whether nothing was done yet with its large call."""
        self._gone.add(caller)
        self._gone_used = max(self._gone_used, self.floor)
        turn = self._turns.get(caller)
        if turn is not None and not turn.done():
            self._large.discard(turn)
            self._large_of_gone[turn] = None
        return caller not in self._begun

    def finish(self, caller: Caller) -> None:
        """Take note that a large call has ended."""
        self._begun.discard(caller)

    def charge_to(self, caller: Caller, units: int) -> None:
        """Add to what a caller has used; `left` has it already."""
        caller.used = max(caller.used, self.floor) + units
        self.latest = max(self.latest, caller.used)
        if caller in self._gone:
            self._gone_used = max(self._gone_used, self.floor) + units

    def charge_slow(self, size: int) -> None:
        """Charge for an argument of so many bytes that was read slowly, or in vain."""
        if size <= MOST:  # larger ones are only refused
            self.left -= _SLOW_BYTE * size

    def pause(self, paused: bool) -> None:
        """Let nobody go on in `next`, because there is enough to write; or let them go on."""
        if paused:
            self._resumed.clear()
        else:
            self._resumed.set()

    @asynccontextmanager
    async def alone(self, caller: Caller) -> AsyncIterator[None]:
        """Let one call be carried out in pieces at a time; the next is that of who has used least."""
        if self._alone:
            self._turns[caller] = turn = asyncio.get_running_loop().create_future()
            if caller in self._gone:
                self._large_of_gone[turn] = None
            else:
                self._large.add(turn, max(caller.used, self.floor))
            try:
                await turn
            except asyncio.CancelledError:
                self._large.discard(turn)
                self._large_of_gone.pop(turn, None)
                if turn.done() and not turn.cancelled():  # it was this one's turn, which nobody else knows
                    self._let_next()
                raise
            finally:
                del self._turns[caller]
        self._alone = True
        self._begun.add(caller)
        self._began = self.left
        try:
            yield
        finally:
            self._charge_piece(caller)
            self._let_next()

    async def next(self, caller: Caller) -> None:
        """Charge the piece that was carried out; wait for another turn, and until publishers are not paused.

        Nobody waits longer than the others do: who was woken goes on even if publishers are paused again.
        """
        self._charge_piece(caller)
        self.renew()
        await asyncio.sleep(0)
        await self._resumed.wait()
        self._began = self.left

    def _charge_piece(self, caller: Caller) -> None:
        # Nothing else ran since the piece began, unless its task was cancelled while it waited.
        self.charge_to(caller, max(0, self._began - self.left))

    def _advance(self, clock: int) -> None:
        if clock > self.clock:
            self.clock, self.floor = clock, clock - SHARE

    def _let_next(self) -> None:
        while self._large or self._large_of_gone:
            if self._large_of_gone and self._gone_used < self._large.least():
                used, turn = self.clock, next(iter(self._large_of_gone))
                del self._large_of_gone[turn]
            else:
                used, turn = self._large.pop()
            if not turn.done():
                self._advance(used)
                turn.set_result(None)
                return
        self._alone = False

    def _go_on(self) -> bool:
        waiting = self.waiting
        if not waiting and not self._large:
            # Nobody has to wait, so what was used until now was nobody's loss.
            self._advance(self.latest)
        self.share = max(CALL, min(SHARE, BUDGET // (len(waiting) or 1)))
        while waiting and self.left > 0:
            used, caller = waiting.pop()
            self._advance(used)
            caller.begin_turn()
        return bool(waiting)


def _call_soon(call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(call)
