"""What core and listener processes have in common: their event loop, the orders of the parent, the reload."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from rr_py_ws import config, logs
from rr_py_ws.server.changes import Changes
from rr_py_ws.server.control import Control
from rr_py_ws.server.handed_on import HandedOn
from rr_py_ws.server.loop import event_loop
from rr_py_ws.server.reload import Reloader

log = logs.get_logger("app")


class ChildProcess(ABC):
    """One child of the parent process.

    Args:
        number: of the process: 0 is the core, listeners are numbered from 1.
        loaded: the configuration that the server was started with.
        read_again: reads it at a reload.
        last: what a reload has brought last.
        control: to the parent.
        again: whether the process takes the place of one that has ended.

    Attributes:
        number: of the process.
        tells: whether it logs what all of them do.
        stopping: set when the server stops.
    """

    tells = False

    def __init__(
        self,
        number: int,
        loaded: config.Config,
        read_again: Callable[[], config.Config],
        last: HandedOn[config.Config],
        control: Control,
        *,
        again: bool,
    ) -> None:
        self.number = number
        self.loaded = loaded
        self.control = control
        self.again = again
        self._read_again = read_again
        self._last = last
        self._reloader: Reloader | None = None
        self._reload_asked = False
        self._linking: set[asyncio.Task[None]] = set()
        self.stopping: asyncio.Event

    def run(self, *, debug: bool) -> int:
        """Run until the end; return the exit code.

        Raises:
            RRWSError: it cannot start, or did not stop in order.
        """
        with asyncio.Runner(loop_factory=event_loop(), debug=debug) as runner:
            return runner.run(self._run())

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        self.stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Of a terminal or a service manager all processes get them; what counts is what the parent says.
            loop.add_signal_handler(number, _leave_to_parent)
        self.prepare()
        loop.add_reader(self.control.socket, self._take_orders)
        return await self.serve()

    # What the two differ in

    @abstractmethod
    def prepare(self) -> None:
        """Make the parts; the loop runs, and no order has been taken."""

    @abstractmethod
    async def serve(self) -> int:
        """Start, run and stop."""

    @abstractmethod
    async def link(self, number: int, accepted: socket.socket) -> None:
        """Use a socket that leads to another process."""

    @abstractmethod
    def take(self, loaded: config.Config) -> None:
        """Take what can change."""

    # What they share

    def started(self, look_at_certificates: Callable[[], Any], changes: Changes) -> None:
        """Everything that lives as long as the process is made."""
        gc.freeze()
        self._reloader = Reloader(
            self.loaded,
            self._read_again,
            self.take,
            look_at_certificates,
            changes,
            tells=self.tells,
            last=self._last,
        )
        if self._reload_asked:
            self._reloader.ask()

    async def run_beside(self, *work: Any) -> None:
        """Reload when asked, and do other work, until cancelled."""
        assert self._reloader is not None
        await asyncio.gather(self._reloader.run(), *work)

    def _take_orders(self) -> None:
        while True:
            try:
                found = self.control.receive()
            except BlockingIOError:
                return
            if found is None:  # the parent has died: nobody would start again what ends here
                asyncio.get_running_loop().remove_reader(self.control.socket)
                if not self.stopping.is_set() and self.tells:
                    log.error("the parent process ended, so all others stop")
                self.stopping.set()
                return
            (order, *values), sockets = found
            if order == "look":
                self.control.send("alive")
            elif order == "stop":
                self.stopping.set()
            elif order == "reload":
                if self._reloader is not None:
                    self._reloader.ask()
                else:
                    self._reload_asked = True
            elif order == "log":
                level, text, fields = values
                getattr(log, level)(text, **fields)
            elif order == "link":
                self._link(*values, *sockets)

    def _link(self, number: int, accepted: socket.socket | None = None) -> None:
        if accepted is None:  # the kernel drops what there is no descriptor for
            self.control.send("unlinked", self.number or number)
            return
        accepted.setblocking(False)
        task = asyncio.get_running_loop().create_task(self.link(number, accepted))
        self._linking.add(task)
        task.add_done_callback(self._linking.discard)


def _leave_to_parent() -> None:
    pass
