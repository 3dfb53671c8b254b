"""A child process: started as the configuration says, watched, its output logged, killed with the server."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from rr_py_ws.adapters.net.accounts import find_account
from rr_py_ws.adapters.php.output import Output, OutputBudget
from rr_py_ws.config import OnInit
from rr_py_ws.errors import ConfigError, WorkerStartError
from rr_py_ws.logs import get_logger
from rr_py_ws.masking import command_line, mask_text

log = get_logger("server")

_EXEC_SHIM = str(Path(__file__).with_name("exec_shim.py"))
_FILES, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
"""The limit of open files before the server raises its own, which it does when all modules are loaded.
Children get it back: a program that calls `select` cannot use descriptors from 1024 on."""


def find_program(argv: Sequence[str], user: str) -> list[str]:
    """Return the arguments of `exec_shim.py` that make it a program.

    Args:
        argv: a `command` key: its name and its arguments.
        user: name of the account to run as; empty is the server's own.

    Raises:
        WorkerStartError: the program or the account does not exist, or the account cannot be taken.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise WorkerStartError(f"{mask_text(argv[0])!r} is not a program: not found, or not executable")
    if not user:
        return ["", program, *argv]
    account = find_account(user)
    if account is None:
        raise WorkerStartError(f"there is no account {user!r} (key user)")
    # Changing the account takes root, and removes the supplementary groups.
    if os.geteuid() != 0:
        raise WorkerStartError(f"only root can start it as {user!r} (key user)")
    return [f"{account.pw_uid}:{account.pw_gid}", program, *argv]


