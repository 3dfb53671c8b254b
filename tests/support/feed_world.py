"""An event loop and a network that are the test's: any step of a wait can come before or after any other."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any

from rr_py_ws.errors import BrokerError


class Later:
    """What is awaited by any number of coroutines until the machine lets it happen, and then be heard of."""

    def __init__(self, happen: Callable[[], Any]) -> None:
        self.happen = happen
        self.happened = False
        self.work: Any = None
        self.waiters: list[Coroutine[Any, Any, None]] = []
        self.outcome: Any = None
        self.done = False

    def __await__(self) -> Generator[Any, Any, Any]:
        while not self.done:
            yield self
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class World:
    """Stands for the event loop and the network: what has begun, and what is awaited."""

    def __init__(self) -> None:
        self.pending: list[Later] = []
        self.awaited: dict[Coroutine[Any, Any, None], Later] = {}

    def later(self, happen: Callable[[], Any]) -> Later:
        self.pending.append(Later(happen))
        return self.pending[-1]

    def spawn(self, work: Coroutine[Any, Any, None]) -> Later:
        ended = Later(lambda: None)

        async def whole() -> None:
            try:
                await work
            finally:
                ended.done = True
            waiters, ended.waiters = ended.waiters, []
            for waiter in waiters:
                self.go_on(waiter)

        ended.work = whole()
        self.go_on(ended.work)
        return ended

    def cancel(self, spawned: Later) -> None:
        """What is awaited goes on, for others may await it."""
        work = spawned.work
        if work in self.awaited:
            self.awaited.pop(work).waiters.remove(work)
            with suppress(CancelledError):
                work.throw(CancelledError())

    def go_on(self, work: Coroutine[Any, Any, None]) -> None:
        self.awaited.pop(work, None)
        try:
            later = work.send(None)
        except StopIteration:
            return
        assert isinstance(later, Later)
        later.waiters.append(work)
        self.awaited[work] = later

    def step(self, later: Later) -> None:
        """Let it happen; or, if it has, be heard of."""
        if not later.happened:
            later.happened = True
            try:
                later.outcome = later.happen()
            except BrokerError as error:
                later.outcome = error
        else:
            self.tell(later)

    def tell(self, later: Later) -> None:
        self.pending.remove(later)
        later.done = True
        for work in later.waiters:
            self.go_on(work)

    def fail(self, later: Later) -> None:
        """Nobody hears of it; it may have happened."""
        later.outcome = BrokerError("no answer")
        self.tell(later)
