"""The PHP workers of the core process, as a listener process has them."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable

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
        if isinstance(question, Message):
            asking = self._ask_core("exec", self._name, *question, limit)
        else:  # the core maps the file, too, so that nothing of it has to go over the link
            file = f"/proc/{os.getpid()}/fd/{question.descriptor}"
            asking = self._ask_core("exec_file", self._name, question.context, file, limit)
        first, number = await asking
        return Message(*first), LinkParts(self._core, number) if number else None

    async def _ask_core(self, method: str, *args: object) -> tuple[tuple[bytes, bytes], int]:
        try:
            return await self._core.call(method, *args)  # type: ignore[no-any-return]
        except BrokerError as error:
            raise WorkersDown(str(error)) from error


class LinkParts:
    """What follows the first part of an answer; implements the port `AnswerParts`.

    Args:
        core: where the worker is.
        number: of the answer.
    """

    def __init__(self, core: Core, number: int) -> None:
        self._core = core
        self._number = number

    async def next_part(self) -> Message | None:
        """See `AnswerParts.next_part`."""
        try:
            part = await self._core.call("next_part", self._number)
        except BrokerError as error:
            raise WorkersDown(str(error)) from error
        return None if part is None else Message(*part)

    def stop(self) -> None:
        """See `AnswerParts.stop`."""
        self._core.tell("stop_parts", self._number)


def _withdraw(call: asyncio.Future[object]) -> None:
    call.cancel()


def _do_nothing() -> None:
    pass
