"""The load generator, `load.c`: compiled with the system's compiler, started, and told what to do.

It is written in C so that the server is the limit, not what measures it; see `Load.saturated`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
CACHE = Path(".bench")
"""Where compiled and installed programs are kept, below the working directory."""

_SOURCES = [Path(__file__).with_name(name) for name in ("load.c", "protocols.h")]
_ANSWER_LIMIT = 1 << 16


class LoadError(Exception):
    """The server did not do what was asked of it, or there is nothing to ask it with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a command of the generator has done.

    Attributes:
        messages: that were published.
        frames: messages that clients have received, all together.
        wire: bytes of these, as they came.
        seconds: how long it took.
        idle: part of that time in which the generator had nothing to do.
        p50: microseconds from when a message was due, or a client began to connect, until it was there.
        p99: the same of all but one in a hundred.
        p999: the same of all but one in a thousand.
        most: the same of the slowest.
    """

    messages: int
    frames: int
    wire: int
    seconds: float
    idle: float
    p50: float
    p99: float
    p999: float
    most: float

    @property
    def saturated(self) -> bool:
        """Whether the generator was busy all the time: a server might have done more."""
        return self.idle < 0.02


def topic_name(number: int) -> str:
    """What the generator calls its topics."""
    return f"topic-{number:06d}"


def build(cache: Path = CACHE) -> Path:
    """Compile the generator, unless that was done before.

    Raises:
        LoadError: there is no compiler, or it fails.
    """
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in _SOURCES)).hexdigest()[:16]
    program = cache / f"load-{digest}"
    if program.exists():
        return program
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise LoadError("the load generator is written in C, and no cc is there: apt-get install gcc")
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = program.with_suffix(f".{os.getpid()}")
    command = [compiler, "-O2", "-o", str(unfinished), str(_SOURCES[0])]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if compiled.returncode:
        raise LoadError(f"the load generator cannot be compiled:\n{compiled.stderr}")
    unfinished.replace(program)
    return program


class Generator:
    """A running generator; leaving the context ends it, and with it the connections.

    Args:
        program: what `build` has returned.
    """

    def __init__(self, program: Path | None = None) -> None:
        self._program = program or build()
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            self._program.absolute(), stdin=pipe, stdout=pipe, limit=_ANSWER_LIMIT
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        assert self._process.stdin
        self._process.stdin.close()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def connect(
        self,
        port: int,
        count: int,
        *,
        topics: int = 1,
        each: int = 1,
        size: int = 100,
        parallel: int = 64,
        content: Path | None = None,
        deflate: bool = False,
        joins: Path | None = None,
        needle: str = '"@join"',
        frames: int = 0,
        protocol: str | None = None,
    ) -> Load:
        """Bring clients.

        Args:
            port: of the server.
            count: how many; client i is in the topics from `i * each` on, modulo `topics`.
            topics: how many.
            each: in how many of them each client is.
            size: bytes in each payload.
            parallel: how many connect at once.
            content: a file that payloads are made of.
            deflate: whether they ask for compression, and want to see it.
            joins: a file with commands; client i sends line i, modulo its length. What they get then is
                counted, and not compared.
            needle: what has to be in the answer to the join. No spaces.
            frames: so many messages have to follow it.
            protocol: what they and the publishers speak, of those in `protocols.h`, until `close`.

        Raises:
            LoadError: one is refused, or not answered.
        """
        fields = {
            "port": port,
            "count": count,
            "topics": topics,
            "each": each,
            "size": size,
            "parallel": parallel,
            "content": content,
            "deflate": int(deflate),
            "joins": joins,
            "needle": needle,
            "frames": frames,
            "protocol": protocol,
        }
        return await self._ask("connect", fields)

    async def publish(
        self,
        rpc: int,
        window: int = 1,
        *,
        seconds: float | None = None,
        most: int | None = None,
        rate: float | None = None,
        publishers: int = 1,
        per_call: int = 1,
        method: str = "broadcast.Publish",
        topics: int | None = None,
        first: int | None = None,
        size: int | None = None,
        patience: float = 5.0,
    ) -> Load:
        """Publish, topic after topic, and wait until everything has arrived.

        Args:
            rpc: port of the server.
            window: calls in flight.
            seconds: for how long.
            most: most messages.
            rate: messages in a second, instead of a window.
            publishers: connections; `window` is for each. Several keep no order: only without clients.
            per_call: messages in a call.
            method: what is called; the answer is that of `broadcast.Publish` in any case.
            topics: how many, when there are no clients.
            first: number of the first of them, when there are no clients.
            size: bytes in each payload, when there are no clients.
            patience: seconds without anything new, after which what has not come is lost.

        Raises:
            LoadError: something is lost, doubled, changed or out of order, or a call has failed.
        """
        fields = {
            "rpc": rpc,
            "window": window,
            "seconds": seconds,
            "most": most,
            "rate": rate,
            "publishers": publishers,
            "per_call": per_call,
            "method": method,
            "topics": topics,
            "first": first,
            "size": size,
            "patience": patience,
        }
        return await self._ask("publish", fields)

    async def expect(self, messages: int) -> None:
        """Be ready for so many messages that somebody else publishes from now on."""
        await self._ask("expect", {"most": messages})

    async def receive(self, patience: float = 5.0) -> Load:
        """Wait until the expected messages are there.

        Raises:
            LoadError: as for `publish`.
        """
        return await self._ask("publish", {"patience": patience})

    async def idle(self, seconds: float) -> Load:
        """Answer pings, and nothing else."""
        return await self._ask("idle", {"seconds": seconds})

    async def close(self) -> None:
        """Reset all connections."""
        await self._ask("close", {})

    async def _ask(self, command: str, fields: Mapping[str, object]) -> Load:
        assert self._process.stdin and self._process.stdout
        given = (f" {name}={value}" for name, value in fields.items() if value is not None)
        self._process.stdin.write(f"{command}{''.join(given)}\n".encode())
        line = await self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the load generator has died"}
        if "error" in answer:
            raise LoadError(answer["error"])
        return Load(**answer)


def write_joins(path: Path, commands: Iterable[object]) -> Path:
    """Write a file with commands for `Generator.connect`."""
    path.write_text("".join(f"{json.dumps(command, separators=(',', ':'))}\n" for command in commands))
    return path
