"""A question to a worker, from the moment in which it is asked until its answer is there."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rr_py_ws.adapters.php.stream import StreamedAnswer
from rr_py_ws.core.ports import Answer, Lane
from rr_py_ws.errors import WorkerError
from rr_py_ws.wire.worker import Message

if TYPE_CHECKING:
    from rr_py_ws.adapters.php.worker import Worker


@dataclass(slots=True, eq=False)
class Question:
    """A question on its way to a worker, and its answer on the way back.

    Attributes:
        frame: encoded, in pieces.
        limit: seconds that the worker has for its answer; 0 is no limit.
        limit_after: seconds that it may work on after its answer, until it is ready for the next question;
            0 is no limit. Frameworks do there what nobody should have to wait for.
        ends: when the caller goes on without an answer, in the loop's time.
        on_answer: called once, with what it came to, unless it was withdrawn before.
        record: called before the caller knows, with what the worker did: `ends` changes nothing about that.
        streams: whether the answer may come in parts.
        parts: those behind the first one, if it does.
        answered: whether the caller has the answer, or does not want it any more. The worker does not notice.
        over: for a caller that wants to know: done when no worker works on it any more, or will.
        tries: how many workers wanted to be restarted instead of answering.
        lane: where it waits for a worker.
        wait: seconds that it waits for one.
    """

    frame: Sequence[bytes | memoryview]
    limit: float
    limit_after: float
    ends: float
    on_answer: Callable[[Answer], object]
    record: Callable[[Worker, Question, Message | WorkerError], None]
    streams: bool = False
    parts: StreamedAnswer | None = None
    answered: bool = False
    over: asyncio.Future[None] | None = None
    tries: int = 0
    lane: Lane = Lane.JOINS
    wait: float = math.inf

    def answer(self, answer: Answer) -> None:
        """Tell the caller, if it still waits."""
        if self.parts is not None and not isinstance(answer, TimeoutError):
            self.parts.finish(answer)
        elif not self.answered:
            self.answered = True
            self.on_answer(answer)

    def end(self) -> None:
        """Take note that no worker works on it any more, or will."""
        if self.over is not None and not self.over.done():
            self.over.set_result(None)
