"""Bodies of requests on their way to PHP: in memory while they are short, else in files."""

from __future__ import annotations

import os
import tempfile
from mmap import ACCESS_READ, mmap

from rr_py_ws.adapters.net.threads import in_thread

_IN_MEMORY = 64 * 1024
"""Bytes of a body, or of what is to be written to a file, that are kept in memory."""


class FileWriter:
    """Writes to a file in large pieces, in a thread: a disk may keep one waiting.

    Args:
        descriptor: of the file; it belongs to this object from now on.

    Attributes:
        descriptor: the same; -1 when it is closed.
        size: bytes, with those that are still in memory.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._pieces: list[bytes] = []
        self._waiting = 0
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Write, now or later.

        Raises:
            OSError: it cannot be written.
        """
        self._pieces.append(data)
        self._waiting += len(data)
        self.size += len(data)
        if self._waiting >= _IN_MEMORY:
            await self.flush()

    async def flush(self) -> None:
        """Have everything in the file.

        Raises:
            OSError: it cannot be written.
        """
        if self._waiting:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._waiting = 0
            await in_thread(_write_all, self.descriptor, data)

    def close(self) -> None:
        """Close the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


class Spool:
    """A body that PHP gets as it is, which takes one frame, whatever its size.

    What is longer than a little goes to a file without a name, and is mapped into memory in the end: what the
    worker has not read yet is with the kernel, which can put it back to the disk.

    Args:
        directory: where files are made.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._short = bytearray()
        self._file: FileWriter | None = None

    async def write(self, data: bytes) -> None:
        """Take a part.

        Raises:
            OSError: there is no file, or it is full.
        """
        if self._file is None:
            self._short += data
            if len(self._short) <= _IN_MEMORY:
                return
            data, self._short = bytes(self._short), bytearray()
            await in_thread(self._make)
            assert self._file is not None
        await self._file.write(data)

    async def content(self) -> bytes | mmap:
        """Return all of it.

        Raises:
            OSError: the file is full, or cannot be mapped.
        """
        if self._file is None:
            return bytes(self._short)
        await self._file.flush()
        return mmap(self._file.descriptor, self._file.size, access=ACCESS_READ)

    @property
    def descriptor(self) -> int:
        """Of the file; -1 when there is none."""
        return -1 if self._file is None else self._file.descriptor

    def close(self) -> None:
        """Let go of the file; what `content` returned stays."""
        if self._file is not None:
            self._file.close()

    def _make(self) -> None:
        descriptor, path = tempfile.mkstemp(prefix="rr-py-ws-body-", dir=self._directory or None)
        self._file = FileWriter(descriptor)
        os.unlink(path)  # noqa: PTH108
