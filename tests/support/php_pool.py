"""Pools of real worker processes for tests, and what the workers can be asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from rr_py_ws.adapters.php.factory import WorkerFactory
from rr_py_ws.adapters.php.output import OutputBudget
from rr_py_ws.adapters.php.pool import WorkerPool
from rr_py_ws.config import Pool, Server
from rr_py_ws.core.ports import Answer
from rr_py_ws.errors import WorkerError
from rr_py_ws.wire.access import connect_question, decode_answer, encode_request
from rr_py_ws.wire.http import Request, parse_request_head
from rr_py_ws.wire.verdict import Verdict
from rr_py_ws.wire.worker import Message

Start = Callable[..., Awaitable[WorkerPool]]
"""Starts a pool: see `make_pool`."""

WORKERS = Path(__file__).parents[1] / "adapters" / "php" / "workers"
PHP = f"php {WORKERS / 'worker.php'}"


def misbehaving(mode: str) -> str:
    """The command of a worker in Python that breaks a rule; see its file."""
    return f"{sys.executable} {WORKERS / 'misbehaving.py'} {mode}"


def make_factory(command: str = PHP, max_answer: int = 1 << 20, **server: Any) -> WorkerFactory:
    """Make a factory with keys of the `server` section."""
    return WorkerFactory(
        Server(command=command, **server),
        rpc_address=lambda: "tcp://127.0.0.1:6001",
        broadcast_path="/ws",
        budget=OutputBudget(500),
        max_answer=max_answer,
    )


def make_pool(
    command: str = PHP, workers: int = 1, server: dict[str, Any] | None = None, **pool: Any
) -> WorkerPool:
    """Make a pool with keys of the sections `server` and `pool`."""
    return WorkerPool(make_factory(command, **server or {}), Pool(num_workers=workers, **pool))


def request(query: str = "") -> Request:
    """A handshake; the query says what the PHP worker does."""
    head = parse_request_head(b"GET /ws?%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % query.encode())
    return Request(head, "127.0.0.1", secure=False)


def grant(query: str = "") -> bytes:
    """What joins of a client carry whose handshake had this query."""
    return encode_request(
        remote_addr="127.0.0.1",
        protocol="HTTP/1.1",
        method="GET",
        uri=f"http://localhost/ws?{query}",
        headers=[(b"host", b"localhost")],
        raw_query=query,
    )


async def ask_message(pool: WorkerPool, question: Message, limit: float = 0.0, **options: Any) -> Message:
    """Ask as `WorkerPool.ask`, and wait for the answer; a failure is raised. To cancel this withdraws it."""
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def on_answer(answer: Answer) -> None:
        if not answered.done():  # cancelled a moment ago; what withdraws has not run yet
            answered.set_result(answer)

    withdraw = pool.ask(question, on_answer, limit, **options)
    try:
        answer = await answered
    except asyncio.CancelledError:
        withdraw()
        raise
    if isinstance(answer, Exception):
        raise answer
    return answer


async def ask(pool: WorkerPool, query: str = "", limit: float = 0.0) -> Verdict:
    """Ask a PHP worker to do something."""
    answer = await ask_message(pool, Message(connect_question(grant(query))), limit)
    return decode_answer(answer.context, answer.body)


class Gate:
    """Keeps PHP workers from answering, or from going on after an answer, until a test opens it.

    Attributes:
        wait: the query of a question that is answered when the gate is open.
        answer_then_wait: the query of one that is answered at once; its worker is busy until then.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.wait = f"do=wait&for={file}"
        self.answer_then_wait = f"do=answer-then-wait&for={file}"

    def open(self) -> None:
        self._file.touch()


async def pid_of(pool: WorkerPool) -> int:
    """Which process answers."""
    return int((await ask(pool, "do=pid")).body)


async def failure_of(pool: WorkerPool, query: str, limit: float = 0.0) -> WorkerError:
    """Ask for something that fails, and return the error."""
    try:
        await ask(pool, query, limit)
    except WorkerError as error:
        return error
    raise AssertionError(f"{query} did not fail")


def pids(pool: WorkerPool) -> list[int]:
    """Processes of a pool."""
    return [state.pid for state in pool.states()]


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def children() -> list[int]:
    """Child processes of the test, also those that wait to be reaped; not the servers of other tests."""
    return [child.pid for child in psutil.Process().children(recursive=True) if not _is_redis(child)]


def _is_redis(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("redis-")
    except psutil.NoSuchProcess:
        return False


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


@dataclass
class RecordedLog:
    """Stands where a module has its logger."""

    lines: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **fields: self.lines.append((level, event, fields))

    def events(self, level: str) -> list[str]:
        """The texts of one level."""
        return [event for found, event, _ in self.lines if found == level]

    def text(self) -> str:
        """Everything, to look for words."""
        return "\n".join(
            f"{level}: {event} " + ", ".join(f"{name}={value}" for name, value in fields.items())
            for level, event, fields in self.lines
        )
