"""The PHP workers of the core process, as a listener process has them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from mmap import mmap

from rr_py_ws.adapters.link.body_file import Place, place_of
from rr_py_ws.adapters.link.core import Core
from rr_py_ws.core.ports import Answer, AnswerParts, Lane
from rr_py_ws.errors import BrokerError, WorkerError, WorkersDown
from rr_py_ws.wire.worker import Message, Question


class LinkPool:
    """Implements the port `QuestionPool`: questions go to a pool of the core.

    Args:
        name: of the pool.
        core: where the pool is.
        allocate_timeout: of the pool.
    """

    def __init__(self, name: str, core: Core, allocate_timeout: float) -> None:
        self._name = name
        self._core = core
        self._numbers = count(1)
        self.allocate_timeout = allocate_timeout

    def ask(
        self,
        question: Message,
        on_answer: Callable[[Answer], object],
        limit: float = 0.0,
        *,
        lane: Lane = Lane.JOINS,
        wait: float | None = None,
        within: float = math.inf,
    ) -> Callable[[], None]:
        """See `QuestionPool.ask`."""
        try:
            call = self._core.call("ask", self._name, *question, limit, lane.value, wait, within)
        except BrokerError as error:
            on_answer(WorkersDown(str(error)))
            return _do_nothing

        def settle(done: asyncio.Future[tuple[bytes, bytes]]) -> None:
            if done.cancelled():
                return
            error = done.exception()
            if error is None:
                on_answer(Message(*done.result()))
            else:
                on_answer(error if isinstance(error, WorkerError | TimeoutError) else WorkersDown(str(error)))

        call.add_done_callback(settle)
        return lambda: _withdraw(call)

    async def exec_streamed(
        self, question: Question, limit: float = 0.0
    ) -> tuple[Message, AnswerParts | None]:
        """See `QuestionPool.exec_streamed`."""
        parts = LinkParts(self._core, self._name, next(self._numbers))
        method = "exec"
        body: bytes | mmap | Place = question.body
        if not isinstance(question, Message):
            method, body = "exec_file", place_of(question.descriptor)
        call: asyncio.Future[tuple[tuple[bytes, bytes], bool]] | None = None
        try:
            call = self._core.call(method, *parts.key, question.context, body, limit)
            first, streams = await asyncio.shield(call)
        except BrokerError as error:
            raise WorkersDown(str(error)) from error
        except asyncio.CancelledError:
            parts.stop()  # or the question is withdrawn, which is answered when it is over
            if call is not None:
                with suppress(Exception):
                    await call
            raise
        return Message(*first), parts if streams else None


class LinkParts:
    """What follows the first part of an answer; implements the port `AnswerParts`.

    Args:
        core: where the worker is.
        pool: name of its pool.
        number: of the question, which is no other's of this pool.

    Attributes:
        key: pool and number.
    """

    def __init__(self, core: Core, pool: str, number: int) -> None:
        self._core = core
        self.key = pool, number

    async def next_part(self) -> Message | None:
        """See `AnswerParts.next_part`."""
        try:
            part = await self._core.call("next_part", *self.key)
        except BrokerError as error:
            raise WorkersDown(str(error)) from error
        return None if part is None else Message(*part)

    def stop(self) -> None:
        """See `AnswerParts.stop`."""
        self._core.tell("stop_parts", *self.key)


def _withdraw(call: asyncio.Future[object]) -> None:
    call.cancel()


def _do_nothing() -> None:
    pass
