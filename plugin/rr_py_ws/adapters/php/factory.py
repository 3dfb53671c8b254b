"""Starts workers as the `server` section says, and keeps account of them until nothing of them is left."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from rr_py_ws.adapters.net import deadline
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.adapters.net.turns import Turns
from rr_py_ws.adapters.php import RR_VERSION
from rr_py_ws.adapters.php.output import OutputBudget
from rr_py_ws.adapters.php.relay import SharedRelay
from rr_py_ws.adapters.php.worker import State, Worker
from rr_py_ws.config import Server
from rr_py_ws.core.ports import WorkerState
from rr_py_ws.errors import WorkerDied, WorkerStartError
from rr_py_ws.metrics import Sample, gauge

STOPPING = "the server is stopping"


def worker_environment(server: Server, relay: str, rpc: str, plugin: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker; of two values the later counts.

    Args:
        server: the `server` section.
        relay: how the worker reaches the server: `pipes` or a DSN.
        rpc: DSN of the RPC server; without one PHP takes its own default.
        plugin: what a plugin sets for its workers, such as RR_MODE.
    """
    return {
        **os.environ,
        "RR_RELAY": relay,
        **({"RR_RPC": rpc} if rpc else {}),
        **{name.upper(): value for name, value in server.env.items()},
        "RR_VERSION": RR_VERSION,
        **plugin,
    }


class WorkerFactory:
    """Starts workers of one command; owns what they share, the listener of a socket relay.

    Args:
        server: the `server` section.
        rpc_address: returns the DSN of the RPC server, or nothing; asked when the factory is opened, because
            the port may be known only then.
        broadcast_path: path of the WebSocket listener.
        budget: how much of what workers print is logged.
        max_answer: bytes of an answer of a worker, or of a part of one.
        relay: shared with other factories; None: its own.

    Attributes:
        tasks: what runs beside questions: the ends of workers, replacements.
        stopping: whether no more may be started.

    Raises:
        ConfigError: `server.relay` cannot be read.
    """

    def __init__(
        self,
        server: Server,
        *,
        rpc_address: Callable[[], str],
        broadcast_path: str,
        budget: OutputBudget,
        max_answer: int,
        relay: SharedRelay | None = None,
    ) -> None:
        self.tasks = TaskSet("php")
        self.stopping = False
        self._server = server
        self._rpc_address = rpc_address
        self._plugin = {"RR_MODE": "http", "RR_BROADCAST_PATH": broadcast_path}
        self._relay = relay or SharedRelay(server, budget)
        self._opened = False
        self.max_answer = max_answer
        self._turns = Turns(1)
        self._starting: set[Worker] = set()
        self._workers: dict[Worker, None] = {}

    @property
    def alive(self) -> bool:
        """Whether a worker answers questions."""
        return any(worker.state in (State.READY, State.WORKING) for worker in self._workers)

    def workers(self) -> list[Worker]:
        """Return all after their handshakes, in the order of their starts, with those on their way out."""
        return list(self._workers)

    async def open(self) -> None:
        """Open the relay.

        Raises:
            ConfigError: the address of `server.relay` cannot be used.
        """
        self._opened = True
        await self._relay.open()
        server = self._server
        # Only now: the real ports of relay and RPC server are known when they listen.
        self._env = worker_environment(server, self._relay.address, self._rpc_address(), self._plugin)

    async def close(self) -> None:
        """Close the relay, and end the workers that are being started; those that run go on."""
        self.stopping = True
        # They would hold up the end for as long as their handshake may take.
        for worker in self._starting:
            worker.kill(STOPPING)
        if self._opened:
            self._opened = False
            await self._relay.close()

    async def start(self, timeout: float) -> Worker:
        """Start a worker, and do the handshake with it.

        Cancelling this leaves no process.

        Args:
            timeout: seconds for both.

        Raises:
            WorkerStartError: it cannot be started; the text names `server.command` and the reason.
        """
        line = self._server.command_line
        # This thread stands still until the new process has begun, a millisecond or more: one in a turn.
        await self._turns.piece(1)
        if self.stopping:
            raise WorkerStartError(STOPPING)
        try:
            process, connection = self._relay.start(
                self._server.command, self._env, self._server.user, self.max_answer
            )
        except WorkerStartError as error:
            raise WorkerStartError(f"server.command: cannot start {line!r}: {error}") from error
        # A child of the worker may hold its end of the pipe open, so the end of the process counts, too.
        process.exited.add_done_callback(lambda _: connection.expect_end())
        worker = Worker(process, connection, line)
        # From the first moment on: whatever happens below, the process is reaped and its pipes are closed.
        closing = self.tasks.spawn(self._close(worker))
        self._starting.add(worker)
        try:
            # Workers that start while this process is busy may have answered by then.
            async with deadline.timeout(timeout):
                await self._relay.handshake(connection)
            if connection.lost.done():  # in the same turn of the loop: by `close`, or by the worker itself
                raise WorkerDied(connection.problem)
            self._workers[worker] = None
            return worker
        except (TimeoutError, WorkerDied) as error:
            worker.kill(str(error) or f"no answer to the handshake within {timeout:g} s")
            reason = await worker.exit_reason()
            raise WorkerStartError(f"server.command: cannot start {line!r}: {reason}") from None
        finally:
            self._starting.discard(worker)
            if worker not in self._workers:
                worker.kill("was cancelled while it started")
                # Whoever gets an error, or was cancelled, can rely on no process being left.
                await asyncio.wait([closing])

    async def start_all(self, count: int, timeout: float) -> list[Worker]:
        """Start so many workers at the same time.

        Raises:
            WorkerStartError: one of them cannot be started; the others are ended.
        """
        starts: list[asyncio.Task[Worker]] = []
        try:
            async with asyncio.TaskGroup() as group:
                starts += [group.create_task(self.start(timeout)) for _ in range(count)]
        except BaseException as error:
            for start in starts:
                if not start.cancelled() and start.exception() is None:
                    start.result().kill("another worker cannot be started")
                    await start.result().process.wait()
            # Callers expect the error of one worker; that there were several is of no interest.
            raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error from None
        return [start.result() for start in starts]

    async def _close(self, worker: Worker) -> None:
        await worker.wait_closed()
        self._workers.pop(worker, None)

    def states(self) -> list[WorkerState]:
        """Describe each process."""
        return [state for worker in self._workers if (state := worker.describe()) is not None]

    def metrics(self) -> Iterator[Sample]:
        """Yield the number of workers by state, and their memory."""
        # The usual states are reported as 0, too, so that graphs have no gaps.
        states = Counter({State.READY.text: 0, State.WORKING.text: 0})
        states.update(worker.state.text for worker in self._workers)
        memory = sum(worker.memory() for worker in self._workers)
        yield gauge("workers", "Worker processes, by state.", states, "state")
        yield gauge("workers_memory_bytes", "Resident memory of all workers.", memory)
