"""Entity tags of files, as RoadRunner's `static` makes them (static etag.go @v2.14.4)."""

from __future__ import annotations

import asyncio
import time
from posixpath import basename
from typing import Any

from rr_py_ws.adapters.http.middleware.files import PIECE, File
from rr_py_ws.adapters.net.threads import in_thread
from rr_py_ws.wire.crc32 import crc32

_REMEMBERED = 4096
_SETTLED = 2.0  # seconds after which a file that is written again surely gets another time


class ETags:
    """Makes them, and remembers those that had to be calculated from what is in the file.

    Args:
        weak: from the name only.
    """

    def __init__(self, *, weak: bool) -> None:
        self._weak = weak
        self._known: dict[tuple[Any, ...], bytes] = {}
        self._calculating: dict[tuple[Any, ...], asyncio.Future[bytes]] = {}

    async def of(self, file: File) -> bytes:
        """Return the tag of a file; empty: it has none."""
        if self._weak:
            return b'W/"%d"' % crc32(basename(file.path))
        if not file.size:
            return b""
        if (known := self._known.get(file.version)) is not None:
            return known
        # Many may ask for a large file at the same time.
        calculating = self._calculating.get(file.version)
        if calculating is None:
            calculating = asyncio.ensure_future(self._calculate(file))
            self._calculating[file.version] = calculating
        return await asyncio.shield(calculating)

    async def _calculate(self, file: File) -> bytes:
        try:
            with file.again() as again:
                tag = await _tag(again) if again.version == file.version else b""
        except OSError:  # It has gone since.
            tag = b""
        finally:
            del self._calculating[file.version]
        if tag and time.time() - file.modified > _SETTLED:
            while len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[file.version] = tag
        return tag


async def _tag(file: File) -> bytes:
    checksum = offset = 0
    while piece := await file.read(offset, PIECE):
        offset += len(piece)
        # A piece takes about a millisecond, which is too long a turn of the loop.
        checksum = await in_thread(crc32, piece, checksum)
    return b'"%d-%d"' % (offset, checksum) if offset else b""
