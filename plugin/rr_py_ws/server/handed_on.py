"""What a process of a server with several leaves to those that are started later.

They are forks of a parent that has the configuration of the start, and read the file. If it cannot be used by
then, they would be the only ones with what counted at the start. And what a core has counted would be gone.
"""

from __future__ import annotations

import os
import pickle
from typing import Generic, TypeVar, cast
from zlib import crc32

Value = TypeVar("Value")

_HEAD = 4
"""Bytes of the checksum in front: whoever reads while another process writes finds nothing."""


class HandedOn(Generic[Value]):
    """One value, made before the fork; one process keeps it, the others find it."""

    def __init__(self) -> None:
        # In memory: there may be passwords in a configuration.
        self._file = os.memfd_create("handed-on")

    def keep(self, value: Value) -> None:
        """Keep what this process has."""
        data = pickle.dumps(value)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, crc32(data).to_bytes(_HEAD) + data, 0)

    def find(self) -> Value | None:
        """Return what was kept last; None when that is nothing, or is being written."""
        head = os.pread(self._file, _HEAD, 0)
        data = os.pread(self._file, os.fstat(self._file).st_size, _HEAD)
        if not data or crc32(data).to_bytes(_HEAD) != head:
            return None
        return cast(Value, pickle.loads(data))
