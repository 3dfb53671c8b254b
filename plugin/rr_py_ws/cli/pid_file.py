"""The `.pid` file that `serve -p` keeps: which process serves in this directory.

A number in a file is no proof: its process may have crashed, and another one may have the number by now. So
the server holds a lock on the file as long as it runs (fcntl(2), F_SETLK), which no crash leaves behind, and
`stop` asks the kernel whose lock that is (F_GETLK). A process gives such a lock back with the first
descriptor of the file that it closes, so the server must not open the file a second time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rr_py_ws.errors import ConfigError, RRWSError

PID_FILE = Path(".pid")
_MAX_SIZE = 64
_LOCK = struct.Struct("hhqqi")
"""`struct flock`: type, whence, start, length (0: all), process id."""


@contextmanager
def pid_file() -> Iterator[None]:
    """Keep this process's id in `.pid` of the working directory while the block runs.

    Raises:
        ConfigError: a running server keeps the file, what is in it is no process id, or it cannot be written.
            Then it is as it was.
    """
    try:
        descriptor, before = _lock_file()
        try:
            _write(descriptor, str(os.getpid()).encode())
        except BaseException:
            _undo(descriptor, before)
            raise
    except OSError as error:
        raise ConfigError("--pid", f"cannot write {PID_FILE.absolute()}: {error.strerror}") from error
    try:
        yield
    finally:
        # Before the lock is given back. Somebody may have put another file there by hand; a link stays.
        if _is_there(descriptor):
            PID_FILE.resolve().unlink(missing_ok=True)
        os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    """Replace what is in the file. What is there is overwritten first: a disk that is full takes that."""
    if os.pwrite(descriptor, content, 0) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(descriptor, len(content))


def _undo(descriptor: int, before: bytes) -> None:
    """Leave the file as it was, as far as the disk allows, and close it; an empty one is removed."""
    with suppress(OSError):
        if before:
            _write(descriptor, before)
        else:
            PID_FILE.resolve().unlink()
    os.close(descriptor)


def _lock_file() -> tuple[int, bytes]:
    """Open and lock the file, and make it when there is none; returns its descriptor, and what is in it."""
    while True:
        descriptor = os.open(PID_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_there(descriptor):  # otherwise its server has removed it since it was opened here
                content = os.pread(descriptor, _MAX_SIZE + 1, 0)
                if content.strip() and not (content.strip().isdigit() and len(content) <= _MAX_SIZE):
                    raise ConfigError("--pid", f"{PID_FILE.absolute()} does not hold a process id; remove it")
                return descriptor, content
        except BlockingIOError:
            server = _holder(descriptor)
            os.close(descriptor)
            file = PID_FILE.absolute()
            if server:
                raise ConfigError(
                    "--pid", f"the server with the process id {server} keeps {file}; stop it first"
                ) from None
            raise ConfigError(
                "--pid", f"a process that is no server keeps {file} locked; remove the file"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_there(descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), PID_FILE.stat())
    except OSError:
        return False


def _holder(descriptor: int) -> int:
    """Return the server that has locked a file; 0 for none, or one that cannot be seen from here.

    Whoever may read the file can lock it for reading, which makes nobody a server.
    """
    asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, *_, pid = _LOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return max(0, pid) if kind == fcntl.F_WRLCK else 0


class RunningServer:
    """The server that keeps `.pid` in the working directory; use it as a context manager.

    Attributes:
        pid: its process id.

    Raises:
        RRWSError: there is none, or it cannot be told which process it is.
    """

    def __init__(self) -> None:
        try:
            # A pipe would be waited for.
            file = os.fdopen(os.open(PID_FILE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        except FileNotFoundError:
            raise RRWSError(
                "open .pid: no such file or directory, to create a .pid file, you must run RR with the"
                " following options: 'rr-py-ws serve -p'"
            ) from None
        except OSError as error:
            raise RRWSError(f"cannot read {PID_FILE.absolute()}: {error.strerror}") from error
        with file:
            self.pid = _holder(file.fileno())
            try:
                # From now on the number means this process, also when it ends.
                self._pidfd = os.pidfd_open(self.pid) if self.pid else -1
            except OSError:
                self._pidfd = -1
            if self._pidfd < 0 or _holder(file.fileno()) != self.pid:
                self.close()
                raise RRWSError(_not_running(file.read(_MAX_SIZE).strip()))

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def terminate(self) -> None:
        """Send SIGTERM; nothing when it has ended.

        Raises:
            RRWSError: it belongs to another user.
        """
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise RRWSError(f"process {self.pid} belongs to another user") from None

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end; returns whether it came."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        """Look at it no more."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _not_running(content: bytes) -> str:
    if not content.isdigit() or not 0 < int(content) < 2**31:
        shown = content.decode("ascii", "backslashreplace")
        return f"{PID_FILE.absolute()} does not hold a process id: {shown}"
    return (
        f"no running server keeps {PID_FILE.absolute()}, it is left from a crash or from another program;"
        f" nothing was sent to process {int(content)}, which may be anybody's"
    )
