"""One worker process that answers one question at a time."""

from __future__ import annotations

import asyncio
import time
from enum import IntEnum

import psutil

from rr_py_ws.adapters.php.link import CLOSED, Link
from rr_py_ws.adapters.php.process import Process
from rr_py_ws.core.ports import WorkerState
from rr_py_ws.errors import ExecTimeout, SoftJobError, WorkerDied
from rr_py_ws.logs import get_limited
from rr_py_ws.wire.worker import STOP, Message, decode_message, encode_message

log = get_limited("server")

STOP_GRACE = 10.0
"""Seconds between stop command and SIGKILL (roadrunner-server/sdk worker/worker.go @v2.19.0)."""


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


async def obituary(process: Process, link: Link) -> str:
    """Say why a worker is of no use any more, after its end; waits a little for what it still has to tell."""
    await process.wait(timeout=1.0)
    await asyncio.wait([link.closed], timeout=0.2)
    code, problem = process.exited.result() if process.exited.done() else None, link.problem
    # A worker that did not go by itself was killed here, which explains nothing.
    by_itself = code is not None and (code >= 0 or problem.startswith(CLOSED))
    return f"{problem} ({process.describe_end()})" if by_itself else problem


class Worker:
    """A worker after its handshake.

    Attributes:
        process: the operating system's side.
        state: what it does.
        execs: questions answered.
        asked: when it got its last question, monotonic seconds; None before the first.
        gone: done when it takes no more questions and must be replaced.
    """

    def __init__(self, process: Process, link: Link, command: str) -> None:
        self.process = process
        self.state = State.READY
        self.execs = 0
        self.asked: float | None = None
        self.started = time.monotonic()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._link = link
        self._command = command
        link.lost.add_done_callback(lambda _: self.kill(link.problem))

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def ended_in_order(self) -> bool:
        """It ended by itself, with nothing to complain of."""
        exited = self.process.exited
        return exited.done() and exited.result() == 0 and self._link.problem == CLOSED

    async def exec(self, question: Message, limit: float) -> Message:
        """Ask one question; `settle` before the next one.

        Cancelling this kills the worker, because its answer would be taken for that to the next question.

        Args:
            question: context and body.
            limit: seconds; then the worker is killed. 0 is no limit.

        Raises:
            SoftJobError: the worker answered with an error.
            ExecTimeout: it took too long.
            WorkerDied: it went away, or what it wrote is no answer.
        """
        self.asked = time.monotonic()
        if self.state is State.READY:
            self.state = State.WORKING
        try:
            async with asyncio.timeout(limit or None):
                self._link.send(encode_message(question))
                answer = decode_message(await self._link.receive())
        except SoftJobError:
            self.execs += 1
            raise
        except TimeoutError:
            self.kill(f"took longer than {limit:g} s to answer")
            raise ExecTimeout(f"worker {self.pid} took longer than {limit:g} s and was killed") from None
        except WorkerDied as problem:
            self.kill(str(problem))
            raise WorkerDied(f"worker {self.pid}: {await self.obituary()}") from None
        except BaseException:
            self.kill("was killed, its question was cancelled")
            raise
        self.execs += 1
        return answer

    async def settle(self, limit: float) -> None:
        """Wait until the worker is ready for the next question; it is killed when it is not.

        The handshake is done again for this, because PHP answers it only when it reads, and after all else
        that it wrote. An application that answers twice (RoadRunner's documentation shows one that sends an
        error behind its answer) would otherwise decide about each client with what it said about the one
        before.

        Args:
            limit: seconds; 0 is no limit.
        """
        if self.gone.done():
            return
        try:
            async with asyncio.timeout(limit or None):
                await self._link.introduce()
        except TimeoutError:
            self.kill(f"took longer than {limit:g} s to be ready again after its answer")
        except WorkerDied as problem:
            self.kill(str(problem))
        else:
            if self.state is State.WORKING:
                self.state = State.READY

    def retire(self, state: State) -> None:
        """Take no more questions; whoever keeps workers gets a new one."""
        if not self.gone.done():
            self.state = state
            self.gone.set_result(None)

    def kill(self, why: str) -> None:
        """End the process and what it started, now.

        Args:
            why: for the obituary; of several reasons the first counts.
        """
        self.retire(State.ERRORED)
        self._link.lose(why)
        self.process.kill()

    async def stop(self, grace: float = STOP_GRACE) -> bool:
        """Let the process end by itself, after the question it works on; kill it after `grace` seconds.

        Returns when the process is gone: whether it ended by itself. Cancelling this kills it.
        """
        self.retire(State.STOPPING)
        self._link.send(STOP)
        try:
            in_time = await self.process.wait(grace) is not None
            if not in_time:
                log.warning("worker does not end on the stop command, killing it", pid=self.pid, after=grace)
        finally:
            self.kill("was stopped")
        await self.process.wait()
        return in_time

    async def obituary(self) -> str:
        """Say why it is of no use any more, after `kill` or its own end."""
        return await obituary(self.process, self._link)

    async def buried(self) -> None:
        """Wait for the end of the process, and release what belongs to it."""
        await asyncio.wait([self.process.exited])
        await asyncio.wait([self._link.lost])
        self.process.output.close()
        self._link.close()
        await asyncio.wait([self._link.closed])

    def describe(self) -> WorkerState | None:
        """Tell how it is; None when the process is gone."""
        try:
            process = psutil.Process(self.pid)
            with process.oneshot():
                memory = process.memory_info().rss
                times = process.cpu_times()
        except (psutil.Error, OSError):  # OSError: out of file descriptors
            return None
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
        """Resident set size in bytes; 0 when the process is gone."""
        try:
            return psutil.Process(self.pid).memory_info().rss
        except (psutil.Error, OSError):
            return 0
