"""The end of a turn of the event loop, when a test says so."""

from __future__ import annotations

from collections.abc import Callable


class Turns:
    """Stands for the event loop: keeps what is scheduled until the turn ends."""

    def __init__(self) -> None:
        self.scheduled: list[Callable[[], None]] = []

    def schedule(self, call: Callable[[], None]) -> None:
        self.scheduled.append(call)

    def end(self) -> None:
        scheduled, self.scheduled = self.scheduled, []
        for call in scheduled:
            call()
