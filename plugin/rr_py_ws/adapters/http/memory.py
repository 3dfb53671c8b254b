"""What pages hold in memory: forms until PHP has answered, and answers until their clients have taken them.

One of each is bounded by its own limit, and there may be as many as there are connections. So what is larger
than a little counts, too. Forms over the limit are refused, the small ones of others are not. Answers have
cost PHP its work: over the limit those are cut that were begun first, whose clients had the longest time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

from rr_py_ws import logs
from rr_py_ws.errors import ProtocolError
from rr_py_ws.metrics import Sample, counter, gauge

_SMALL = 64 * 1024
"""Bytes of a form or an answer that do not count."""
_NOT_HELD = nullcontext()

log = logs.get_limited("http")


class PageMemory:
    """Counts the bytes of large forms and answers.

    Args:
        limit: bytes, of each of the two together.

    Attributes:
        limit: the same; it may change.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._forms = 0
        self._answers: dict[asyncio.Task[None], int] = {}
        self._answered = 0
        self._cut = 0

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        held = {"form": self._forms, "answer": self._answered}
        yield gauge("page_bytes", "Large forms and answers in memory.", held, "kind")
        yield counter("page_answers_cut", "Answers cut because of limits.page_memory.", self._cut)

    def form(self) -> FormMemory:
        """Begin with a form, which is small until it grows."""
        return FormMemory(self)

    def take_form(self, size: int) -> None:
        """Count so many bytes of a form.

        Raises:
            ProtocolError: there are too many; nothing is counted.
        """
        if self._forms + size > self.limit:
            log.warning("form refused, see websockets.limits.page_memory", size=size)
            raise ProtocolError("too many large forms", 503)
        self._forms += size

    def give_back_form(self, size: int) -> None:
        """Count so many bytes no more."""
        self._forms -= size

    def hold_answer(self, size: int) -> AbstractContextManager[None]:
        """Count an answer as long as this task sends it; older ones are cut when it is too much."""
        return _NOT_HELD if size <= _SMALL else self._hold(size)

    @contextmanager
    def _hold(self, size: int) -> Iterator[None]:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._answers[task] = size
        self._answered += size
        while self._answered > self.limit and (oldest := next(iter(self._answers))) is not task:
            self._release(oldest)
            self._cut += 1
            log.warning("an answer is cut that its client does not take, see websockets.limits.page_memory")
            oldest.cancel()
        try:
            yield
        finally:
            self._release(task)

    def _release(self, task: asyncio.Task[None]) -> None:
        """The answer is sent, or nobody gets it."""
        self._answered -= self._answers.pop(task, 0)


class FormMemory:
    """What one form counts."""

    def __init__(self, memory: PageMemory) -> None:
        self._memory = memory
        self._size = self._counted = 0

    def grow(self, more: int) -> None:
        """Count so many bytes more.

        Raises:
            ProtocolError: all forms together are too large.
        """
        self._size += more
        if self._size > _SMALL:
            self._memory.take_form(self._size - self._counted)
            self._counted = self._size

    def release(self) -> None:
        """The form is gone."""
        self._memory.give_back_form(self._counted)
        self._size = self._counted = 0
