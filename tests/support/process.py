"""Processes: the installed program with its workers, and PHP that publishes to it.

A server is started from a configuration, waited for by its start line, and must end as it should: exit
code 0, no process left, no error in its log. A failed test shows the logs of `Servers.running`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any, ClassVar

import psutil

from support.php import PHP, REPOSITORY
from support.ports import free_port
from support.program import environment
from support.waiting import DEADLINE

PROGRAM = Path(sys.executable).with_name("rr-py-ws")

_FOLDERS = {"workers": REPOSITORY / "tests" / "e2e" / "workers", "examples": REPOSITORY / "examples"}
"""What is in the directory of every server."""
PROCESSES = int(os.environ.get("RR_WS_TEST_PROCESSES", "1"))
"""`websockets.processes` of every server that a test does not give another number."""
_MARK = "E2E_SERVER"
"""An environment variable by which a server's processes are found again, whoever their parent is by then."""


_INHERIT = """
import fcntl, os, sys
names, descriptors, *command = sys.argv[1:]
copies = [fcntl.fcntl(int(one), fcntl.F_DUPFD_CLOEXEC, 64) for one in descriptors.split(",")]
for at, copy in enumerate(copies):
    os.dup2(copy, 3 + at)
os.closerange(3 + len(copies), 64)
own = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(copies)), "LISTEN_FDNAMES": names}
os.execve(command[0], command, os.environ | own)
"""
"""Starts a program as systemd does: with sockets from descriptor 3 on (sd_listen_fds(3))."""
_INIT = """
import ctypes, os, sys
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a program that gets the orphans among its descendants, as process 1 of a container does."""


def _with_sockets(sockets: Mapping[str, socket.socket]) -> list[str]:
    if not sockets:
        return []
    descriptors = ",".join(str(sock.fileno()) for sock in sockets.values())
    return [sys.executable, "-I", "-S", "-c", _INHERIT, ":".join(sockets), descriptors]


def configuration(worker: str | None = None, **sections: Any) -> dict[str, Any]:
    """A `.rr.yaml` as an application has it.

    Args:
        worker: a script in `workers/`; None for a server that asks nobody.
        sections: what is to be different; maps are merged.
    """
    own: dict[str, Any] = {
        "version": "2.7",
        "rpc": {"listen": f"tcp://127.0.0.1:{free_port()}"},
        "http": {
            "address": f"127.0.0.1:{free_port()}",
            "middleware": ["websockets"],
            "pool": {"num_workers": 1},
        },
        "websockets": {"broker": "default", "path": "/ws", "pool": {"num_workers": 2}},
        "broadcast": {"default": {"driver": "memory", "config": {}}},
        "logs": {"mode": "production", "level": "debug"},
    }
    if PROCESSES > 1:
        own["websockets"]["processes"] = PROCESSES
    if worker is None:
        own["websockets"]["authorize"] = "none"
    else:
        own["server"] = {"command": f"php workers/{worker}"}
    return _merged(own, sections)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(one)
    for key, value in other.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


class Lines:
    """What a process writes to a pipe, line by line, as it comes."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            with self._changed:
                self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._lines)

    def __str__(self) -> str:
        return "\n".join(self._lines)

    def having(self, text: str, since: int = 0) -> list[str]:
        """The lines so far that have this text."""
        return [line for line in self._lines[since:] if text in line]

    def wait_for(self, text: str, *, count: int = 1, since: int = 0) -> str:
        """Wait for a line with this text; for the last one of several with `count`."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self.having(text, since)) >= count, DEADLINE)
        found = self.having(text, since)
        assert len(found) >= count, f"{len(found)} of {count} lines with {text!r}, in:\n{self}"
        return found[count - 1]

    def close(self) -> None:
        """Take the rest, after the end of the process."""
        self._thread.join(DEADLINE)
        self._pipe.close()


