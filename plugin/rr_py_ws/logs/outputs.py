"""Where lines go: a standard stream, or a file that may be rotated.

Outputs are handlers of the standard library's `logging`; the message of a record is the finished line. A line
that cannot be written is lost, and the caller never sees an exception.
"""

from __future__ import annotations

import gzip
import io
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from rr_py_ws.errors import ConfigError

if TYPE_CHECKING:
    from rr_py_ws.config import FileLoggerOptions

_STAMP = "%Y-%m-%dT%H-%M-%S"
_DEFAULT_NAME = "rr-py-ws.log"
_JOIN_TIMEOUT = 5.0
"""Seconds that a closing file waits for the thread that compresses old files."""


def write_line(output: logging.Handler, line: str) -> None:
    """Give a finished line, with its line ending, to an output."""
    output.handle(logging.makeLogRecord({"msg": line}))


class StreamOutput(logging.Handler):
    """`stdout` or `stderr`, looked up for each line: the stream may be replaced while the program runs."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    @property
    def terminal(self) -> bool:
        """Whether lines may have colours: a person sees them directly, and `NO_COLOR` is not set."""
        stream = getattr(sys, self._name)
        return not os.environ.get("NO_COLOR") and stream is not None and stream.isatty()

    def emit(self, record: logging.LogRecord) -> None:
        """Write and flush, in UTF-8 whatever the locale is."""
        try:
            # sys.stdout's own encoding and errors depend on the locale; its buffer takes bytes.
            stream = getattr(sys, self._name).buffer
            stream.write(self.format(record).encode())
            stream.flush()
        except (OSError, ValueError, AttributeError):  # a broken pipe, a closed stream, no stream
            return


class FileOutput(RotatingFileHandler):
    """Appends to a file; with `options`, a full file is set aside and a new one begun.

    Names and rules are those of lumberjack, which RoadRunner uses: `app.log` becomes
    `app-2024-05-01T10-20-30.123.log` (UTC), then `.gz` with compression. A thread compresses and removes old
    files, so that the event loop does not wait for them.
    """

    terminal = False
    terminator = ""  # the line has the line ending of its channel

    def __init__(
        self,
        path: Path,
        error_output: logging.Handler,
        options: FileLoggerOptions | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the file, and with `options` make its directory when missing.

        Args:
            path: the file; of a directory, the file `rr-py-ws.log` in it.
            error_output: gets a line when the file cannot be written or rotated.
            options: when to rotate, and which old files to keep; None never rotates.
            clock: Unix time in seconds.

        Raises:
            ConfigError: the file cannot be opened.
        """
        self._path = path / _DEFAULT_NAME if path.is_dir() else path
        self._error_output = error_output
        self._options = options
        self._clock = clock
        self._error: BaseException | None = None
        self._failing = False
        self._tidying: threading.Thread | None = None
        try:
            # For the library a maxBytes of 0 is no rotation. Its number of backups only has to be above 0:
            # `_tidy` decides which of them stay.
            super().__init__(
                self._path, maxBytes=options.max_size if options else 0, backupCount=1, encoding="utf-8"
            )
            self._size = self._path.stat().st_size
        except OSError as error:
            problem = f"cannot open the log file {str(self._path)!r}: {error.strerror}"
            raise ConfigError("logs", problem) from error

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line; only the first failure after a success is reported."""
        self._error = None
        super().emit(record)  # rotates before, and does not raise but calls `handleError`
        if self._error is not None and not self._failing:
            self._report("write the log file", self._error)
        self._failing = self._error is not None

    def handleError(self, record: logging.LogRecord) -> None:
        """Remember why the line was lost; the original prints a traceback to stderr."""
        self._error = sys.exception()

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Whether the line does not fit into the file; a line over the limit gets a file of its own.

        Counts the bytes of the line; the original counts characters.
        """
        if not self.maxBytes:
            return False
        size = len(self.format(record).encode())
        full = self._size > 0 and self._size + size > self.maxBytes
        # Begins anew also when the rotation fails: the next attempt is then max_size later, not at each line.
        self._size = size if full else self._size + size
        return full

    def rotation_filename(self, default_name: str) -> str:
        """Return a name that no other file has, with the current time."""
        moment = datetime.fromtimestamp(self._clock(), UTC)
        while True:
            stamp = f"{moment.strftime(_STAMP)}.{moment.microsecond // 1000:03d}"
            name = self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}")
            # With compression the name may be taken by the compressed form.
            if not name.exists() and not Path(f"{name}.gz").exists():
                return str(name)
            moment += timedelta(milliseconds=1)  # two rotations in one millisecond

    def rotate(self, source: str, dest: str) -> None:
        """Set the full file aside; when that is impossible, it is written further."""
        try:
            Path(source).rename(dest)
        except OSError as error:
            self._report("rotate the log file", error)
        # One thread at a time; what it misses, the next rotation finds.
        if self._tidying is None or not self._tidying.is_alive():
            self._tidying = threading.Thread(target=self._tidy, name="log files", daemon=True)
            self._tidying.start()

    def close(self) -> None:
        """Close the file; waits at most 5 s for the compression of old files."""
        super().close()
        if self._tidying is not None:
            self._tidying.join(_JOIN_TIMEOUT)

    def _open(self) -> io.TextIOWrapper:
        """Open without a buffer: each line is one system call, so that lines of several processes do not mix.

        A buffer would also keep a line that could not be written, and fail again when the file is closed.
        """
        if self._options is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("ab", buffering=0)
        return io.TextIOWrapper(file, "utf-8", newline="", write_through=True)

    def _report(self, failed: str, error: BaseException) -> None:
        write_line(self._error_output, f"cannot {failed} {str(self._path)!r}: {error}\n")

    def _tidy(self) -> None:
        """Remove old files that are too many or too old, and compress the others. Runs in a thread."""
        assert self._options is not None
        oldest = datetime.fromtimestamp(self._clock(), UTC) - timedelta(days=self._options.max_age)
        try:
            for index, (moment, file) in enumerate(self._backups()):
                if index >= self._options.max_backups or moment < oldest:
                    file.unlink()
                elif self._options.compress and file.suffix != ".gz":
                    _compress(file)
        except OSError as error:
            self._report("tidy the log files of", error)

    def _backups(self) -> list[tuple[datetime, Path]]:
        """Files that were set aside, the newest first."""
        found = []
        for file in self._path.parent.iterdir():
            stamp = file.name.removesuffix(".gz").removesuffix(self._path.suffix)
            if stamp.startswith(prefix := f"{self._path.stem}-"):
                try:
                    moment = datetime.strptime(stamp.removeprefix(prefix), f"{_STAMP}.%f")
                except ValueError:  # somebody else's file
                    continue
                found.append((moment.replace(tzinfo=UTC), file))
        return sorted(found, reverse=True)


def _compress(file: Path) -> None:
    """Replace a file by its gzip form; an interruption leaves the original."""
    unfinished = Path(f"{file}.gz.part")
    with file.open("rb") as source, gzip.open(unfinished, "wb") as target:
        shutil.copyfileobj(source, target)
    unfinished.rename(f"{file}.gz")
    file.unlink()
