"""The server's ends of a child's pipes.

asyncio's pipe transports are made and closed in several turns of the loop. These are there at once and gone
at once: nothing is half done when a task that starts a process is cancelled.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import termios
from array import array
from collections import deque
from collections.abc import Callable

_CHUNK = 64 * 1024


class PipeReader:
    """Hands on what arrives.

    Args:
        fd: the reading end, which belongs to this object from now on.
        on_data: gets the bytes.
        on_end: called once, when the other end is closed or `close` was called.
        how_much: returns how many bytes, at most, are read in a turn of the loop; None: always as many.
    """

    def __init__(
        self,
        fd: int,
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
        how_much: Callable[[], int] | None = None,
    ) -> None:
        self._fd = fd
        self._unread = array("i", [0])
        self._how_much = how_much
        self._on_data = on_data
        self._on_end = on_end
        os.set_blocking(fd, False)
        self.resume()

    def pause(self) -> None:
        """Read nothing for now; the pipe fills up, and who writes has to wait."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)

    def resume(self) -> None:
        """Read on."""
        if self._fd >= 0:
            asyncio.get_running_loop().add_reader(self._fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _CHUNK if self._how_much is None else self._how_much())
        except BlockingIOError:
            return
        # EIO and the like: nothing more will come, which is what an end is.
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self.close()

    @property
    def unread(self) -> int:
        """Bytes that are in the pipe now."""
        if self._fd < 0:
            return 0
        fcntl.ioctl(self._fd, termios.FIONREAD, self._unread)
        return self._unread[0]

    def close(self) -> None:
        """Read no more."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            on_end = self._on_end
            # The callbacks lead back to whom this belongs to: without them no cycle has to be collected.
            del self._on_data, self._on_end, self._how_much
            on_end()


class PipeWriter:
    """Writes as much as the pipe takes, and the rest when it takes more.

    Each piece begins with a call of its own. The kernel takes a piece of up to PIPE_BUF bytes whole or not at
    all (pipe(7)), so a reader finds the beginning of each piece undivided.

    Args:
        fd: the writing end, which belongs to this object from now on.
        on_broken: called once, when the other end is closed.

    Attributes:
        unsent: bytes that the pipe has not taken.
    """

    def __init__(self, fd: int, on_broken: Callable[[], None]) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._waiting: deque[bytes | memoryview] = deque()
        self.unsent = 0
        os.set_blocking(fd, False)
        # Nothing can be read here, but the loop tells of the other end's closing in this way.
        asyncio.get_running_loop().add_reader(fd, self._break)

    def write(self, data: bytes | memoryview) -> None:
        """Write, now or later; nothing when the pipe is closed."""
        if self._fd < 0:
            return
        if not self._waiting:  # nearly always all of it is taken at once
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                written = 0
            except OSError:
                self._break()
                return
            if written == len(data):
                return
            data = memoryview(data)[written:]
        self._waiting.append(data)
        self.unsent += len(data)
        # With more than one the writer is registered already.
        if len(self._waiting) == 1:
            asyncio.get_running_loop().add_writer(self._fd, self._resume)

    def _flush(self) -> bool:
        """Write what waits; returns whether nothing is left to wait for."""
        try:
            # Piece by piece, never joined: each must begin with a call of its own.
            while self._waiting:
                data = self._waiting[0]
                written = os.write(self._fd, data)
                self.unsent -= written
                if written < len(data):
                    self._waiting[0] = memoryview(data)[written:]
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            return False
        except OSError:
            self._break()
        return True

    def _resume(self) -> None:
        if self._flush() and self._fd >= 0:
            asyncio.get_running_loop().remove_writer(self._fd)

    def _break(self) -> None:
        on_broken = self._on_broken
        self.close()
        on_broken()

    def close(self) -> None:
        """Write no more; what the pipe has not taken is dropped."""
        if self._fd >= 0:
            loop = asyncio.get_running_loop()
            # Before the close: the number may belong to another file right after it.
            loop.remove_reader(self._fd)
            loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._waiting.clear()
            del self._on_broken  # as in the reader
