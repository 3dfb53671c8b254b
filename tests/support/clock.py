"""A clock that a test moves: what is to be called later is called when it lets time pass."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """Stands for the clock and the timers of an event loop."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: dict[Call, float] = {}

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, function: Callable[[], None]) -> Call:
        call = Call(self, function)
        self.calls[call] = self.now + delay
        return call

    def sleep(self, seconds: float, on_step: Callable[[float], None] = lambda seconds: None) -> None:
        """Let time pass; `on_step` is told of each stretch of it in which nothing happens, before its end."""
        end = self.now + seconds
        while self.calls and min(self.calls.values()) <= end:
            call = min(self.calls, key=lambda call: self.calls[call])
            on_step(self.calls[call] - self.now)
            self.now = self.calls.pop(call)
            call.function()
        on_step(end - self.now)
        self.now = end


class Call:
    """A call that is to be made."""

    def __init__(self, clock: Clock, function: Callable[[], None]) -> None:
        self.function = function
        self._clock = clock

    def cancel(self) -> None:
        del self._clock.calls[self]
