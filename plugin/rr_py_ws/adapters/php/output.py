"""What child processes print, on its way into the log."""

from __future__ import annotations

import time
from collections.abc import Callable

from rr_py_ws.adapters.php.pipes import PipeReader
from rr_py_ws.logs import get_logger

log = get_logger("server")

MAX_LINE = 8 * 1024
"""Bytes; a longer line is logged in pieces, so that one without an end takes no memory."""
_LINE = 512
"""Bytes for which a line counts as one; a longer one counts as several, which writing it takes."""
_INTERVAL = 10.0
_FEW, _MANY = 1024, 64 * 1024
"""Bytes of one read: when they become log lines, which takes time, and when they are thrown away."""


class OutputBudget:
    """How much of what all processes together print is logged.

    Args:
        lines: in 10 seconds.
        clock: monotonic seconds.

    Attributes:
        skipped: bytes that were not logged.
    """

    def __init__(self, lines: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.skipped = 0
        self._lines = lines
        self._clock = clock
        self._began = clock()
        self._used = 0

    @property
    def left(self) -> int:
        """How many lines may still be logged."""
        now = self._clock()
        if now - self._began >= _INTERVAL:
            self._began, self._used = now, 0
        return max(0, self._lines - self._used)

    def take(self, size: int) -> None:
        """Count a line of so many bytes."""
        self._used += 1 + size // _LINE


class Output:
    """Reads what one process prints; each line is logged at level info.

    A process may print faster than any log takes it. Little is read in one turn of the event loop, and what
    is over the budget is thrown away as it comes, without a look for its lines.

    Args:
        pid: the process.
        descriptor: the reading end of a pipe, which belongs to this object from now on.
        budget: of all processes.
        on_end: called once, when the other end is closed, or this one.
    """

    def __init__(self, pid: int, descriptor: int, budget: OutputBudget, on_end: Callable[[], None]) -> None:
        self._pid = pid
        self._budget = budget
        self._on_end = on_end
        self._unfinished = b""
        self._last = b""
        self._skipped = 0
        self._reader = PipeReader(descriptor, self._receive, self._end, self._how_much)

    @property
    def last_line(self) -> str:
        """What it printed last, in 200 characters."""
        return _text(self._last)[:200]

    def close(self) -> None:
        """Read no more; what the process left running may hold the pipe open for ever."""
        self._reader.close()

    def _how_much(self) -> int:
        return _FEW if self._budget.left else _MANY

    def _receive(self, data: bytes) -> None:
        # A read may end anywhere, so the last piece waits for its line feed.
        *lines, rest = (self._unfinished + data).split(b"\n", self._budget.left)
        for line in lines:
            self._log(line)
        over, _, rest = rest.rpartition(b"\n")  # more lines than the budget has
        if over and not over.isspace():
            self._skip(over)
        while len(rest) > MAX_LINE:
            self._log(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        self._unfinished = rest

    def _end(self) -> None:
        self._log(self._unfinished)
        on_end = self._on_end
        del self._on_end  # leads back to the process, which would be a cycle
        on_end()

    def _log(self, line: bytes) -> None:
        line = line[:MAX_LINE]
        if not line or line.isspace():
            return
        if not self._budget.left:
            self._skip(line)
            return
        self._budget.take(len(line))
        self._last = line
        fields = {"skipped_bytes": self._skipped} if self._skipped else {}
        self._skipped = 0
        log.info(_text(line), pid=self._pid, **fields)

    def _skip(self, data: bytes) -> None:
        self._skipped += len(data)
        self._budget.skipped += len(data)
        # Of so much only the end is looked at, should somebody ask for the last line.
        last = data.rstrip()[-MAX_LINE:].rpartition(b"\n")[2]
        self._last = last or self._last


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").rstrip()
