"""The servers that are measured, as processes, and what they cost."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from bench.generator import HOST

_HERE = Path(__file__).parent


class ServerError(Exception):
    """A server did not start."""


class Server:
    """A running server; leaving the context ends it.

    Attributes:
        name: of the program, for reports.
        ws_port: where browsers connect.
        rpc_port: where PHP publishes.
        protocol: what its clients speak, when that is not ours; see `protocols.h`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        ws_port: int,
        rpc_port: int,
        log: Path,
        *,
        directory: Path = _HERE.parent,
        protocol: str | None = None,
        **environment: str,
    ) -> None:
        """Start it.

        Args:
            name: of the program.
            command: it.
            ws_port: where it will listen.
            rpc_port: the same.
            log: a file for its output.
            directory: where it runs; where Python finds this package, whoever measures.
            protocol: what its clients speak.
            environment: more of it.
        """
        self.name = name
        self.ws_port = ws_port
        self.rpc_port = rpc_port
        self.protocol = protocol
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=_environment() | environment,
            )

    @property
    def address(self) -> str:
        """Where it is called."""
        return f"{HOST}:{self.rpc_port}"

    def __enter__(self) -> Self:
        try:
            for port in (self.rpc_port, self.ws_port):
                self._wait_for(port)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def cpu(self) -> int:
        """CPU time used so far by all threads of the process and its children, in nanoseconds."""
        return sum(_cpu(pid) for pid in _family(self._process.pid))

    def own_cpu(self) -> int:
        """The same without the children."""
        return _cpu(self._process.pid)

    def rss(self) -> int:
        """Resident memory of the process and its children, in bytes."""
        return sum(_rss(pid) for pid in _family(self._process.pid))

    def cores(self) -> set[int]:
        """Where it may run."""
        return os.sched_getaffinity(self._process.pid)

    def pin(self, cores: set[int]) -> None:
        """Let all its threads, and those of its children, run on these cores only."""
        for pid in _family(self._process.pid):
            pin(pid, cores)

    def _wait_for(self, port: int, patience: float = 30.0) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                socket.create_connection((HOST, port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ServerError(f"{self.name} does not start:\n{self._log.read_text()}") from None
                time.sleep(0.02)


def start_ours(directory: Path, name: str = "ours", **sections: Mapping[str, Any]) -> Server:
    """Start `rr-py-ws serve`; not at their defaults are the log level, and that no worker is asked.

    Args:
        directory: for its files.
        name: of the files.
        sections: of the configuration; what is in them replaces what would be there.
    """
    ws_port, rpc_port = free_port(), free_port()
    config: dict[str, dict[str, Any]] = {
        "rpc": {"listen": f"tcp://{HOST}:{rpc_port}"},
        "http": {"address": f"{HOST}:{ws_port}"},
        "websockets": {"broker": "default", "path": "/ws", "authorize": "none"},
        "broadcast": {"default": {"driver": "memory", "config": {}}},
        "logs": {"level": "info"},
    }
    for section, values in sections.items():
        config.setdefault(section, {}).update(values)
    file = directory / f"{name}.yaml"
    file.write_text(json.dumps({"version": "2.7", **config}))  # JSON is YAML
    command: list[str | Path] = [sys.executable, "-m", "rr_py_ws", "serve", "-c", file]
    return Server(name, command, ws_port, rpc_port, directory / f"{name}.log")


def by_redis(redis: Server) -> dict[str, Any]:
    """The section `broadcast` of a node on a Redis server."""
    return {"default": {"driver": "redis", "config": {"addrs": [redis.address]}}}


def start_redis(directory: Path) -> Server:
    """Start a Redis server that keeps nothing."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no"]
    return Server("redis", command, port, port, directory / "redis.log")


def start_neighbour(directory: Path) -> Server:
    """Start what stands for a RoadRunner that calls are sent on to."""
    port = free_port()
    command = [sys.executable, "-m", "bench.neighbour", str(port)]
    return Server("neighbour", command, port, port, directory / "neighbour.log")


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for a scenario. PHP workers may still be writing there when it ends."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name)


def php_client() -> Path:
    """The package that PHP publishes and decides with."""
    return _HERE.parent / "php-client"


def pin(pid: int, cores: set[int]) -> None:
    """Let all threads of a process run on these cores only."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it may have ended
            os.sched_setaffinity(int(thread.name), cores)


def _environment() -> dict[str, str]:
    """This environment without what would change our configuration."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RR_")}


def free_port() -> int:
    """A port that nobody listens on, from a range that the system does not give to outgoing connections."""
    while True:
        port = random.randrange(30_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port


def _family(pid: int) -> list[int]:
    """The process and all its descendants."""
    family = [pid]
    for parent in family:
        for task in Path(f"/proc/{parent}/task").iterdir():
            family += map(int, (task / "children").read_text().split())
    return family


def _cpu(pid: int) -> int:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)


def _rss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise ServerError(f"no memory figures for process {pid}")
