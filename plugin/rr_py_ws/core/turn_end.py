"""When what is gathered in a turn of the event loop is written: at its end, or at once.

To gather what several publishers bring in one turn saves a write for each receiver. What a single publisher
brings need not wait for the end of the turn: to have the loop call a function costs more than the flush.
"""

from __future__ import annotations

from collections.abc import Callable

from rr_py_ws import logs

log = logs.get_logger("app")


class TurnEnd:
    """Calls functions once, at the end of the turn.

    Args:
        call_soon: calls its argument after the current turn of the loop (`loop.call_soon`).

    Attributes:
        held: set by who calls `release` as soon as it has done what it is about to do; until then functions
            wait for that, not for the loop.
        waiting: those that wait for `release`.
    """

    __slots__ = ("_call_soon", "held", "waiting")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self.held = False
        self.waiting: list[Callable[[], None]] = []

    def schedule(self, call: Callable[[], None]) -> None:
        """Call a function at the end of the turn."""
        if self.held:
            self.waiting.append(call)
        else:
            self._call_soon(call)

    def release(self) -> None:
        """Call what waits. If that fails it is nobody's fault who calls this."""
        self.held = False
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            try:
                call()
            except Exception as error:
                log.error("what a turn has gathered was not written", exc_info=error)