class Server:
    """A running server. What it still owes us at the end of its life is in `end`.

    Attributes:
        out: its stdout.
        log: its stderr: one JSON object per line, but for the last words of one that failed.
        tolerated: texts of log lines at level error that are all right.
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any] | str,
        *args: str,
        env: Mapping[str, str] | None = None,
        file: Path | None = None,
        sockets: Mapping[str, socket.socket] | None = None,
        files: str | None = None,
        log: IO[bytes] | None = None,
        init: bool = False,
    ) -> None:
        """Start it, and return at once.

        Args:
            directory: its working directory.
            config: written to `.rr.yaml` there; a text as it is.
            args: more flags.
            env: more environment.
            file: a configuration to use instead of writing one; `config` still says the addresses.
            sockets: name -> listening socket, which it inherits as from systemd, and which stays ours.
            files: how many it may have open; with a colon, the soft and the hard limit.
            log: what it gets as stderr, instead of a pipe that we read at once; nothing is in `log` then.
            init: whether it gets orphans, as process 1 of a container does.
        """
        self.directory = directory
        self.config: Mapping[str, Any] = {} if isinstance(config, str) else config
        self.tolerated: list[str] = []
        if file is None:
            file = directory / ".rr.yaml"
            file.write_text(config if isinstance(config, str) else json.dumps(config))  # JSON is YAML
            for name, target in _FOLDERS.items():
                if not (directory / name).exists():
                    (directory / name).symlink_to(target)
        self._mark = uuid.uuid4().hex
        limit = [] if files is None else ["prlimit", f"--nofile={files}"]
        as_init = [sys.executable, "-I", "-S", "-c", _INIT] if init else []
        self.process = subprocess.Popen(
            [*limit, *as_init, *_with_sockets(sockets or {}), PROGRAM, "serve", "-c", str(file), *args],
            cwd=directory,
            env=environment(**{_MARK: self._mark}, **(env or {})),
            pass_fds=[sock.fileno() for sock in (sockets or {}).values()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log or subprocess.PIPE,
        )
        assert self.process.stdout
        self.out = Lines(self.process.stdout)
        self.log = Lines(self.process.stderr or BytesIO())

    def wait_until_ready(self) -> None:
        """Wait for the start line."""
        self.out.wait_for("server started")

    # Where it is

    @property
    def address(self) -> tuple[str, int]:
        """Where browsers connect."""
        host, _, port = str(self.config["http"]["address"]).rpartition(":")
        return host, int(port)

    @property
    def url(self) -> str:
        """The same, for a browser, without a path."""
        return f"ws://{self.config['http']['address']}"

    @property
    def rpc(self) -> str:
        """Where PHP publishes, as the environment of a PHP process outside the server has it."""
        scheme, _, address = str(self.config["rpc"]["listen"]).partition("://")
        return f"unix://{self.directory / address}" if scheme == "unix" else f"{scheme}://{address}"

    # What is done to it

    def php(self, code: str) -> str:
        """Run PHP code; `$broadcast` publishes. Returns what it prints."""
        return PHP(code, self.rpc).end()

    def call(self, method: str, argument: str) -> str:
        """Make an RPC call with JSON from PHP; returns the JSON of the result."""
        return self.php(
            "use RRPyWs\\Goridge\\{Address, Frame, Rpc};"
            "$rpc = new Rpc(Address::fromEnvironment('RR_RPC', ''), 3.0, 20.0);"
            f"echo $rpc->call('{method}', '{argument}', Frame::JSON);"
        )

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the program against this server."""
        return subprocess.run(
            [PROGRAM, *args],
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server alone."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        code = self.process.wait(DEADLINE)
        self.out.close()
        self.log.close()
        return code

    # What it is like

    def memory(self) -> int:
        """Resident bytes."""
        return psutil.Process(self.process.pid).memory_info().rss

    def descriptors(self) -> int:
        """Open files and sockets, but no /dev/null: libuv opens that with its first stream, for good."""
        count = 0
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(OSError):  # it is closed by now
                count += str(descriptor.readlink()) != os.devnull
        return count

    def family(self) -> list[psutil.Process]:
        """Every process that it has started, directly or not, and that runs now."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def workers(self, plugin: str = "websockets") -> set[int]:
        """The processes of one pool."""
        return {
            worker["pid"] for worker in json.loads(self.call("informer.Workers", f'"{plugin}"'))["workers"]
        }

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.pid != self.process.pid and process.environ().get(_MARK) == self._mark
        except psutil.Error:
            return False

    def errors(self) -> list[str]:
        """Log lines at level error that nobody expected."""
        return [
            line
            for line in self.log.having('"level":"error"')
            if not any(text in line for text in self.tolerated)
        ]

    # The end

    def end(self) -> None:
        """Stop it if it still runs; then nothing may be left, and nothing may have gone wrong meanwhile."""
        try:
            if self.process.returncode is None:
                self.signal(signal.SIGTERM)
                assert self.wait() == 0, self.log
            assert self.family() == []
            assert self.errors() == [], self.errors()
            for output in (self.out, self.log):
                assert output.having("Traceback") == []
        finally:
            self.kill()

    def kill(self) -> None:
        """Leave nothing behind, whatever has failed."""
        if self.process.poll() is None:
            self.process.kill()
            self.wait()
        for process in self.family():
            process.kill()


def start_failure(directory: Path, config: Mapping[str, Any] | str, *args: str) -> str:
    """Start a server that cannot start; it must say so, and leave nothing.

    Returns:
        What is wrong, a line for each thing, without the places in the file.
    """
    server = Server(directory, config, *args)
    try:
        assert server.wait() == 1
        assert len(server.out) == 0
        lines = str(server.log).splitlines()
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        logged = lines[: len(lines) - len(errors)]
        assert errors and all(json.loads(line)["level"] != "error" for line in logged)
        return "\n".join(re.sub(r"^/\S+\.rr\.yaml:[0-9]+: ", "", error) for error in errors)
    finally:
        server.end()


class Servers:
    """The servers of a module; each is stopped after the last test, and must have behaved until then."""

    running: ClassVar[list[Server]] = []

    def __init__(self, stack: ExitStack, make_directory: Callable[[str], Path]) -> None:
        self._stack = stack
        self._make_directory = make_directory

    def start(self, worker: str | None = None, *args: str, wait: bool = True, **sections: Any) -> Server:
        """Start a server.

        Args:
            worker: a script in `workers/` that decides about access; None for no workers.
            args: flags.
            wait: until it is ready.
            sections: of `.rr.yaml`.
        """
        directory = self._make_directory("server")
        return self.add(Server(directory, configuration(worker, **sections), *args), wait=wait)

    def start_the_repository(
        self, directory: Path, config: dict[str, Any] | None = None, **env: str
    ) -> Server:
        """Start a server with the `.rr.yaml` of the repository.

        Args:
            directory: its working directory.
            config: says other addresses.
            env: more environment.
        """
        config = config or configuration()
        rpc, http = config["rpc"]["listen"], config["http"]["address"]
        flags = ["-o", f"rpc.listen={rpc}", "-o", f"http.address={http}"]
        env = {"CHAT_FILES": str(directory / "files"), **env}
        return self.add(Server(directory, config, *flags, env=env, file=REPOSITORY / ".rr.yaml"))

    def add(self, server: Server, *, wait: bool = True) -> Server:
        """Look after a server that was started in another way."""
        self.running.append(server)
        self._stack.callback(self.running.remove, server)
        self._stack.callback(server.end)
        if wait:
            server.wait_until_ready()
        return server
