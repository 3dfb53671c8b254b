"""Lines on their way to an output that may stand still."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue

from rr_py_ws.logs.outputs import Output

CLOSE_TIMEOUT = 1.0
"""Seconds, at most, that the last lines may take when the program ends."""
_TOGETHER = 64 * 1024
"""Bytes of lines that are written with one call, about."""


class OutputQueue:
    """Takes lines at once; a thread of its own writes them to an output.

    A pipe that nobody reads, or a disk that hangs, holds up this thread and nobody else. What does not fit
    into the queue is dropped and counted, and one line says so as soon as there is room again: when the queue
    is half empty.

    Args:
        output: where the lines go; belongs to this object from now on.
        max_size: bytes of memory that the lines may take which wait, with about 50 for each line besides its
            text. A single line may be larger.
        describe_loss: makes the line that says how many lines were dropped.

    Attributes:
        dropped: lines that were dropped.
    """

    def __init__(self, output: Output, max_size: int, describe_loss: Callable[[int], str]) -> None:
        self.dropped = 0
        self._output = output
        self._max_size = max_size
        self._describe_loss = describe_loss
        # Reentrant: the garbage collector may run in `write`, and destructors log, too.
        self._lock = threading.RLock()
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._waiting = 0
        self._unsaid = 0
        self._thread = threading.Thread(target=self._write_lines, name="log output", daemon=True)
        self._thread.start()

    @property
    def terminal(self) -> bool:
        """Whether the output is one."""
        return self._output.terminal

    def write(self, lines: Iterable[str]) -> None:
        """Queue lines, or drop them; never waits for the output."""
        with self._lock:
            for line in lines:
                most = self._max_size // 2 if self._unsaid else self._max_size
                if self._waiting and self._waiting + sys.getsizeof(line) > most:
                    self.dropped += 1
                    self._unsaid += 1
                else:
                    self._tell_loss()
                    self._append(line)

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Write what waits, but no longer than `timeout` seconds, and close the output."""
        with self._lock:
            self._tell_loss()
            self._lines.put(None)
        self._thread.join(timeout)
        if not self._thread.is_alive():  # otherwise the thread stands still in the output
            self._output.close()

    def _append(self, line: str) -> None:
        self._waiting += sys.getsizeof(line)
        self._lines.put(line)

    def _tell_loss(self) -> None:
        if self._unsaid:
            lost, self._unsaid = self._unsaid, 0
            self._append(self._describe_loss(lost))

    def _write_lines(self) -> None:
        while (line := self._lines.get()) is not None:
            together, size = [line], sys.getsizeof(line)
            # One call for many lines: after each call the thread has to wait for its turn (the GIL).
            while size < _TOGETHER and not self._lines.empty() and (line := self._lines.get()) is not None:
                together.append(line)
                size += sys.getsizeof(line)
            self._output.write(together)
            with self._lock:
                self._waiting -= size
                if not self._waiting:  # nobody may log for hours
                    self._tell_loss()
            if line is None:
                return
