"""Brings questions and idle workers together."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

from rr_py_ws.adapters.net.deadline import Deadline
from rr_py_ws.adapters.php.question import Question
from rr_py_ws.adapters.php.worker import Worker
from rr_py_ws.core.ports import Lane
from rr_py_ws.errors import NoFreeWorkers, WorkerError


class IdleWorkers:
    """Idle workers and waiting questions, both in order of arrival; one of the two is always empty.

    A worker gets its question in the moment in which it is ready. No task is woken in between, so a worker is
    never on its way to a caller that may be gone.

    Args:
        dismiss: gets each worker that is put back after it was retired.
        refuse: gets each question that no worker will be asked, and why; it answers the question.
    """

    def __init__(
        self,
        dismiss: Callable[[Worker], None],
        refuse: Callable[[Question, WorkerError], object] = Question.answer,
    ) -> None:
        self._dismiss = dismiss
        self._refuse = refuse
        self._idle: deque[Worker] = deque()
        # Ordered dicts, because a plain one takes longer to find its first entry with each that is removed.
        self._lanes: dict[Lane, OrderedDict[Question, Deadline]] = {lane: OrderedDict() for lane in Lane}
        self._turns = deque(Lane)
        self._closed = ""

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        return sum(map(len, self._lanes.values()))

    def ask(self, question: Question, lane: Lane, wait: float) -> None:
        """Put a question to a worker, now or when one is idle; of a lane, the first question comes first.

        Args:
            question: its answer is NoFreeWorkers when no worker became idle in time, or there will be none
                any more, and TimeoutError when its own time ends sooner.
            lane: where to wait.
            wait: seconds to wait for a worker.
        """
        # A question that came after `close` would wait for a worker that never comes.
        if self._closed:
            self._refuse(question, NoFreeWorkers(self._closed))
            return
        while self._idle:
            worker = self._idle.popleft()
            if not worker.retired.done():
                worker.ask(question)
                return
            self._dismiss(worker)  # it was retired in this turn of the loop, and nobody has removed it yet
        loop = asyncio.get_running_loop()
        # One timer for both, the wait for a worker and the caller's own time. Which of them it is for is
        # decided here: uvloop's timers fire up to a millisecond early, so the clock would not tell then.
        until, failure = loop.time() + wait, f"no worker became free within {wait:g} s"
        if question.ends <= until:
            until, failure = question.ends, ""
        self._lanes[lane][question] = Deadline(until, lambda _: self._give_up(question, failure))

    def _give_up(self, question: Question, failure: str) -> None:
        self.withdraw(question)
        if failure:
            self._refuse(question, NoFreeWorkers(failure))
        else:
            question.answer(TimeoutError())

    def withdraw(self, question: Question) -> bool:
        """Let a question wait no longer; return whether it has waited."""
        for lane in self._lanes.values():
            if (timer := lane.pop(question, None)) is not None:
                timer.cancel()
                return True
        return False

    def add(self, worker: Worker) -> None:
        """Use a new worker."""
        worker.on_ready = self.put
        self.put(worker)

    def put(self, worker: Worker) -> None:
        """Give a worker to the question that waits longest in the lane whose turn it is, or keep it."""
        if worker.retired.done():
            self._dismiss(worker)
        elif (question := self._next_question()) is not None:
            worker.ask(question)
        else:
            self._idle.append(worker)

    def _next_question(self) -> Question | None:
        """Take a question out, of the lanes in turn."""
        while any(self._lanes.values()):
            # Neither lane can starve the other, not even when all clients come back at once.
            self._turns.rotate()
            lane = self._lanes[self._turns[0]]
            if lane:
                question, timer = lane.popitem(last=False)
                timer.cancel()
                # Its caller may have been cancelled in this turn of the loop.
                if not question.answered:
                    return question
        return None

    def remove(self, worker: Worker) -> bool:
        """Keep this worker no longer.

        Returns:
            Whether it was idle. One that is not will be put back.
        """
        if worker not in self._idle:
            return False
        self._idle.remove(worker)
        return True

    def refuse(self, kind: type[WorkerError], reason: str) -> None:
        """Refuse the questions that wait."""
        while (question := self._next_question()) is not None:
            self._refuse(question, kind(reason))

    def close(self, reason: str) -> None:
        """Refuse the questions that wait, and those that come."""
        self._closed = reason
        self._idle.clear()
        self.refuse(NoFreeWorkers, reason)
