"""What a process of a server with several leaves to those that are started later.

They are forks of a parent that has the configuration of the start, and read the file. If it cannot be used by
then, they would be the only ones with what counted at the start. And what a core has counted would be gone.
"""

from __future__ import annotations

import os
import pickle
from struct import Struct
from typing import Generic, TypeVar, cast
from zlib import crc32

Value = TypeVar("Value")

_CHECKSUM = Struct("!I")
_NUMBER = Struct("!Q")


class HandedOn(Generic[Value]):
    """One value, made before the fork; one process keeps it, the others find it.

    A value is never written over the one before it: a process may be killed while it writes, or another may
    read in that moment.
    """

    def __init__(self) -> None:
        # In memory: there may be passwords in a configuration.
        self._files = [os.memfd_create("handed-on") for _ in range(2)]

    def keep(self, value: Value) -> None:
        """Keep what this process has."""
        number = max(map(_read, self._files))[0] + 1
        data = _NUMBER.pack(number) + pickle.dumps(value)
        file = self._files[number % 2]
        os.ftruncate(file, 0)
        os.pwrite(file, _CHECKSUM.pack(crc32(data)) + data, 0)

    def find(self) -> Value | None:
        """Return what was kept last; None when that is nothing."""
        number, data = max(map(_read, self._files))
        return cast(Value, pickle.loads(data)) if number else None


def _read(file: int) -> tuple[int, bytes]:
    """Return number and value, which are 0 and empty when they are not there as a whole."""
    found = os.pread(file, os.fstat(file).st_size, 0)
    head, data = found[: _CHECKSUM.size], found[_CHECKSUM.size :]
    if not data or _CHECKSUM.pack(crc32(data)) != head:
        return 0, b""
    return _NUMBER.unpack_from(data)[0], data[_NUMBER.size :]
