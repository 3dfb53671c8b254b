"""A child process: started as the configuration says, watched, its output logged, killed with the server."""

from __future__ import annotations

import asyncio
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rr_py_ws.adapters.php.pipes import PipeReader
from rr_py_ws.errors import WorkerStartError
from rr_py_ws.logs import Limiter, get_logger

log = get_logger("server")
_lines = Limiter(burst=500)

_LAUNCH = str(Path(__file__).with_name("exec_shim.py"))
_MAX_LINE = 8 * 1024
_FILES, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
"""The limit of open files before the server raises its own, which it does when all modules are loaded.
Children get it back: a program that calls `select` cannot use descriptors from 1024 on."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run, as a `command` key gives it.

    Attributes:
        line: split at every single space: no quotes, no shell, and two spaces make an empty argument
            (roadrunner-server/roadrunner-plugins server/plugin.go @v2.7.1).
        env: the whole environment.
        user: name of the account to run as; empty is the server's own.
    """

    line: str
    env: Mapping[str, str]
    user: str = ""

    def argv(self) -> list[str]:
        """Return the arguments of `exec_shim.py` that make it this program.

        Raises:
            WorkerStartError: the program or the account does not exist, or the account cannot be taken.
        """
        argv = self.line.split(" ")
        program = shutil.which(argv[0])
        if program is None:
            raise WorkerStartError(f"{argv[0]!r} is no program: not found, or not executable")
        return [self._account(), program, *argv]

    def _account(self) -> str:
        """Return `UID:GID`. Changing the account takes root, and removes the supplementary groups."""
        if not self.user:
            return ""
        try:
            account = pwd.getpwnam(self.user)
        except KeyError:
            raise WorkerStartError(f"there is no account {self.user!r} (key user)") from None
        if os.geteuid() != 0:
            raise WorkerStartError(f"only root can start it as {self.user!r} (key user)")
        return f"{account.pw_uid}:{account.pw_gid}"


class Process:
    """A running child, the leader of its own process group, so that a terminal's Ctrl-C does not reach it.

    Attributes:
        pid: process id, also of the group.
        created: when it was started, Unix nanoseconds.
        exited: done when it has ended, with its exit code (negative: the signal that ended it).
        output: what it writes to stderr.
    """

    def __init__(self, child: subprocess.Popen[bytes], pidfd: int, output: OutputLines) -> None:
        loop = asyncio.get_running_loop()
        self.pid = child.pid
        self.created = time.time_ns()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.output = output
        self._child = child
        self._pidfd = pidfd
        loop.add_reader(self._pidfd, self._reap)

    @classmethod
    def start(cls, command: Command, *, stdin: int, stdout: int | None) -> Process:
        """Start the program, within about a millisecond.

        Args:
            command: what to run.
            stdin: file descriptor, which stays the caller's.
            stdout: the same; None logs it together with stderr.

        Raises:
            WorkerStartError: the program cannot be run; the text is the reason only.
        """
        argv = [sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), str(_FILES), *command.argv()]
        try:
            stderr, their_stderr = os.pipe()
        except OSError as error:
            raise WorkerStartError(f"cannot start a process: {error.strerror}") from error
        try:
            child = subprocess.Popen(
                argv,
                env=dict(command.env),
                stdin=stdin,
                stdout=their_stderr if stdout is None else stdout,
                stderr=their_stderr,
                process_group=0,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument or a variable
            os.close(stderr)
            raise WorkerStartError(f"cannot start a process: {error}") from error
        finally:
            os.close(their_stderr)
        try:
            pidfd = os.pidfd_open(child.pid)
        except OSError as error:
            child.kill()
            child.wait()
            os.close(stderr)
            raise WorkerStartError(f"cannot watch a process (takes Linux 5.3): {error.strerror}") from error
        return cls(child, pidfd, OutputLines(child.pid, stderr))

    async def wait(self, timeout: float | None = None) -> int | None:
        """Wait until it has ended, and its last output is here.

        Returns:
            The exit code; None when it still runs after `timeout` seconds.
        """
        await asyncio.wait([self.exited], timeout=timeout)
        if not self.exited.done():
            return None
        # Its children may hold stderr open for ever.
        await asyncio.wait([self.output.ended], timeout=0.2)
        return self.exited.result()

    def kill(self) -> None:
        """End it and its process group, now. `exited` follows soon."""
        if not self.exited.done():  # so the id is still ours
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def describe_end(self) -> str:
        """Say how it ended and what it wrote last; nothing when it runs."""
        if not self.exited.done():
            return ""
        code = self.exited.result()
        end = f"exit code {code}" if code >= 0 else f"ended by signal {-code}"
        last = self.output.last_line
        return f"{end}, its last words: {last!r}" if last else end

    def _reap(self) -> None:
        code = self._child.poll()
        if code is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self.exited.set_result(code)


class OutputLines:
    """Writes what a child prints into the log, line by line, at level info.

    Args:
        pid: whose output it is.
        fd: the reading end of a pipe, which belongs to this object from now on.

    Attributes:
        last_line: for the message about its end.
        ended: done when nothing more can come.
    """

    def __init__(self, pid: int, fd: int) -> None:
        self.last_line = ""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pid = pid
        self._rest = b""
        self._pipe = PipeReader(fd, self._receive_data, self._receive_eof)

    def close(self) -> None:
        """Read no more."""
        self._pipe.close()

    def _receive_data(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > _MAX_LINE:
            lines.append(rest[:_MAX_LINE])
            rest = rest[_MAX_LINE:]
        self._rest = rest
        for line in lines:
            self._write(line)

    def _receive_eof(self) -> None:
        self._write(self._rest)
        self.ended.set_result(None)

    def _write(self, line: bytes) -> None:
        text = line[:_MAX_LINE].decode("utf-8", "backslashreplace").rstrip()
        if not text:
            return
        self.last_line = text[:200]
        suppressed = _lines.admit("")
        if suppressed:
            log.info(text, pid=self._pid, suppressed=suppressed)
        elif suppressed is not None:
            log.info(text, pid=self._pid)
