"""The RPC listener."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from operator import attrgetter

from rr_py_ws import logs
from rr_py_ws.adapters.net.acceptor import Acceptor
from rr_py_ws.adapters.net.listen import listen, remove_socket_file
from rr_py_ws.adapters.rpc.connection import RPCConnection
from rr_py_ws.adapters.rpc.partial_frames import PartialFrames, Pause
from rr_py_ws.adapters.rpc.registry import Registry
from rr_py_ws.adapters.rpc.unread import UnreadReplies
from rr_py_ws.address import TCPAddress, UnixAddress, parse_dsn
from rr_py_ws.config import Limits
from rr_py_ws.errors import ConfigError
from rr_py_ws.metrics import Sample, gauge

_KEEPALIVE = 15
"""Seconds without a sign of life after which the kernel asks a TCP peer for one, and from one question to the
next. Go does the same for RoadRunner; a peer whose machine is gone would otherwise stay for ever."""

_log = logs.get_logger("rpc")
_limited = logs.get_limited("rpc")


class RPCListener:
    """Listens on one address and serves any number of connections, once; there is no authentication.

    Args:
        registry: the methods; several listeners may share them.
        dsn: `tcp://host:port` (port 0: any free one) or `unix://path`. A stale socket file is replaced.
        key: the configuration key that the address comes from, for error texts.
        limits: of what its peers may do: `max_rpc_connections`, `max_rpc_calls` and those named `rpc_*`.
        mode: permissions of the socket file; None leaves them to the umask.

    Raises:
        ConfigError: the DSN is not an address.
    """

    def __init__(
        self,
        registry: Registry,
        dsn: str,
        *,
        key: str = "rpc.listen",
        limits: Limits,
        mode: int | None = None,
    ) -> None:
        try:
            self._addresses = [parse_dsn(dsn)]
        except ValueError as error:
            raise ConfigError(key, str(error)) from None
        self._registry = registry
        self._key = key
        self._limits = limits
        self._mode = mode
        self._partial_frames = PartialFrames(limits.rpc_memory, limits.rpc_frame_timeout, registry.counters)
        self._unread = UnreadReplies(limits.rpc_memory, registry.counters)
        self._connections: dict[RPCConnection, None] = {}
        self._acceptors: list[Acceptor] = []
        self._socket_file: tuple[str, os.stat_result] | None = None
        self._paused = False
        self._stopping = False

    def reload(self, limits: Limits) -> None:
        """Go by other limits; those of one connection are for connections from now on."""
        self._limits = limits
        self._partial_frames.reload(limits.rpc_memory, limits.rpc_frame_timeout)
        self._unread.limit = limits.rpc_memory

    @property
    def address(self) -> str:
        """The address in use, as a DSN; after `start` with the real port."""
        return self._addresses[0].dsn

    @property
    def addresses(self) -> list[str]:
        """All addresses in use: of inherited sockets there may be several."""
        return [address.dsn for address in self._addresses]

    def metrics(self) -> Iterator[Sample]:
        """Yield what its connections hold; the registry yields the rest."""
        unsent = sum(connection.unsent for connection in self._connections)
        yield gauge("rpc_unsent_bytes", "Bytes of replies that RPC peers have not taken.", unsent)

    async def start(self, inherited: Sequence[socket.socket] = ()) -> None:
        """Listen.

        Args:
            inherited: sockets that listen already; used instead of binding the address. The file of a unix
                socket among them stays where it is.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        [address] = self._addresses
        # systemd's sockets may be several, on other addresses than the configured one.
        sockets = list(inherited) or await listen(address, self._key, mode=self._mode)
        if not inherited and isinstance(address, UnixAddress):
            self._socket_file = address.path, os.stat(address.path)  # noqa: PTH116
        for listening in sockets:
            if listening.family is not socket.AF_UNIX:
                # What is accepted has the options of the listening socket.
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE)
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE)
            self._acceptors.append(
                Acceptor(listening, self._accept, channel="rpc", on_failure=self._count_failure)
            )
        bound = [acceptor.address for acceptor in self._acceptors]
        if inherited:
            self._addresses = bound
        elif isinstance(address, TCPAddress) and isinstance(bound[0], TCPAddress):
            self._addresses = [TCPAddress(address.host, bound[0].port)]  # the host as it is configured
        for dsn in self.addresses:
            _log.info("rpc server was started", address=dsn, inherited=bool(inherited))

    async def stop(self, grace: float) -> int:
        """Stop listening, let begun calls finish, close every connection. Safe without `start`.

        Args:
            grace: seconds that calls and unwritten replies get; what is left then is cancelled.

        Returns:
            How many calls, or else connections, did not end in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        self._stopping = True
        if self._socket_file is not None:
            # At once, so that nobody finds it there and is refused, and only ours: a new process may have
            # put its own in its place.
            remove_socket_file(*self._socket_file)
            self._socket_file = None
        for acceptor in self._acceptors:
            acceptor.close()
        for connection in tuple(self._connections):
            connection.end()
        # Not once: a call that was held begins again, and what has begun may begin something else.
        while (running := tuple(self._registry.running)) and (left := deadline - loop.time()) > 0:
            await asyncio.wait(running, timeout=left)
        late = tuple(self._registry.running)
        for future in late:
            future.cancel()
        stuck: tuple[RPCConnection, ...] = ()
        # A peer that does not take its replies would keep its connection open for ever.
        if closing := [connection.closed for connection in self._connections]:
            await asyncio.wait(closing, timeout=max(0.0, deadline - loop.time()))
            stuck = tuple(self._connections)
            for connection in stuck:
                connection.abort()
            await asyncio.wait(closing)
        self._partial_frames.close()
        return len(late) or len(stuck)

    def pause(self, paused: bool) -> None:
        """Read no connection, because there is enough to write; or read them again.

        Those that have used least are the first to be read again: a few that bring much at a time would
        otherwise be the only ones.
        """
        self._paused = paused
        self._registry.turns.pause(paused)
        if paused:
            for connection in self._connections:
                connection.pause(Pause.BACKPRESSURE, True)
            return
        self._resume(sorted(self._connections, key=attrgetter("used")))

    def _resume(self, connections: list[RPCConnection]) -> None:
        """Go on with these in their order, whether what they have sent is here or still in their sockets."""
        reading = False
        for number, connection in enumerate(connections):
            if self._paused:  # the first ones have filled the next turn
                return
            if reading and connection.has_more:
                # Those before it have to be read from their sockets first. The loop looks at these after the
                # calls of this turn, so it is two turns until it can go on with what is here.
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, self._resume, connections[number:])
                return
            reading |= not connection.has_more
            connection.pause(Pause.BACKPRESSURE, False)

    def _accept(self, _connection: socket.SocketType, _peer: str) -> RPCConnection:
        return RPCConnection(
            self._registry, self._limits, self._partial_frames, self._unread, self._made, self._lost
        )

    def _count_failure(self) -> None:
        self._registry.counters.accept_failures += 1

    def _made(self, connection: RPCConnection) -> None:
        self._connections[connection] = None
        self._registry.counters.connections += 1
        if self._stopping:  # it was accepted just before
            connection.end()
        elif len(self._connections) > self._limits.max_rpc_connections:
            self._registry.counters.refused += 1
            # Closed without an answer: an RPC frame always answers a call.
            _limited.warning(
                "rpc connection refused, see websockets.limits.max_rpc_connections",
                connections=self._limits.max_rpc_connections,
            )
            connection.abort()
        elif self._paused:
            connection.pause(Pause.BACKPRESSURE, True)

    def _lost(self, connection: RPCConnection) -> None:
        if connection in self._connections:  # not when the loop could not even make a transport
            del self._connections[connection]
            self._registry.counters.connections -= 1
