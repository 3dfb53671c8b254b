"""Small files that were sent lately stay in memory, as long as they are what is on the disk.

Each request looks at the file by its path, which is one call of the kernel instead of four. A file that is
another, was written, or got other rights has another `version`, and is read again.
"""

from __future__ import annotations

import os
import time

from rr_py_ws.adapters.http.middleware.files import PIECE, File, open_file, version_of

_SETTLED = 2_000_000_000
"""Nanoseconds after which a file that is written again surely gets another time."""
_MEMORY = 16 * 1024 * 1024
"""Bytes that are kept; those that were read first go first."""
_COSTS = 1024
"""Bytes that a file counts for besides its own."""


class KeptFile(File):
    """A file that is in memory.

    Args:
        file: an open one.
        data: what is in it.
    """

    def __init__(self, file: File, data: bytes) -> None:
        self.path, self.size, self.modified, self.version = file.path, file.size, file.modified, file.version
        self._data = data

    @property
    def is_current(self) -> bool:
        """Whether it is still what is on the disk."""
        try:
            return version_of(os.stat(self.path)) == self.version  # noqa: PTH116
        except OSError:
            return False

    def read_cached(self, offset: int, size: int) -> bytes:
        """Return some bytes."""
        return self._data if not offset and size >= self.size else self._data[offset : offset + size]

    def close(self) -> None:
        """There is nothing to close."""


class KeptFiles:
    """Opens files, and keeps the small ones."""

    def __init__(self) -> None:
        self._files: dict[bytes, KeptFile] = {}
        self._left = _MEMORY

    def open(self, path: bytes) -> File:
        """Open a file.

        Raises:
            OSError: see `open_file`.
        """
        kept = self._files.get(path)
        if kept is not None:
            if kept.is_current:
                return kept
            self._forget(path)
        file = open_file(path)
        return self._keep(file) if file.size <= PIECE else file

    def _keep(self, file: File) -> File:
        """Keep a file, if it can be: returns it, or the open one."""
        settled = time.time_ns() - file.changed > _SETTLED
        data = file.read_cached(0, file.size) if settled else None
        if data is None or len(data) != file.size:
            return file
        file.close()
        self._left -= file.size + _COSTS
        while self._left < 0:
            self._forget(next(iter(self._files)))
        kept = self._files[file.path] = KeptFile(file, data)
        return kept

    def _forget(self, path: bytes) -> None:
        self._left += self._files.pop(path).size + _COSTS
