"""How tests wait for what nobody tells them about; everything else is awaited, or read, with `DEADLINE`."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

DEADLINE = 40.0
"""Seconds after which a test that waits for something has failed. It costs nothing until then, and a loaded
machine may let anybody wait for many seconds."""


async def eventually(
    condition: Callable[[], object | Awaitable[object]], what: str = "", *, pause: float = 0.002
) -> None:
    """Wait until a condition holds; the event loop goes on meanwhile.

    Args:
        condition: is asked again and again, and awaited when it is a coroutine function. One that fails
            with an OSError does not hold yet: the peer that it asks may be starting or ending.
        what: is expected; for the text of the failure.
        pause: seconds between two looks.

    Raises:
        AssertionError: it does not hold after `DEADLINE` seconds.
    """
    looks = _looks(what)
    while True:
        with suppress(OSError):
            answer = condition()
            if await answer if inspect.isawaitable(answer) else answer:
                return
        next(looks)
        await asyncio.sleep(pause)


def eventually_sync(condition: Callable[[], object], what: str = "") -> None:
    """`eventually` for tests that are no coroutines: the whole thread waits."""
    looks = _looks(what)
    while True:
        with suppress(OSError):
            if condition():
                return
        next(looks)
        time.sleep(0.01)


def _looks(what: str) -> Iterator[None]:
    """One for each look that was in vain, until the deadline."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        yield
    raise AssertionError(f"waited in vain: {what}")


async def callbacks_of_accepted() -> None:
    """Let the event loop call back for connections that were accepted just now, whom nobody knows yet."""
    for _ in range(5):
        await asyncio.sleep(0)
