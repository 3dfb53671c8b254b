"""Certificates that are renewed on disk: new connections get the new one, those that are open keep theirs.

Files are looked at by `stat`, which follows links, and not by notifications of the kernel: certbot and
Kubernetes swap links, whose targets are elsewhere, and network file systems tell nobody of changes.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rr_py_ws import logs
from rr_py_ws.adapters.net.threads import in_thread
from rr_py_ws.errors import ConfigError

LOOK_EVERY = 1.0
"""Seconds between two looks at the files."""

log = logs.get_logger("app")

_Signature = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """The files of one TLS context.

    Attributes:
        key: of the section that names them.
        section: what the file says about the context; another section is another context.
        files: their paths.
        load: makes a context of them; called in a thread. Raises ConfigError when they cannot be used.
        take: has new connections use a context.
    """

    key: str
    section: object
    files: tuple[str, ...]
    load: Callable[[], ssl.SSLContext]
    take: Callable[[ssl.SSLContext], None]


class CertificateWatch:
    """Loads contexts again when their files have changed.

    Certificate and key are two files, and one is written before the other. A pair that does not fit keeps
    the old context; one line of the log says so, and it is tried at each look until it fits.

    Args:
        watched: contexts that were loaded.
        interval: seconds between two looks. What differs is loaded when it is the same at the next look.
        fresh: whether they were loaded just now. Those of a process that takes the place of another are as
            old as its parent; the first look loads them again.
        tells: whether the log is told; of several processes that watch the same files, one tells.
    """

    def __init__(
        self,
        watched: Iterable[TLSFiles],
        interval: float = LOOK_EVERY,
        *,
        fresh: bool = True,
        tells: bool = True,
    ) -> None:
        self._interval = interval
        self._watched = {one.key: _Watched(one, fresh=fresh, tells=tells) for one in watched}
        self._looking = asyncio.Lock()

    def replace(self, files: TLSFiles) -> None:
        """Have other files used for the context of a key; they are loaded by the next `look`."""
        watched = self._watched[files.key]
        if watched.files.section != files.section:
            watched.files = files
            watched.loaded = None

    async def run(self) -> None:
        """Look from time to time, until cancelled."""
        while self._watched:
            await asyncio.sleep(self._interval)
            await self.look(settled=True)

    async def look(self, *, settled: bool = False) -> None:
        """Load what has changed, now.

        Args:
            settled: only what has not changed since the look before; what is just being written can wait.
        """
        async with self._looking:
            for watched in self._watched.values():
                await watched.look(settled)


class _Watched:
    """A context, and the state of its files when they were loaded."""

    def __init__(self, files: TLSFiles, *, fresh: bool, tells: bool) -> None:
        self.files = files
        self.loaded: _Signature | None = _signature(files.files) if fresh else None
        self._tells = tells
        self._seen = self.loaded
        self._problem = ""

    async def look(self, settled: bool) -> None:
        files = self.files
        # Before they are read: what is written meanwhile is seen by the next look.
        seen = await in_thread(_signature, files.files)
        changing, self._seen = seen != self._seen, seen
        if seen == self.loaded or (settled and changing):
            return
        try:
            context = await in_thread(files.load)
        except ConfigError as error:
            if self._tells and str(error) != self._problem:
                log.error("certificate not loaded again, the old one counts", reason=str(error))
            self._problem = str(error)
            return
        if files is self.files:  # no others have come meanwhile
            self._problem, self.loaded = "", seen
            files.take(context)
            if self._tells:
                log.info("certificate loaded again, for new connections", key=files.key)


def _signature(files: Iterable[str]) -> _Signature:
    """Return what differs when a file was written or another one has its name."""
    found: list[tuple[int, ...]] = []
    for file in files:
        try:
            status = os.stat(file)  # noqa: PTH116  follows links
        except OSError as error:
            found.append((error.errno or 0,))
        else:
            found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)
