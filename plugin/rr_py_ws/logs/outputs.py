"""Where lines go: a standard stream, or a file that may be rotated.

A line that cannot be written is lost, and the caller never sees an exception. Writing may take any time: a
pipe that nobody reads, a disk that hangs. The server therefore writes through an `OutputQueue`.
"""

from __future__ import annotations

import gzip
import os
import select
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rr_py_ws.errors import ConfigError

if TYPE_CHECKING:
    from rr_py_ws.config import FileLoggerOptions

_STAMP = "%Y-%m-%dT%H-%M-%S"
_DEFAULT_NAME = "rr-py-ws.log"
_JOIN_TIMEOUT = 1.0
"""Seconds that a closing file waits for the thread that compresses old files."""


class Output(Protocol):
    """Takes finished lines, each with its line ending."""

    @property
    def terminal(self) -> bool:
        """Whether lines may have colours: a person sees them directly, and `NO_COLOR` is not set."""

    def write(self, lines: Iterable[str]) -> None:
        """Write lines; those that cannot be written are lost."""

    def close(self) -> None:
        """Write no more."""


class StreamOutput:
    """`stdout` or `stderr`, looked up for each line: the stream may be replaced while the program runs."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def terminal(self) -> bool:
        """Whether lines may have colours: a person sees them directly, and `NO_COLOR` is not set."""
        stream = getattr(sys, self._name)
        return not os.environ.get("NO_COLOR") and stream is not None and stream.isatty()

    def write(self, lines: Iterable[str]) -> None:
        """Write at once, in UTF-8 whatever the locale is."""
        data, stream = "".join(lines).encode(), getattr(sys, self._name)
        try:
            try:
                descriptor = stream.fileno()
            except (OSError, ValueError):  # a stream in memory
                stream.buffer.write(data)
            else:
                # Not the stream's buffer: its lock, held by a thread that stands still in a write, would hold
                # up the end of the process.
                _write_all(descriptor, data)
        except (OSError, ValueError, AttributeError):  # a broken pipe, a closed stream, no stream
            return

    def close(self) -> None:
        """Do nothing: the stream is the process's."""


