"""One child process, as its parent has it, over all its lives."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from rr_py_ws.core.backoff import Backoff
from rr_py_ws.server.control import Control
from rr_py_ws.server.heartbeat import Heartbeat

CORE = 0
"""The number of the core process; listeners are numbered from 1."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""Those for which the parent has handlers."""
_SHORT_LIFE = 5.0
"""Seconds; a process that lived no longer is started again after a pause, which grows."""
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 10.0


class Supervised:
    """A place for a process: one lives there, or is to be started again.

    Args:
        number: see `CORE`.
        patience: see `Heartbeat`.

    Attributes:
        number: the same.
        pid: of the process; 0 while there is none.
        control: to the process.
        heartbeat: of the process.
        due: when it is to be started again, monotonic seconds.
        again: whether it has been started before.
        fault: why it was killed; empty: it was not.
        reason: why it ends, in its own words; empty: it has said nothing.
    """

    def __init__(self, number: int, patience: float) -> None:
        self.number = number
        self.pid = 0
        self.control: Control | None = None
        self.heartbeat = Heartbeat(0, 0.0)
        self.due: float | None = None
        self.again = False
        self.fault = ""
        self.reason = ""
        self._patience = patience
        self._started = 0.0
        self._backoff = Backoff(_FIRST_PAUSE, _LAST_PAUSE)

    @property
    def name(self) -> str:
        """For people."""
        return "core" if self.number == CORE else f"listener {self.number}"

    def start(self, live: Callable[[Control], NoReturn]) -> None:
        """Fork a process.

        Args:
            live: what it does, with its end of the control socket; the parent's handlers do nothing there.

        Raises:
            OSError: there is no process or no descriptor to be had; nothing has changed.
        """
        ours, theirs = Control.pair()
        # Until the child has left the parent's socket for signals, one that it gets would be told there.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
                ours.close()
                live(theirs)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            theirs.close()
        self.pid, self.control, self.due = pid, ours, None
        self.fault = self.reason = ""
        self.heartbeat = Heartbeat(pid, self._patience)
        self._started = time.monotonic()

    def send(self, *message: Any, sockets: tuple[socket.socket, ...] = ()) -> None:
        """Tell it something; nothing when it is not there."""
        if self.control is not None:
            self.control.send(*message, sockets=sockets)

    def kill(self, fault: str = "") -> None:
        """End it now; nothing when it is not there.

        Args:
            fault: why, for the log.
        """
        if self.pid:
            self.fault = fault
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def describe_end(self, status: int) -> str:
        """Say how it ended, by the status that the kernel tells."""
        if self.fault:
            return f"killed: {self.fault}"
        if not os.WIFSIGNALED(status):
            return f"exit code {os.WEXITSTATUS(status)}"
        number = os.WTERMSIG(status)
        try:
            return signal.Signals(number).name
        except ValueError:  # those between SIGRTMIN and SIGRTMAX have no names
            return f"signal {number}"

    def plan_restart(self, *, failed: bool = False) -> float:
        """Have it started again: at once, or after a pause that grows with each short life.

        Args:
            failed: whether it could not even be started.

        Returns:
            The pause in seconds.
        """
        long = not failed and time.monotonic() - self._started > _SHORT_LIFE
        if long:
            self._backoff.reset()
        pause = 0.0 if long else self._backoff.next_pause()
        self.due = time.monotonic() + pause
        return pause
