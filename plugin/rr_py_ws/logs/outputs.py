"""Where lines go: a standard stream, a file, a file that is rotated. Writing never raises."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from rr_py_ws.errors import ConfigError


class Output(Protocol):
    """Takes finished lines."""

    @property
    def terminal(self) -> bool:
        """A person looks at it directly."""

    def write(self, line: bytes) -> None:
        """Write one line; a line that cannot be written is lost, the caller is not disturbed."""


class StreamOutput:
    """`stdout` or `stderr`, looked up at each write: the stream may be replaced while we run."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def terminal(self) -> bool:
        """Colours are welcome there."""
        stream = getattr(sys, self._name)
        return not os.environ.get("NO_COLOR") and stream is not None and stream.isatty()

    def write(self, line: bytes) -> None:
        """Write and flush."""
        try:
            stream = getattr(sys, self._name).buffer
            stream.write(line)
            stream.flush()
        except (OSError, ValueError, AttributeError):  # broken pipe, closed, absent
            return


class FileOutput:
    """Appends to a file. The first failure after a success is told to `complain`."""

    terminal = False

    def __init__(self, path: Path, complain: Output) -> None:
        """Open the file.

        Raises:
            ConfigError: it cannot be opened.
        """
        self.path = path
        self._complain = complain
        self._failed = False
        try:
            self._file = self._open()
        except OSError as error:
            raise ConfigError("logs", f"cannot open the log file {str(path)!r}: {error.strerror}") from error

    def write(self, line: bytes) -> None:
        """Append; the system call is one, so that lines of several writers do not mix."""
        try:
            self._file.write(line)
            self._failed = False
        except (OSError, ValueError) as error:
            if not self._failed:
                self._complain.write(f"cannot write the log file {str(self.path)!r}: {error}\n".encode())
            self._failed = True

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        return self.path.open("ab", buffering=0)


class RotatingFileOutput(FileOutput):
    """Appends to a file that is set aside when it is full.

    Names and rules are those of lumberjack, which RoadRunner uses: `app.log` becomes
    `app-2024-05-01T10-20-30.123.log` (UTC), then `.gz` with compression. A thread compresses and removes old
    files, so that the server does not stand still meanwhile.
    """

    def __init__(
        self,
        path: Path,
        complain: Output,
        *,
        max_size: int,
        max_age: int,
        max_backups: int,
        compress: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the file; makes its directory when missing.

        Args:
            path: the file that is written.
            complain: where failures are told.
            max_size: bytes; a longer line is still written whole.
            max_age: days that a file set aside is kept.
            max_backups: how many of them are kept.
            compress: with gzip.
            clock: Unix time in seconds.

        Raises:
            ConfigError: it cannot be opened.
        """
        self._max_size = max_size
        self._max_age = timedelta(days=max_age)
        self._max_backups = max_backups
        self._compress = compress
        self._clock = clock
        self._lock = threading.Lock()
        self._tidying: threading.Thread | None = None
        super().__init__(path, complain)
        self._size = self._file.seek(0, os.SEEK_END)

    def write(self, line: bytes) -> None:
        """Append, after a rotation when the line does not fit."""
        with self._lock:
            if self._size and self._size + len(line) > self._max_size:
                self._rotate()
            super().write(line)
            self._size += len(line)

    def close(self) -> None:
        """Close the file; waits a little for compression to end."""
        super().close()
        if self._tidying is not None:
            self._tidying.join(timeout=5)

    def _open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

    def _rotate(self) -> None:
        try:
            self.path.rename(self._backup_name())
            full, self._file = self._file, self._open()
            full.close()
        except OSError as error:
            self._complain.write(f"cannot rotate the log file {str(self.path)!r}: {error}\n".encode())
        self._size = 0
        if self._tidying is None or not self._tidying.is_alive():
            self._tidying = threading.Thread(target=self._tidy, name="log files", daemon=True)
            self._tidying.start()

    def _backup_name(self) -> Path:
        moment = datetime.fromtimestamp(self._clock(), UTC)
        while True:
            stamp = moment.strftime("%Y-%m-%dT%H-%M-%S.") + f"{moment.microsecond // 1000:03d}"
            name = self.path.with_name(f"{self.path.stem}-{stamp}{self.path.suffix}")
            if not name.exists() and not Path(f"{name}.gz").exists():
                return name
            moment += timedelta(milliseconds=1)

    def _backups(self) -> list[tuple[datetime, Path]]:
        """Files set aside, the newest first."""
        found = []
        for file in self.path.parent.iterdir():
            stamp = file.name.removesuffix(".gz").removesuffix(self.path.suffix)
            if stamp.startswith(prefix := f"{self.path.stem}-"):
                try:
                    moment = datetime.strptime(stamp.removeprefix(prefix), "%Y-%m-%dT%H-%M-%S.%f")
                except ValueError:
                    continue
                found.append((moment.replace(tzinfo=UTC), file))
        return sorted(found, reverse=True)

    def _tidy(self) -> None:
        oldest = datetime.fromtimestamp(self._clock(), UTC) - self._max_age
        try:
            for index, (moment, file) in enumerate(self._backups()):
                if index >= self._max_backups or moment < oldest:
                    file.unlink()
                elif self._compress and file.suffix != ".gz":
                    _compress(file)
        except OSError as error:
            self._complain.write(f"cannot tidy the log files of {str(self.path)!r}: {error}\n".encode())


def _compress(file: Path) -> None:
    """Replace a file by its gzip form; an interruption leaves the original."""
    unfinished = Path(f"{file}.gz.part")
    with file.open("rb") as source, gzip.open(unfinished, "wb") as target:
        shutil.copyfileobj(source, target)
    unfinished.rename(f"{file}.gz")
    file.unlink()
