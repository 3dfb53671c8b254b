"""Real Redis servers for tests: one, with sentinels, a cluster. Nothing is kept on disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

REDIS = shutil.which("redis-server") or "redis-server"
SENTINEL = shutil.which("redis-sentinel") or "redis-sentinel"
CLI = shutil.which("redis-cli") or "redis-cli"


def free_port() -> int:
    """A port that nobody uses; below the range of outgoing connections, and its cluster bus port is free too."""
    while True:
        port = 10_000 + int.from_bytes(os.urandom(2), "big") % 12_000
        try:
            for used in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", used))
        except OSError:
            continue
        return port


class RedisServer:
    """One process.

    Attributes:
        port: where it listens; 0 with a unix socket only.
    """

    def __init__(
        self, directory: Path, *arguments: str, port: int | None = None, program: str = REDIS
    ) -> None:
        self.port = free_port() if port is None else port
        self._directory = directory
        self._arguments = arguments
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start, and wait until it answers."""
        self._directory.mkdir(parents=True, exist_ok=True)
        settings = () if self._program == SENTINEL else ("--save", "", "--appendonly", "no")
        with (self._directory / f"{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *self._config(), "--port", str(self.port), *settings, *self._arguments],
                cwd=self._directory,
                stdout=log,
                stderr=log,
            )
        while b"PONG" not in await self.ask("PING") and b"NOAUTH" not in await self.ask("PING"):
            assert self._process.poll() is None, (self._directory / f"{self.port}.log").read_text()
            await asyncio.sleep(0.01)

    def _config(self) -> Sequence[str]:
        if self._program != SENTINEL:
            return ()
        path = self._directory / f"{self.port}.conf"  # a sentinel wants a file that it can write to
        path.touch()
        return (str(path),)

    async def ask(self, *command: str, cli: Sequence[str] = ()) -> bytes:
        """Send a command by redis-cli; what it prints."""
        process = await asyncio.create_subprocess_exec(
            CLI,
            *("-p", str(self.port)),
            *cli,
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return output.strip()

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it where it is; the kernel goes on taking bytes for it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@asynccontextmanager
async def redis_server(
    directory: Path, *arguments: str, port: int | None = None
) -> AsyncIterator[RedisServer]:
    """A server that runs."""
    server = RedisServer(directory, *arguments, port=port)
    try:
        await server.start()
        yield server
    finally:
        server.close()
