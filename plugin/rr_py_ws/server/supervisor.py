"""The parent process of a server with several: it starts the others, and again when one ends.

It does nothing else, so that there is nothing that could end it: no event loop, no thread, no file, no
client. Its children are forks of it: they have the same configuration, and share the memory of the program.
One that hangs is ended (`heartbeat`), and started again like one that has ended by itself.
"""

from __future__ import annotations

import math
import os
import select
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn, TextIO

from rr_py_ws import logs
from rr_py_ws.adapters.net.listen import describe_os_error
from rr_py_ws.errors import ConfigError, RRWSError, all_of
from rr_py_ws.server.control import Control
from rr_py_ws.server.heartbeat import LOOKS
from rr_py_ws.server.supervised import CORE, SIGNALS, Supervised
from rr_py_ws.server.systemd import notify

_SPARE = 3.0
"""Seconds, beyond the grace period, until a process that has not ended is killed."""
_UNLINKED = "it cannot be connected to the core"

log = logs.get_logger("app")

RunChild = Callable[[int, Control, bool], int]
"""Runs a process: its number, its end of the control socket, and whether it has been started before."""


class Supervisor:
    """Starts the core and the listeners, and looks after them.

    Args:
        listeners: how many.
        run_child: what a child does.
        on_listener_end: called with the number of a listener that has ended.
        on_ready: called when everything is started for the first time.
        on_stop: called when a stop begins.
        grace: seconds that a stop may take.
        patience: seconds for which a process may answer nothing; 0: for ever.
        silent: print nothing.
    """

    def __init__(
        self,
        listeners: int,
        run_child: RunChild,
        on_listener_end: Callable[[int], None],
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        grace: float,
        patience: float,
        *,
        silent: bool,
    ) -> None:
        self._run_child = run_child
        self._on_listener_end = on_listener_end
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._grace = grace
        self._patience = patience
        self._look_at = math.inf
        self._silent = silent
        self._children = [Supervised(number, patience) for number in range(listeners + 1)]
        self._core = self._children[CORE]
        self._selector = selectors.DefaultSelector()
        self._signals, self._wakeup = socket.socketpair()
        self._is_ready = False
        self._stopping = False
        self._start_failed = ""
        self._reloaded = False
        self._kill_at: float | None = None
        self._failures: list[str] = []

    def run(self) -> int:
        """Serve until a signal; return the exit code.

        Raises:
            RRWSError: the server cannot start, or did not stop in the grace period.
        """
        self._listen_to_signals()
        try:
            for child in self._children:
                self._start(child)
            self._plan_look()
            while any(child.pid for child in self._children) or not self._stopping:
                self._turn()
        finally:
            self._kill_all()
        if self._start_failed and not self._failures:
            self._failures.append(self._start_failed)
        if self._failures:
            raise all_of(ConfigError("", text) for text in dict.fromkeys(self._failures))
        return 0

    # The turns

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._pause()):
            if key.data is None:
                for number in self._signals.recv(4096):
                    self._take_signal(number)
            else:
                self._take_messages(key.data)
        self._reap()
        now = time.monotonic()
        for child in self._children:
            if child.due is not None and child.due <= now:
                self._start(child)
        if now >= self._look_at:
            self._look()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._failures.append("grace timeout exceeded, some processes were not stopped in order")
            self._kill_all()

    def _pause(self) -> float | None:
        """Return for how long there is nothing to do but to wait."""
        moments = [child.due for child in self._children if child.due is not None]
        if self._kill_at is not None:
            moments.append(self._kill_at)
        if self._patience:
            moments.append(self._look_at)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _look(self) -> None:
        """See which of the children have answered since the last look, and ask them again."""
        for child in self._children:
            # What has come by now counts, however late the parent itself is.
            self._take_messages(child)
            if not child.pid or child.fault:
                continue
            if not child.heartbeat.asked:
                child.heartbeat.ask()
                child.send("look")
            elif child.heartbeat.miss():
                child.kill(f"it has answered nothing for {self._patience:g} s")
        self._plan_look()

    def _plan_look(self) -> None:
        if self._patience:
            self._look_at = time.monotonic() + self._patience / LOOKS

    def _listen_to_signals(self) -> None:
        for sock in (self._signals, self._wakeup):
            sock.setblocking(False)
        for number in SIGNALS:
            signal.signal(number, _note)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._signals, selectors.EVENT_READ)

    def _take_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reloaded = True
            for child in self._children:
                child.send("reload")
        elif number in (signal.SIGTERM, signal.SIGINT):
            if self._stopping:
                self._force()
            self._print(f"stop signal received, grace timeout is: {self._grace:g} seconds")
            self._stop()

    def _take_messages(self, child: Supervised) -> None:
        while child.control is not None:
            try:
                found = child.control.receive()
            except BlockingIOError:
                return
            if found is None:
                self._forget_control(child)
                return
            (what, *values), _ = found
            if what in ("ready", "grace"):
                self._grace = values[0]
                if what == "ready" and not self._is_ready:
                    self._is_ready = True
                    notify("READY=1")
                    self._on_ready()
            elif what == "failed":
                if not self._is_ready or self._stopping:
                    self._failures += values[0]
                else:
                    child.reason = "; ".join(values[0])
            elif what == "alive":
                child.heartbeat.answer()
            elif what == "unlinked":
                self._children[values[0]].kill(f"{_UNLINKED}, too many open files")
            elif what == "stuck":
                self._children[values[0]].kill("it takes nothing from the core")

    # Start and end

    def _start(self, child: Supervised) -> None:
        try:
            child.start(lambda control: self._live(child, control))
        except OSError as error:
            self._cannot_start(child, error)
            return
        assert child.control is not None
        self._selector.register(child.control.socket, selectors.EVENT_READ, child)
        others = self._children[1:] if child is self._core else [self._core]
        for other in others:
            if other.pid:
                self._link(other if child is self._core else child)
        child.again = True
        if self._reloaded:  # it is a fork that has the configuration of the start
            child.send("reload")

    def _cannot_start(self, child: Supervised, error: OSError) -> None:
        reason, text = describe_os_error(error), "a process could not be started again"
        if not self._is_ready:
            raise RRWSError(f"cannot start a process: {reason}") from error
        pause = child.plan_restart(failed=True)
        self._log("error", text, process=child.name, reason=reason, pause=round(pause, 1))

    def _link(self, listener: Supervised) -> None:
        """Connect a listener and the core; a listener that cannot be is of no use, and starts again later."""
        try:
            one, other = socket.socketpair()
        except OSError as error:
            listener.kill(f"{_UNLINKED}, {describe_os_error(error)}")
            return
        self._core.send("link", listener.number, sockets=(one,))
        listener.send("link", CORE, sockets=(other,))
        one.close()
        other.close()

    def _live(self, child: Supervised, control: Control) -> NoReturn:
        """Be a child."""
        code = 1
        try:
            # What the others have of the parent must end with it.
            for other in self._children:
                if other.control is not None:
                    other.control.close()
            self._selector.close()
            self._signals.close()
            self._wakeup.close()
            code = self._run_child(child.number, control, child.again)
        except RRWSError as error:
            errors = error.errors if isinstance(error, ConfigError) else ()
            control.send("failed", [one.located for one in errors] or [str(error)])
        except BaseException:
            traceback.print_exc()
        finally:
            logs.shutdown()
            os._exit(code)

    def _reap(self) -> None:
        found = dict(_ended_children())
        ended = [child for child in self._children if child.pid in found]
        for child in ended:  # first of all, so that no line is given to one that has ended, too
            self._take_messages(child)  # its last words
            self._forget_control(child)
            if child is not self._core:
                self._on_listener_end(child.number)
        for child in ended:
            pid, child.pid = child.pid, 0
            self._ended(child, pid, found[pid])

    def _ended(self, child: Supervised, pid: int, status: int) -> None:
        if self._stopping:
            if child.fault:
                self._failures.append(f"a process was killed, {child.fault}: {child.name}")
            return
        end = child.describe_end(status)
        if not self._is_ready:
            # The core ends the listeners when it fails: it says why, in a moment.
            self._start_failed = f"the {child.name} process ended while the server started: {end}"
            self._stop()
            return
        pause = child.plan_restart()
        text = "a listener process ended, it is started again; its clients have to connect again"
        if child is self._core:
            text = "the core process ended, it is started again; meanwhile nobody can publish or join"
        fields = {"reason": child.reason} if child.reason else {}
        self._log("error", text, process=child.name, pid=pid, end=end, **fields, pause=round(pause, 1))

    def _forget_control(self, child: Supervised) -> None:
        if child.control is not None:
            self._selector.unregister(child.control.socket)
            child.control.close()
            child.control = None

    def _stop(self) -> None:
        self._stopping = True
        self._on_stop()
        notify("STOPPING=1")
        self._kill_at = time.monotonic() + self._grace + _SPARE
        for child in self._children:
            child.due = None
            child.send("stop")

    def _force(self) -> None:
        self._print("exit forced")
        self._kill_all()
        os._exit(1)

    def _kill_all(self) -> None:
        for child in self._children:
            child.kill()

    def _print(self, line: str) -> None:
        if not self._silent and _takes_a_line(sys.stdout):
            logs.print_line(line)

    def _log(self, level: str, text: str, **fields: Any) -> None:
        """Have a child write a line: one that answers, the core if it does."""
        for child in sorted(self._children, key=lambda one: one.heartbeat.silence):
            if child.pid and child.control is not None:
                child.send("log", level, text, fields)
                return
        if _takes_a_line(sys.stderr):
            getattr(log, level)(text, **fields)


def _takes_a_line(stream: TextIO | None) -> bool:
    """Whether somebody takes what is printed: nothing may hold up the parent."""
    with suppress(OSError, ValueError):  # closed
        return stream is not None and bool(select.select((), (stream,), (), 0)[1])
    return False


def _ended_children() -> Iterator[tuple[int, int]]:
    """Reap all that have ended: as process 1 of a container the parent gets orphans of PHP workers, too.

    Yields:
        Process id, and status as the kernel tells it.
    """
    with suppress(ChildProcessError):  # there is none any more
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended


def _note(number: int, frame: FrameType | None) -> None:
    """Take a signal: its number has been written to the wakeup socket. So does a child."""
