"""How a worker reaches the server: `server.relay`, one of `pipes`, `tcp://host:port`, `unix://path`.

Pipes are the worker's stdin and stdout. With a socket the worker connects to the server's one listener, the
server speaks first, and the process id in the reply says which worker it is. Strangers on that listener,
silent, noisy or gone, are dropped; they hold up nobody.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol, cast

from rr_py_ws.adapters.php.link import Link
from rr_py_ws.adapters.php.pipes import PipeReader, PipeWriter
from rr_py_ws.adapters.php.process import Command, Process
from rr_py_ws.errors import WorkerDied, WorkerStartError
from rr_py_ws.logs import get_limited

log = get_limited("server")

_MAX_INTRODUCTION = 1024
"""Bytes that a stranger may send before it is known."""


class Relay(Protocol):
    """Starts processes and gives links to them.

    Attributes:
        address: where workers find it, for `RR_RELAY`; after `open` with the real port.
    """

    address: str

    async def open(self) -> None:
        """Begin.

        Raises:
            WorkerStartError: the address of `server.relay` cannot be used.
        """

    def start(self, command: Command) -> tuple[Process, Link]:
        """Start a worker. Its link can be used after `greet`.

        Raises:
            WorkerStartError: the program cannot be run; the text is the reason only.
        """

    async def greet(self, link: Link) -> None:
        """Do the handshake.

        Raises:
            WorkerDied: it failed.
        """

    async def close(self) -> None:
        """End; workers that run keep their links."""


class Pipes:
    """A pipe to each worker, and one back."""

    address = "pipes"

    async def open(self) -> None:
        """Nothing is shared."""

    def start(self, command: Command) -> tuple[Process, Link]:
        """Start a worker with pipes for stdin and stdout."""
        with ExitStack() as theirs, ExitStack() as ours:
            try:
                their_stdin, our_write_end = os.pipe()
                theirs.callback(os.close, their_stdin)
                ours.callback(os.close, our_write_end)
                our_read_end, their_stdout = os.pipe()
                theirs.callback(os.close, their_stdout)
                ours.callback(os.close, our_read_end)
            except OSError as error:
                raise WorkerStartError(f"cannot make a pipe: {error.strerror}") from error
            process = Process.start(command, stdin=their_stdin, stdout=their_stdout)
            ours.pop_all()  # they belong to what follows
        link = Link()
        writer = PipeWriter(our_write_end, link.expect_eof)

        def on_eof() -> None:
            writer.close()
            link.receive_eof()

        reader = PipeReader(our_read_end, link.receive_data, on_eof)
        link.connect(writer.write, reader.close)
        return process, link

    async def greet(self, link: Link) -> None:
        """Ask for the process id, which need not be the child's: there may be a shell script in between."""
        await link.introduce()

    async def close(self) -> None:
        """Nothing is shared."""


class Sockets:
    """One listener that all workers connect to.

    Args:
        dsn: `tcp://host:port` (port 0: any free one) or `unix://path`.
        timeout: seconds that a new connection has to introduce itself.
        user: account of the workers, which gets the socket file.
    """

    def __init__(self, dsn: str, timeout: float, user: str) -> None:
        self.address = dsn
        self._timeout = timeout
        self._user = user
        self._server: asyncio.Server | None = None
        self._socket_file: Path | None = None
        self._expected: dict[int, _Expected] = {}
        self._newcomers: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        try:
            listener = self._listen()
        except (OSError, KeyError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise WorkerStartError(f"server.relay: cannot listen on {self.address!r}: {reason}") from error
        create = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        self._server = await create(lambda: _Peer(self._meet), sock=listener)

    def _listen(self) -> socket.socket:
        scheme, _, address = self.address.partition("://")
        if scheme == "unix":
            self._socket_file = Path(address)
            return _listen_unix(self._socket_file, self._user)
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, int(port)), family=family)
        self.address = f"{self.address.removesuffix(port)}{listener.getsockname()[1]}"
        return listener

    def start(self, command: Command) -> tuple[Process, Link]:
        """Start a worker without stdin and stdout, and expect it at the listener."""
        process = Process.start(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        link = self._expected[process.pid] = _Expected()
        link.lost.add_done_callback(lambda _: self._expected.pop(process.pid, None))
        return process, link

    async def greet(self, link: Link) -> None:
        """Wait until the worker has connected and introduced itself."""
        assert isinstance(link, _Expected)
        await asyncio.wait([link.arrived, link.lost], return_when=asyncio.FIRST_COMPLETED)
        if link.lost.done():
            raise WorkerDied(link.problem)

    def _meet(self, peer: _Peer) -> None:
        task = asyncio.get_running_loop().create_task(self._introduce(peer))
        self._newcomers.add(task)
        task.add_done_callback(self._newcomers.discard)

    async def _introduce(self, peer: _Peer) -> None:
        """Find out who connected, and hand the connection over."""
        newcomer = peer.link
        try:
            async with asyncio.timeout(self._timeout):
                pid = await newcomer.introduce()
            if newcomer.lost.done() or pid not in self._expected:
                raise WorkerDied(f"no worker with the process id {pid} is expected")
            self._expected.pop(pid).take_over(peer)
        except TimeoutError:
            log.warning("a connection to server.relay said nothing", timeout=self._timeout)
        except WorkerDied as error:
            reason = newcomer.problem if newcomer.lost.done() else error
            log.warning("a connection to server.relay is no worker of ours", reason=reason)
        finally:
            if peer.link is newcomer:
                newcomer.close()

    async def close(self) -> None:
        """Stop listening, drop who has not introduced itself."""
        if self._server is None:
            return
        self._server.close()
        for task in self._newcomers:
            task.cancel()
        await asyncio.gather(*self._newcomers, return_exceptions=True)
        if self._socket_file is not None:
            _remove(self._socket_file)


class _Peer(asyncio.Protocol):
    """A connection at the listener; what arrives goes to its link."""

    def __init__(self, on_connect: Callable[[_Peer], None]) -> None:
        self._on_connect = on_connect
        self.link = Link(_MAX_INTRODUCTION)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.use(self.link)
        self._on_connect(self)

    def use(self, link: Link) -> None:
        """Give the connection to this link."""
        self.link = link
        link.connect(self._transport.write, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        self.link.receive_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.link.receive_eof()


class _Expected(Link):
    """The link of a worker that has not connected yet."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take_over(self, peer: _Peer) -> None:
        """Take the connection of the worker, which introduced itself."""
        peer.use(self)
        self.arrived.set_result(None)


def _listen_unix(path: Path, user: str) -> socket.socket:
    """Listen on a socket file that only the workers' account may use; one left over is replaced."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as probe, suppress(ConnectionRefusedError, FileNotFoundError):
                probe.connect(str(path))
                raise ValueError("another process listens there")
            path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        if user:
            account = pwd.getpwnam(user)
            os.chown(path, account.pw_uid, account.pw_gid)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def make_relay(dsn: str, timeout: float, user: str) -> Relay:
    """Make what `server.relay` asks for."""
    return Pipes() if dsn == "pipes" else Sockets(dsn, timeout, user)