class FileOutput:
    """Appends to a file; with `options`, a full file is set aside and a new one begun.

    Names and rules are those of lumberjack, which RoadRunner uses: `app.log` becomes
    `app-2024-05-01T10-20-30.123.log` (UTC), then `.gz` with compression. A thread compresses and removes old
    files, so that no line waits for them.

    Several processes may write to one file when one of them rotates it (`shared`): the others notice.
    """

    terminal = False

    def __init__(
        self,
        path: Path,
        error_output: Output,
        options: FileLoggerOptions | None = None,
        clock: Callable[[], float] = time.time,
        *,
        shared: bool = False,
        rotates: bool = True,
    ) -> None:
        """Open the file, and with `options` make its directory when missing.

        Args:
            path: the file; of a directory, the file `rr-py-ws.log` in it.
            error_output: gets a line when the file cannot be written or rotated.
            options: when to rotate, and which old files to keep; None never rotates.
            clock: Unix time in seconds.
            shared: whether other processes write to the file.
            rotates: whether it is this process that sets a full file aside.

        Raises:
            ConfigError: the file cannot be opened.
        """
        self._shared = shared and options is not None
        self._rotates = rotates
        self._path = _file_at(path)
        self._error_output = error_output
        self._options = options
        self._clock = clock
        self._failing = False
        self._tidying: threading.Thread | None = None
        try:
            self._descriptor = self._open()
            self._size = os.fstat(self._descriptor).st_size
        except OSError as error:
            problem = f"cannot open the log file {str(self._path)!r}: {error.strerror}"
            raise ConfigError("logs", problem) from error

    def write(self, lines: Iterable[str]) -> None:
        """Append lines; only the first failure after a success is reported."""
        together = bytearray()
        try:
            if self._shared:
                self._look_at_others()
            for line in lines:
                data = line.encode()
                if self._is_full(len(data)):
                    _write_all(self._descriptor, together)
                    together.clear()
                    self._rotate()
                together += data
            # One system call, so that lines of several processes do not mix.
            _write_all(self._descriptor, together)
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._report("write the log file", error)
            self._failing = True

    def close(self) -> None:
        """Close the file; waits at most 1 s for the compression of old files."""
        os.close(self._descriptor)
        if self._tidying is not None:
            self._tidying.join(_JOIN_TIMEOUT)

    def _open(self) -> int:
        if self._options is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _look_at_others(self) -> None:
        """Go on in the file that another process has begun; count what others have written to ours."""
        found = os.fstat(self._descriptor)
        try:
            is_there = os.path.samestat(found, self._path.stat())
        except OSError:
            is_there = False
        if not is_there and not self._rotates:
            before, self._descriptor = self._descriptor, self._open()
            os.close(before)
        self._size = found.st_size

    def _is_full(self, size: int) -> bool:
        """Whether a line does not fit into the file; a line over the limit gets a file of its own."""
        if self._options is None or not self._rotates:
            return False
        full = self._size > 0 and self._size + size > self._options.max_size
        # Begins anew also when the rotation fails: the next attempt is then max_size later, not at each line.
        self._size = size if full else self._size + size
        return full

    def _rotate(self) -> None:
        """Set the full file aside; when that is impossible, it is written further."""
        try:
            self._path.rename(self._free_name())
        except OSError as error:
            self._report("rotate the log file", error)
        full, self._descriptor = self._descriptor, self._open()
        os.close(full)
        # One thread at a time; what it misses, the next rotation finds.
        if self._tidying is None or not self._tidying.is_alive():
            self._tidying = threading.Thread(target=self._tidy, name="log files", daemon=True)
            self._tidying.start()

    def _free_name(self) -> Path:
        """Return a name that no other file has, with the current time."""
        moment = datetime.fromtimestamp(self._clock(), UTC)
        while True:
            stamp = f"{moment.strftime(_STAMP)}.{moment.microsecond // 1000:03d}"
            name = self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}")
            # With compression the name may be taken by the compressed form.
            if not name.exists() and not Path(f"{name}.gz").exists():
                return name
            moment += timedelta(milliseconds=1)  # two rotations in one millisecond

    def _report(self, failed: str, error: BaseException) -> None:
        self._error_output.write((f"cannot {failed} {str(self._path)!r}: {error}\n",))

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


def try_file(path: Path, *, made: bool) -> None:
    """See whether a file can be opened as `FileOutput` opens it, without making it.

    Args:
        path: the file.
        made: whether its directory is made when it is missing.

    Raises:
        ConfigError: it cannot.
    """
    path = _file_at(path)
    problem = ""
    if _exists(path):
        problem = "" if os.access(path, os.W_OK) else "Permission denied"
    else:
        directory = path.parent
        while made and not _exists(directory):
            directory = directory.parent
        if not _is_directory(directory):
            problem = "Not a directory" if _exists(directory) else "No such file or directory"
        elif not os.access(directory, os.W_OK | os.X_OK):
            problem = "Permission denied"
    if problem:
        raise ConfigError("logs", f"cannot open the log file {str(path)!r}: {problem}")


def _file_at(path: Path) -> Path:
    return path / _DEFAULT_NAME if _is_directory(path) else path


# Unlike those of `Path`, these never raise: where nothing can be seen, to open it will say why.


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110


def _is_directory(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112


def _compress(file: Path) -> None:
    """Replace a file by its gzip form; an interruption leaves the original."""
    unfinished = Path(f"{file}.gz.part")
    with file.open("rb") as source, gzip.open(unfinished, "wb") as target:
        shutil.copyfileobj(source, target)
    unfinished.rename(f"{file}.gz")
    file.unlink()


def _write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write all of it, also where another process has made the pipe non-blocking."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            select.select((), (descriptor,), ())
