"""The configuration that a server of several processes has taken last, for those that start later.

They are forks of a parent that has the configuration of the start, and read the file. If it cannot be used by
then, they would be the only ones with what counted at the start.
"""

from __future__ import annotations

import os
import pickle
from zlib import crc32

from rr_py_ws.config import Config

_HEAD = 4
"""Bytes of the checksum in front: whoever reads while another process writes finds nothing."""


class LastReload:
    """Made before the fork; one process keeps, the others find."""

    def __init__(self) -> None:
        # In memory: there may be passwords in a configuration.
        self._file = os.memfd_create("configuration")

    def keep(self, taken: Config) -> None:
        """Keep what this process has taken."""
        data = pickle.dumps(taken)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, crc32(data).to_bytes(_HEAD) + data, 0)

    def find(self) -> Config | None:
        """Return what was kept last; None when that is nothing, or is being written."""
        head = os.pread(self._file, _HEAD, 0)
        data = os.pread(self._file, os.fstat(self._file).st_size, _HEAD)
        if not data or crc32(data).to_bytes(_HEAD) != head:
            return None
        found = pickle.loads(data)
        assert isinstance(found, Config)
        return found
