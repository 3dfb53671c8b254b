"""An answer that a worker sends in several frames (RoadRunner 2023.3 and later)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from rr_py_ws.errors import WorkerError
from rr_py_ws.wire.worker import Message

_AHEAD = 256 * 1024
"""Bytes that wait for the caller; then the worker has to wait."""
_PART = 256
"""Bytes that a part counts for besides its own: it may have none."""


class StreamedAnswer:
    """The parts behind the first one, as far as the caller has not taken them. See `ports.AnswerParts`.

    Args:
        pause: lets the worker wait.
        resume: lets it go on.
        on_stop: called once, when the caller wants no more.
    """

    def __init__(
        self, pause: Callable[[], None], resume: Callable[[], None], on_stop: Callable[[], None]
    ) -> None:
        self._pause, self._resume, self._on_stop = pause, resume, on_stop
        self._parts: deque[Message] = deque()
        self._size = 0
        self._paused = False
        self._stopped = False
        self._end: WorkerError | None = None
        self._ended = False
        self._changed: asyncio.Future[None] | None = None

    @property
    def paused(self) -> bool:
        """Whether the worker waits for the caller."""
        return self._paused

    def add(self, part: Message) -> None:
        """A part came."""
        if self._stopped:
            return
        self._parts.append(part)
        self._size += len(part.body) + _PART
        if self._size > _AHEAD and not self._paused:
            self._paused = True
            self._pause()
        self._wake()

    def finish(self, end: Message | WorkerError) -> None:
        """The last part came, or none will come any more."""
        if self._ended:
            return
        if isinstance(end, Message):
            self.add(end)
        else:
            self._end = end
        self._ended = True
        # Nothing more of it can come: the worker says next that it is ready, and nobody would read that while
        # the caller takes its time, or when it has gone.
        self._let_go_on()
        self._wake()

    async def next_part(self) -> Message | None:
        """Wait for the next part; None when there is no other."""
        while not self._parts and not self._ended:
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        if self._parts:
            part = self._parts.popleft()
            self._size -= len(part.body) + _PART
            if self._size <= _AHEAD // 2:
                self._let_go_on()
            return part
        if self._end is not None:
            raise self._end
        return None

    def stop(self) -> None:
        """Nobody wants the rest."""
        if self._stopped or self._ended:
            return
        self._stopped = True
        self._parts.clear()
        self._let_go_on()
        self._on_stop()

    def _let_go_on(self) -> None:
        if self._paused:
            self._paused = False
            self._resume()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
