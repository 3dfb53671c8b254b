"""The server's ends of a child's pipes.

Unlike asyncio's pipe transports they are there at once and gone at once: nothing is half done when a task
that starts a process is cancelled.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_CHUNK = 64 * 1024


class PipeReader:
    """Hands on what arrives.

    Args:
        fd: the reading end, which belongs to this object from now on.
        on_data: gets the bytes.
        on_end: called once, when the other end is closed or `close` was called.
    """

    def __init__(self, fd: int, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._fd = fd
        self._on_data = on_data
        self._on_end = on_end
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self.close()

    def close(self) -> None:
        """Read no more."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._on_end()


class PipeWriter:
    """Writes as much as the pipe takes, and the rest when it takes more.

    What is written at once is passed to the pipe with one call, so that a reader finds the beginning whole.

    Args:
        fd: the writing end, which belongs to this object from now on.
        on_broken: called once, when the other end is closed.
    """

    def __init__(self, fd: int, on_broken: Callable[[], None]) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._rest = b""
        os.set_blocking(fd, False)
        # Nothing can be read here, but the loop tells of the other end's closing in this way.
        asyncio.get_running_loop().add_reader(fd, self._break)

    def write(self, data: bytes) -> None:
        """Write, now or later; nothing when the pipe is closed."""
        if self._fd < 0:
            return
        waiting = bool(self._rest)
        self._rest += data
        if not waiting:
            self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            pass
        except OSError:
            self._break()
            return
        if self._rest:
            loop.add_writer(self._fd, self._flush)
        else:
            loop.remove_writer(self._fd)

    def _break(self) -> None:
        self.close()
        self._on_broken()

    def close(self) -> None:
        """Write no more; what the pipe has not taken is dropped."""
        if self._fd >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._fd)
            loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._rest = b""
