"""Tasks that run by themselves, each of them awaited in the end and none of them lost in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from rr_py_ws.logs import get_limited

log = get_limited("app")


class TaskSet:
    """The background tasks of one part of the program.

    A task that fails, which would be a mistake in this program, is logged with its traceback. The owner of
    the set calls `finish` or `cancel` before it ends.

    Args:
        owner: names the part in the log.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        """Run a coroutine as a task of this set."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def finish(self) -> None:
        """Wait until no task runs any more, also those that are spawned meanwhile."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        """Cancel every task and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await self.finish()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task failed", part=self._owner, exc_info=error)
