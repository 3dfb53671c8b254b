"""What several wait for, each of whom may give up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedFuture(Awaitable[T], Generic[T]):
    """A future that is not cancelled when one of those is cancelled who await it.

    To await a future is to own it: asyncio cancels it with the task that does, and so all others who wait.

    Args:
        future: which goes on.
    """

    def __init__(self, future: asyncio.Future[T]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.shield(self._future).__await__()
