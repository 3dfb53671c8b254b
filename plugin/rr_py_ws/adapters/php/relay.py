"""How a worker reaches the server: `server.relay`, one of `pipes`, `tcp://host:port`, `unix://path`.

Pipes are the worker's stdin and stdout. With a socket the worker connects to the server's one listener, the
server speaks first, and the process id in the reply says which worker it is, which is checked (see `peers`).
Others who connect there, be they silent, noisy, gone or lying, are dropped; they hold up nobody.

A relay starts a process and returns the connection to it, which can be used after `handshake`; workers that
run keep their connections when the relay is closed. Its `address` is what goes into `RR_RELAY`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from rr_py_ws.adapters.net.acceptor import Acceptor
from rr_py_ws.adapters.net.deadline import timeout
from rr_py_ws.adapters.net.listen import bound_address, listen, remove_socket_file
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.adapters.php.connection import WorkerConnection
from rr_py_ws.adapters.php.output import OutputBudget
from rr_py_ws.adapters.php.peers import Peer, PeerUnknown, find_worker
from rr_py_ws.adapters.php.pipes import PipeReader, PipeWriter
from rr_py_ws.adapters.php.process import Process
from rr_py_ws.address import TCPAddress, UnixAddress, parse_dsn
from rr_py_ws.config import Server
from rr_py_ws.errors import ConfigError, WorkerDied, WorkerStartError
from rr_py_ws.logs import get_limited

log = get_limited("server")

_KEY = "server.relay"
_STRANGER = "a connection to server.relay is not one of our workers"
_MAX_HANDSHAKE = 1024
"""Bytes that whoever connects may send before the server knows who it is."""
_MOST_UNKNOWN = 64
"""Connections, at least, of which it may not be known yet who they are; then the oldest is dropped."""


class PipeRelay:
    """A pipe to each worker, and one back."""

    address = "pipes"

    def __init__(self, budget: OutputBudget) -> None:
        self._budget = budget

    async def open(self) -> None:
        """Do nothing: workers share nothing."""

    def start(
        self, command: Sequence[str], env: Mapping[str, str], user: str, max_answer: int
    ) -> tuple[Process, WorkerConnection]:
        """Start a worker with pipes for stdin and stdout.

        Raises:
            WorkerStartError: the program cannot be run; the text is the reason only.
        """
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
            process = Process.start(command, env, user, self._budget, stdin=their_stdin, stdout=their_stdout)
            ours.pop_all()  # they belong to what follows
        connection = WorkerConnection(max_answer)
        writer = PipeWriter(our_write_end, connection.expect_end)

        def on_end() -> None:
            writer.close()
            connection.end()

        reader = PipeReader(our_read_end, connection.data_received, on_end)
        connection.attach(writer.write, reader.close, reader.pause, reader.resume, lambda: writer.unsent)
        return process, connection

    async def handshake(self, connection: WorkerConnection) -> None:
        """Ask for the process id, which need not be the child's: there may be a shell script in between.

        Raises:
            WorkerDied: the worker went away, or answered something else.
        """
        await connection.handshake()

    async def close(self) -> None:
        """Do nothing: workers share nothing."""


class SocketRelay:
    """One listener that all workers connect to.

    Args:
        dsn: `tcp://host:port` (port 0: any free one) or `unix://path`.
        timeout: seconds that a new connection has for the handshake.
        user: account of the workers, which gets the socket file.
        budget: how much of what workers print is logged.

    Raises:
        ConfigError: the DSN cannot be read.
    """

    def __init__(self, dsn: str, timeout: float, user: str, budget: OutputBudget) -> None:
        self.address = dsn
        try:
            self._listen_at = parse_dsn(dsn)
        except ValueError as error:
            raise ConfigError(_KEY, str(error)) from None
        self._timeout = timeout
        self._user = user
        self._budget = budget
        self._acceptors: list[Acceptor] = []
        self._socket_file: os.stat_result | None = None
        self._expected: dict[int, WorkerConnection] = {}
        self._unknown: dict[WorkerConnection, asyncio.Task[None]] = {}
        self._handshakes = TaskSet("php")

    async def open(self) -> None:
        """Listen; `address` has the real port then.

        Raises:
            ConfigError: the address cannot be used.
        """
        # 0600: nobody else may pretend to be a worker, whose answers decide who gets in.
        sockets = await listen(self._listen_at, _KEY, mode=0o600, owner=self._user)
        if isinstance(self._listen_at, UnixAddress):
            self._socket_file = os.stat(self._listen_at.path)  # noqa: PTH116
        elif isinstance(bound := bound_address(sockets[0]), TCPAddress):
            self.address = TCPAddress(self._listen_at.host, bound.port).dsn
        self._acceptors = [Acceptor(listening, self._accept, channel="server") for listening in sockets]

    def start(
        self, command: Sequence[str], env: Mapping[str, str], user: str, max_answer: int
    ) -> tuple[Process, WorkerConnection]:
        """Start a worker without stdin, and expect it at the listener.

        Its stdout is logged like its stderr: PHP prints errors there, first of all those of its start.

        Raises:
            WorkerStartError: the program cannot be run; the text is the reason only.
        """
        process = Process.start(command, env, user, self._budget, stdin=subprocess.DEVNULL, stdout=None)
        # By process id: what connects says only this about itself.
        connection = self._expected[process.pid] = WorkerConnection(max_answer)
        connection.lost.add_done_callback(lambda _: self._expected.pop(process.pid, None))
        # Sooner than the connection is lost: another process may have the number from now on.
        process.exited.add_done_callback(lambda _: self._expected.pop(process.pid, None))
        return process, connection

    async def handshake(self, connection: WorkerConnection) -> None:
        """Wait until the worker has connected and said its process id.

        Raises:
            WorkerDied: it went away.
        """
        await asyncio.wait([connection.attached, connection.lost], return_when=asyncio.FIRST_COMPLETED)
        if connection.lost.done():
            raise WorkerDied(connection.problem)

    def _accept(self, accepted: socket.SocketType, _: str) -> WorkerConnection:
        connection = WorkerConnection(_MAX_HANDSHAKE)
        # Two for each that is expected: strangers must not take descriptors without end.
        if len(self._unknown) >= max(_MOST_UNKNOWN, 2 * len(self._expected)):
            self._drop(next(iter(self._unknown)))
        self._unknown[connection] = self._handshakes.spawn(self._identify(connection, accepted))
        return connection

    def _drop(self, unknown: WorkerConnection) -> None:
        """Close a connection now: it may be waited for a thread that looks it up, and many wait for those."""
        log.warning(_STRANGER, reason="others came, and it had not said who it is")
        self._unknown.pop(unknown).cancel()
        unknown.close()

    async def _identify(self, unknown: WorkerConnection, accepted: socket.SocketType) -> None:
        """Find out who connected, and let the connection that is expected take the socket over."""
        expected: WorkerConnection | None = None
        try:
            async with timeout(self._timeout):
                peer = Peer.of(accepted)
                said = await unknown.handshake()
                # In a thread: the table of all TCP connections of a busy machine is long.
                pid = await asyncio.to_thread(find_worker, peer, said, tuple(self._expected))
            # It may have been lost meanwhile, or the worker has connected twice.
            expected = None if unknown.lost.done() else self._expected.pop(pid, None)
            if expected is None:
                raise WorkerDied(f"no worker with the process id {said} is expected any more")
            # Nothing is lost: a worker says nothing behind its reply until it is asked.
            unknown.hand_over(expected)
        except TimeoutError:
            log.warning("a connection to server.relay said nothing", timeout=self._timeout)
        except PeerUnknown as error:
            log.error("cannot find out who connected to server.relay, use pipes or unix://", reason=error)
            if said in self._expected:  # it would be waited for in vain
                self._expected[said].lose(f"cannot be told from others at server.relay: {error}")
        except (WorkerDied, OSError) as error:
            reason = unknown.problem if unknown.lost.done() else error
            log.warning(_STRANGER, reason=reason)
        finally:
            self._unknown.pop(unknown, None)
            if expected is None:
                unknown.close()

    async def close(self) -> None:
        """Stop listening, and drop who has not said its process id."""
        if self._socket_file is not None:
            assert isinstance(self._listen_at, UnixAddress)
            remove_socket_file(self._listen_at.path, self._socket_file)
        for acceptor in self._acceptors:
            acceptor.close()
        # Each ends in `close`, which drops its socket.
        await self._handshakes.cancel()


class SharedRelay:
    """The one relay of `server.relay`, for all pools: it is open from the first to the last of them.

    Args:
        server: the `server` section.
        budget: how much of what workers print is logged.

    Raises:
        ConfigError: `server.relay` cannot be read.
    """

    def __init__(self, server: Server, budget: OutputBudget) -> None:
        self._relay: PipeRelay | SocketRelay
        if server.relay == "pipes":
            self._relay = PipeRelay(budget)
        else:
            self._relay = SocketRelay(server.relay, server.relay_timeout, server.user, budget)
        self._users = 0
        self.start = self._relay.start
        self.handshake = self._relay.handshake

    @property
    def address(self) -> str:
        """What goes into `RR_RELAY`."""
        return self._relay.address

    async def open(self) -> None:
        """Open it, unless it is open. Each call is followed by one of `close`, even if it fails.

        Raises:
            ConfigError: the address cannot be used.
        """
        self._users += 1
        if self._users == 1:
            await self._relay.open()

    async def close(self) -> None:
        """Close it, unless another pool uses it."""
        self._users -= 1
        if not self._users:
            await self._relay.close()
