"""What child processes print, on its way into the log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from rr_py_ws.adapters.php.pipes import PipeReader
from rr_py_ws.logs import get_logger
from rr_py_ws.metrics import Sample, counter

log = get_logger("server")

MAX_LINE = 8 * 1024
"""Bytes; a longer line is logged in pieces, so that one without an end takes no memory."""
_LINE = 512
"""Bytes for which a line counts as one; a longer one counts as several, which writing it takes."""
_INTERVAL = 10.0
_LOOKED_AT = 64
"""Lines of what is not logged that are looked at; a stack trace may have so many."""
_SHOWN = 300
"""Characters of a process' last words."""
_FATAL = re.compile(rb"Uncaught |Fatal error|Parse error|Allowed memory size|Maximum execution time")
_THROWN = re.compile(rb"(?!\s*#\d).*?(?:Exception|Error|Throwable)\b")
"""A line that names an exception; those of a stack trace, which begin with `#0`, do not count."""
_FEW, _MANY = 1024, 64 * 1024
"""Bytes of one read: when they become log lines, which takes time, and when they are thrown away."""


class OutputBudget:
    """How much of what all processes together print is logged.

    Args:
        lines: in 10 seconds.
        clock: monotonic seconds.

    Attributes:
        lines: the same; it may change.
        skipped: bytes that were not logged.
    """

    def __init__(self, lines: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.skipped = 0
        self.lines = lines
        self._clock = clock
        self._began = clock()
        self._used = 0

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        text = "Output of workers that was not logged, because they printed too much."
        yield counter("worker_output_skipped_bytes", text, self.skipped)

    @property
    def left(self) -> int:
        """How many lines may still be logged."""
        now = self._clock()
        if now - self._began >= _INTERVAL:
            self._began, self._used = now, 0
        return max(0, self.lines - self._used)

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
        self._older = 0
        self._skipped = 0
        self._forget()
        self._reader = PipeReader(descriptor, self._receive, self._end, self._how_much)

    @property
    def last_words(self) -> str:
        """What says best why the process ended, of what it has printed since `begin_request`.

        PHP ends the report of an exception with a stack trace and the place; the message comes before that.
        """
        return _text(self._fatal or self._thrown or self._last)[:_SHOWN]

    def begin_request(self) -> None:
        """What is printed from now on is about another request; what is in the pipe already is not."""
        if self._last:
            self._forget()
        self._older = self._reader.unread

    def close(self) -> None:
        """Read no more; what the process left running may hold the pipe open for ever."""
        self._reader.close()

    def _how_much(self) -> int:
        return _FEW if self._budget.left else _MANY

    def _receive(self, data: bytes) -> None:
        if self._older:
            older, data = data[: self._older], data[self._older :]
            self._older -= len(older)
            self._take(older)
            self._forget()
        self._take(data)

    def _take(self, data: bytes) -> None:
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
        self._remember(line)
        fields = {"skipped_bytes": self._skipped} if self._skipped else {}
        self._skipped = 0
        log.info(_text(line), pid=self._pid, **fields)

    def _skip(self, data: bytes) -> None:
        self._skipped += len(data)
        self._budget.skipped += len(data)
        # Of so much only the end is looked at, should somebody ask for the last words.
        for line in data.rstrip()[-MAX_LINE:].rsplit(b"\n", _LOOKED_AT)[-_LOOKED_AT:]:
            if line and not line.isspace():
                self._remember(line)

    def _remember(self, line: bytes) -> None:
        self._last = line
        if _FATAL.search(line):
            self._fatal = line
        elif _THROWN.match(line):
            self._thrown = line

    def _forget(self) -> None:
        self._last = self._thrown = self._fatal = b""


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").rstrip()