class Process:
    """A running child, and what it prints, which goes into the log line by line at level info.

    It leads a process group of its own, so that a terminal's Ctrl-C does not reach it, and `kill` does reach
    what it started. When it ends by itself, what it started and left in this group is killed, too.

    Args:
        child: the process.
        pidfd: becomes readable when it ends; belongs to this object from now on.
        output: the reading end of a pipe that it prints to; the same.
        budget: how much of that is logged.
        leaves: whether it may leave processes behind.

    Attributes:
        running: process id -> those that are not reaped.
        pid: process id, also of the group.
        created: when it was started, Unix nanoseconds.
        exited: done when it has ended, with its exit code (negative: the signal that ended it).
    """

    running: ClassVar[dict[int, Process]] = {}

    def __init__(
        self, child: subprocess.Popen[bytes], pidfd: int, output: int, budget: OutputBudget, leaves: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        self.pid = child.pid
        self.created = time.time_ns()
        self.exited: asyncio.Future[int] = loop.create_future()
        self._child = child
        self._pidfd = pidfd
        self._leaves = leaves
        self._printed: asyncio.Future[None] = loop.create_future()
        self._output = Output(self.pid, output, budget, lambda: self._printed.set_result(None))
        # A pidfd, and not SIGCHLD: it watches this child only, and no process that anybody else waits for.
        loop.add_reader(pidfd, self.reap)
        self.running[self.pid] = self

    @property
    def last_words(self) -> str:
        """What it printed that says best why it ended."""
        return self._output.last_words

    def begin_request(self) -> None:
        """What it prints from now on is about another request."""
        self._output.begin_request()

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        env: Mapping[str, str],
        user: str,
        budget: OutputBudget,
        *,
        stdin: int,
        stdout: int | None,
        leaves: bool = False,
    ) -> Process:
        """Start a program, within about a millisecond.

        Args:
            command: the program and its arguments.
            env: the whole environment.
            user: name of the account to run as; empty is the server's own.
            budget: how much of what it prints is logged.
            stdin: file descriptor, which stays the caller's.
            stdout: the same; None logs it together with stderr.
            leaves: whether it may leave processes behind when it ends by itself.

        Raises:
            WorkerStartError: the program cannot be run; the text is the reason only.
        """
        shim = [sys.executable, "-I", "-S", _EXEC_SHIM, str(os.getpid()), str(_FILES)]
        argv = shim + find_program(command, user)
        try:
            stderr, their_stderr = os.pipe()
        except OSError as error:
            raise WorkerStartError(f"cannot start a process: {error.strerror}") from error
        try:
            child = subprocess.Popen(
                argv,
                env=dict(env),
                stdin=stdin,
                stdout=their_stderr if stdout is None else stdout,
                stderr=their_stderr,
                # A group of its own: `kill` reaches what it starts, and Ctrl-C reaches only the server.
                process_group=0,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument or a variable
            os.close(stderr)
            raise WorkerStartError(f"cannot start a process: {error}") from error
        finally:
            # As long as this is open here, the end of the output is never seen.
            os.close(their_stderr)
        try:
            pidfd = os.pidfd_open(child.pid)
        except OSError as error:
            # Without a pidfd nobody would learn of its end.
            child.kill()
            child.wait()
            os.close(stderr)
            raise WorkerStartError(f"cannot watch a process (takes Linux 5.3): {error.strerror}") from error
        return cls(child, pidfd, stderr, budget, leaves)

    async def wait(self, timeout: float | None = None) -> int | None:
        """Wait until it has ended, and its last output is here.

        Returns:
            The exit code; None when it still runs after `timeout` seconds.
        """
        await asyncio.wait([self.exited], timeout=timeout)
        if not self.exited.done():
            return None
        # Its children may hold stderr open for ever.
        await asyncio.wait([self._printed], timeout=0.2)
        return self.exited.result()

    def kill(self) -> None:
        """End it and its process group, now. `exited` follows soon."""
        if not self.exited.done():  # not reaped: the kernel cannot have given the id to another process
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def describe_end(self) -> str:
        """Say how it ended and with what last words; nothing when it runs."""
        if not self.exited.done():
            return ""
        code = self.exited.result()
        end = f"exit code {code}" if code >= 0 else f"ended by signal {-code}"
        return f"{end}, its last words: {self.last_words!r}" if self.last_words else end

    def close(self) -> None:
        """Read its output no more; what it left running may hold the pipe open for ever."""
        self._output.close()

    def reap(self) -> None:
        """Take note of its end, if it has ended."""
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        # Before it is reaped: until then no other process and no other group can have its id.
        if not self._leaves:
            self.kill()
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        del self.running[self.pid]
        self.exited.set_result(self._child.wait())


async def run_on_init(config: OnInit, budget: OutputBudget) -> None:
    """Run `server.on_init`, the command before the workers, and wait for its end.

    It is killed after `exec_timeout`, or when this is cancelled. What it prints is logged. A failure is
    logged and does no harm, as in RoadRunner. The server's own environment wins over `env`.

    Raises:
        ConfigError: it failed, and `exit_on_error` is set.
    """
    if (problem := await _run_on_init(config, budget)) and config.exit_on_error:
        raise ConfigError("server.on_init", problem)


async def _run_on_init(config: OnInit, budget: OutputBudget) -> str:
    """Run the command; returns what went wrong, or nothing."""
    line = command_line(config.command)
    env = {name.upper(): value for name, value in config.env.items()} | dict(os.environ)
    try:
        process = Process.start(
            config.command,
            env,
            config.user,
            budget,
            stdin=subprocess.DEVNULL,
            stdout=None,
            leaves=True,  # it may start a service for the workers
        )
    except WorkerStartError as error:
        log.error("server.on_init cannot be run", command=line, reason=error)
        return f"cannot start {line!r}: {error}"
    try:
        code = await process.wait(config.exec_timeout)
        if code is None:
            log.error("server.on_init took too long and is killed", exec_timeout=config.exec_timeout)
            return f"{line!r} took longer than {config.exec_timeout:g} s"
        if code != 0:
            log.error("server.on_init failed", command=line, reason=process.describe_end())
            return f"{line!r}: {process.describe_end()}"
        return ""
    finally:
        process.kill()
        await process.wait()
        process.close()
