"""The body of a question, when it is a file: both processes map it, so that it does not go over the link."""

from __future__ import annotations

import os
from mmap import ACCESS_READ, mmap

from rr_py_ws.errors import WorkerError

Place = tuple[str, tuple[int, int, int]]
"""Path by which another process finds an open file, and what tells that file from any other."""


def place_of(descriptor: int) -> Place:
    """Say where another process finds a file that this one has open."""
    return f"/proc/{os.getpid()}/fd/{descriptor}", _identity(descriptor)


def map_file(path: str, identity: tuple[int, int, int]) -> mmap:
    """Map a file that another process has open.

    Raises:
        WorkerError: that process has closed it. The descriptor may be another file's by now, which belongs to
            somebody else's request.
        OSError: it cannot be opened or mapped.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise WorkerError("nobody waits for the answer to the request any more") from None
    try:
        if _identity(descriptor) != identity:
            raise WorkerError("nobody waits for the answer to the request any more")
        return mmap(descriptor, 0, access=ACCESS_READ)
    finally:
        os.close(descriptor)


def _identity(descriptor: int) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    # An inode is soon given to the next file, so its number alone does not tell.
    return status.st_dev, status.st_ino, status.st_ctime_ns
