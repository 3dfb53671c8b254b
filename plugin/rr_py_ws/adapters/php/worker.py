"""One worker process that answers one question at a time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import psutil

from rr_py_ws.adapters.net.deadline import TIMER_ERROR, Deadline
from rr_py_ws.adapters.php.connection import CLOSED, WorkerConnection
from rr_py_ws.adapters.php.process import Process
from rr_py_ws.adapters.php.stream import StreamedAnswer
from rr_py_ws.core.ports import Answer, Lane, WorkerState
from rr_py_ws.errors import ExecTimeout, SoftJobError, WorkerDied, WorkerError
from rr_py_ws.logs import get_limited
from rr_py_ws.wire.goridge import STREAM, STREAM_PING, Frame
from rr_py_ws.wire.worker import STOP, STOP_STREAM, Message, decode_message

log = get_limited("server")

STOP_GRACE = 10.0
"""Seconds between stop command and SIGKILL (roadrunner-server/sdk worker/worker.go @v2.19.0)."""

STREAM_GRACE = 60.0
"""Seconds that a worker has to end an answer that nobody wants any more (RoadRunner's `stream_timeout`)."""


class State(IntEnum):
    """RoadRunner 2.x numbers (roadrunner-server/sdk worker/fsm/fsm.go @v2.19.0)."""

    INACTIVE = 0
    READY = 1
    WORKING = 2
    INVALID = 3
    STOPPING = 4
    KILLING = 5
    DESTROYED = 6
    MAX_JOBS_REACHED = 7
    STOPPED = 8
    ERRORED = 9

    @property
    def text(self) -> str:
        """The state as a word: `ready`, `maxJobsReached`."""
        first, *others = self.name.lower().split("_")
        return first + "".join(word.capitalize() for word in others)


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


class Worker:
    """A worker after its handshake.

    A question takes callbacks only, no task: `ask` writes, the answer's frame is handed to the question, and
    with the frame behind it the worker is ready for the next one. One timer watches over both.

    Attributes:
        process: the operating system's side.
        state: what it does.
        execs: questions answered.
        asked: when it got its last question, monotonic seconds; None before the first.
        retired: done when it takes no more questions and must be replaced.
        on_ready: called with this worker whenever it waits for the next question.
    """

    def __init__(self, process: Process, connection: WorkerConnection, command: str) -> None:
        self.process = process
        self.state = State.READY
        self.execs = 0
        self.asked: float | None = None
        self.started = time.monotonic()
        self.retired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_ready: Callable[[Worker], None] = lambda _: None
        self._connection = connection
        self._command = command
        self._question: Question | None = None
        self._limit = 0.0
        self._deadline = math.inf
        self._timer: Deadline | None = None
        self._fires = math.inf
        connection.lost.add_done_callback(lambda _: self.kill(connection.problem))

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def is_asked(self) -> bool:
        """Whether a question waits for its answer; it may work on after that."""
        return self._question is not None

    @property
    def ended_in_order(self) -> bool:
        """Whether it ended by itself, with nothing to complain of."""
        exited = self.process.exited
        return exited.done() and exited.result() == 0 and self._connection.problem == CLOSED

    def ask(self, question: Question) -> None:
        """Put a question to a ready worker. Its answer may be SoftJobError, ExecTimeout or WorkerDied.

        A caller that goes away does not disturb this: the answer is read all the same.
        """
        self.asked = time.monotonic()
        # A worker that was retired keeps the state that says why, while it answers.
        if self.state is State.READY:
            self.state = State.WORKING
        self._question = question
        self._limit = question.limit
        self._deadline = asyncio.get_running_loop().time() + question.limit if question.limit else math.inf
        self._watch_time(min(self._deadline, question.ends))
        self.process.begin_request()
        self._connection.ask(question.frame, self._receive_answer, self._become_ready)

    def _receive_answer(self, frame: Frame) -> bool:
        question = self._question
        assert question is not None
        answer: Message | WorkerError
        try:
            answer = decode_message(frame, streams=question.streams)
        except SoftJobError as error:
            answer = error
        if frame.stream & STREAM and isinstance(answer, Message):
            self._receive_part(question, answer)
            if frame.stream & STREAM_PING:
                self._connection.answer_ping()
            return True
        self._question = None
        self.execs += 1
        self._limit = question.limit_after
        self._deadline = asyncio.get_running_loop().time() + self._limit if self._limit else math.inf
        self._watch_time(self._deadline)
        question.record(self, question, answer)
        return False

    def _receive_part(self, question: Question, part: Message) -> None:
        """Take a part of an answer; the limit of time begins anew."""
        connection = self._connection
        if question.parts is not None:
            question.parts.add(part)
        else:
            question.parts = parts = StreamedAnswer(connection.pause, self._go_on, self._stop_stream)
            if question.answered:  # its caller is gone
                parts.stop()
            else:
                question.answered = True
                question.on_answer(part)
        if self._limit:
            # A timer that runs looks again when it fires.
            self._deadline = asyncio.get_running_loop().time() + self._limit

    def _go_on(self) -> None:
        """Let the worker go on, which had to wait for the caller: that time was not its own."""
        self._connection.resume()
        if self._limit:
            self._deadline = asyncio.get_running_loop().time() + self._limit

    def _stop_stream(self) -> None:
        """Nobody wants the rest of the answer: the worker has a while to notice."""
        self._connection.send(STOP_STREAM)
        self._limit = STREAM_GRACE
        self._deadline = asyncio.get_running_loop().time() + self._limit
        self._watch_time(self._deadline)

    def _become_ready(self, pid: int) -> None:
        """Take the reply to the handshake behind the answer."""
        self._deadline = math.inf
        if self.state is State.WORKING:
            self.state = State.READY
        self.on_ready(self)

    def _watch_time(self, when: float) -> None:
        """Look at the time then. A timer that fires before does, too: one serves many questions."""
        if when < self._fires:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._fires = Deadline(when, self._time_is_up), when

    def _time_is_up(self, now: float) -> None:
        self._timer, self._fires = None, math.inf
        now += TIMER_ERROR
        question, ends = self._question, math.inf
        if question is not None and question.parts is not None and question.parts.paused:
            # It waits for its caller, who is limited by others.
            self._watch_time(now + self._limit)
        elif now < self._deadline:
            if question is not None and question.ends <= now:
                # Only the caller's time is up: the worker goes on, and is not counted as failed.
                question.answer(TimeoutError())
            elif question is not None:
                ends = question.ends
            self._watch_time(min(self._deadline, ends))
        elif question is None:
            self.kill(f"took longer than {self._limit:g} s to be ready again after its answer")
        else:
            self._question = None
            if question.ends <= now:  # both times are up: the caller hears of its own, as at any other time
                question.answer(TimeoutError())
            self.kill(f"took longer than {self._limit:g} s to answer")
            error = ExecTimeout(f"worker {self.pid} took longer than {self._limit:g} s and was killed")
            question.record(self, question, error)

    def retire(self, state: State) -> None:
        """Take no more questions; whoever keeps workers gets a new one."""
        if not self.retired.done():
            self.state = state
            self.retired.set_result(None)

    def kill(self, why: str) -> None:
        """End the process and what it started, now.

        Args:
            why: the reason of its end; of several the first counts.
        """
        # Does nothing when it was retired before: that state counts.
        self.retire(State.ERRORED)
        self._connection.lose(why)
        self.process.kill()
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._fires = None, math.inf

    async def stop(self, grace: float = STOP_GRACE) -> bool:
        """Let the process end by itself, after the question it works on; kill it after `grace` seconds.

        Returns when the process has ended: whether it ended by itself. Cancelling this kills it.
        """
        self.retire(State.STOPPING)
        self.on_ready = lambda _: None  # nobody waits for it any more
        self._connection.send(STOP)
        try:
            in_time = await self.process.wait(grace) is not None
            if not in_time:
                log.warning("worker does not end on the stop command, killing it", pid=self.pid, after=grace)
        finally:
            self.kill("was stopped")
        await self.process.wait()
        return in_time

    async def exit_reason(self) -> str:
        """Say why it is of no use any more, after `kill` or its own end.

        Waits a little for what the worker still has to tell.
        """
        process = self.process
        await process.wait(timeout=1.0)
        await asyncio.wait([self._connection.closed], timeout=0.2)
        code, problem = process.exited.result() if process.exited.done() else None, self._connection.problem
        # A worker that did not end by itself was killed here, which explains nothing.
        by_itself = code is not None and (code >= 0 or problem.startswith(CLOSED))
        return f"{problem} ({process.describe_end()})" if by_itself else problem

    async def wait_closed(self) -> None:
        """Wait for the end of the process, and release what belongs to it; runs as long as the worker.

        A question that a worker takes with it is answered here, because the reason is worth a wait.
        """
        await asyncio.wait([self._connection.lost])
        question, self._question = self._question, None
        if question is not None:
            error = WorkerDied(f"worker {self.pid}: {await self.exit_reason()}")
            question.record(self, question, error)
        await asyncio.wait([self.process.exited])
        self.process.close()
        self._connection.close()
        await asyncio.wait([self._connection.closed])

    def describe(self) -> WorkerState | None:
        """Tell how it is; None when the process has ended."""
        try:
            process = psutil.Process(self.pid)
            with process.oneshot():
                memory = process.memory_info().rss
                times = process.cpu_times()
        except (psutil.Error, OSError):  # OSError: out of file descriptors
            return None
        # Not zero, which the age of a process that has just been started can be.
        age = max(time.time() - self.process.created / 1e9, 1e-3)
        return WorkerState(
            pid=self.pid,
            status=int(self.state),
            status_text=self.state.text,
            execs=self.execs,
            created=self.process.created,
            memory=memory,
            cpu_percent=(times.user + times.system) / age * 100,
            command=self._command,
        )

    def memory(self) -> int:
        """Resident set size in bytes; 0 when the process has ended."""
        try:
            return psutil.Process(self.pid).memory_info().rss
        except (psutil.Error, OSError):
            return 0
