"""The RPC listener."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rr_py_ws import logs
from rr_py_ws.adapters.net.listen import bound_address, describe_os_error
from rr_py_ws.adapters.rpc.connection import RPCConnection
from rr_py_ws.adapters.rpc.limits import RPCLimits
from rr_py_ws.adapters.rpc.partial_frames import Unfinished
from rr_py_ws.adapters.rpc.registry import Services
from rr_py_ws.address import TCPAddress, UnixAddress, parse_dsn
from rr_py_ws.errors import ConfigError

_BACKLOG = 1024
_KEEPALIVE = 15
"""Seconds without a sign of life after which the kernel asks a TCP peer for one, and from one question to the
next. Go does the same for RoadRunner; a peer whose machine is gone would otherwise stay for ever."""

_log = logs.get_logger("rpc")
_limited = logs.get_limited("rpc")


class RPCServer:
    """Listens on one address and serves any number of connections, once; there is no authentication.

    Args:
        services: the methods; several servers may share them.
        dsn: `tcp://host:port` (port 0: any free one) or `unix://path`. A stale socket file is replaced.
        key: the configuration key that the address comes from, for error texts.
        limits: of what its peers may do.
        mode: permissions of the socket file; None leaves them to the umask.

    Raises:
        ConfigError: the DSN is no address.
    """

    def __init__(
        self,
        services: Services,
        dsn: str,
        *,
        key: str = "rpc.listen",
        limits: RPCLimits | None = None,
        mode: int | None = None,
    ) -> None:
        try:
            self._address = parse_dsn(dsn)
        except ValueError as error:
            raise ConfigError(key, str(error)) from None
        self._services = services
        self._key = key
        self._limits = limits or RPCLimits()
        self._mode = mode
        self._inherited: list[TCPAddress | UnixAddress] = []
        self._unfinished = Unfinished(self._limits.unfinished, self._limits.frame_timeout, services.stats)
        self._connections: dict[RPCConnection, None] = {}
        self._held = False
        self._servers: list[asyncio.Server] = []
        self._stopping = False
        self._socket_file: os.stat_result | None = None

    @property
    def address(self) -> str:
        """The address in use, as a DSN; after `start` with the real port."""
        return self._address.dsn

    @property
    def addresses(self) -> list[str]:
        """All addresses in use: of inherited sockets there may be several."""
        return [address.dsn for address in self._inherited] or [self.address]

    async def start(self, inherited: Sequence[socket.socket] = ()) -> None:
        """Listen.

        Args:
            inherited: sockets that listen already; used instead of binding the address. The file of a unix
                socket among them stays where it is.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        try:
            if inherited:
                self._servers = [await self._listen_on(sock) for sock in inherited]
                self._inherited = [bound_address(sock) for sock in inherited]
                self._address = self._inherited[0]
            elif isinstance(self._address, UnixAddress):
                await self._listen_unix(self._address.path)
            else:
                await self._listen_tcp(self._address)
        except OSError as error:
            raise ConfigError(
                self._key, f"cannot listen on {self.address}: {describe_os_error(error)}"
            ) from error
        for server in self._servers:
            _keep_alive(server)
        for address in self.addresses:
            _log.info("rpc server was started", address=address, inherited=bool(inherited))

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
        for server in self._servers:
            server.close()
        self._remove_socket_file()
        for connection in tuple(self._connections):
            connection.end()
        late: set[asyncio.Future[object]] = set()
        if running := tuple(self._services.running):
            _, late = await asyncio.wait(running, timeout=grace)
            for future in late:
                future.cancel()
        stuck: tuple[RPCConnection, ...] = ()
        if closing := [connection.closed for connection in self._connections]:
            await asyncio.wait(closing, timeout=max(0.0, deadline - loop.time()))
            stuck = tuple(self._connections)
            for connection in stuck:
                connection.abort()
            await asyncio.wait(closing)
        self._unfinished.close()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()
        return len(late) or len(stuck)

    def _connection(self) -> RPCConnection:
        return RPCConnection(self._services, self._limits, self._unfinished, self._made, self._lost)

    def hold(self, held: bool) -> None:
        """Read nobody, because there is enough to write; or go on.

        Who was served last goes on last: a few that bring much at a time would else be the only ones.
        """
        self._held = held
        if held:
            for connection in self._connections:
                connection.hold(True)
            return
        for connection in [connection for connection in self._connections if connection.served]:
            connection.served = False
            self._connections[connection] = self._connections.pop(connection)
        self._go_on(list(self._connections))

    def _go_on(self, connections: list[RPCConnection]) -> None:
        """Go on with these in their order, whether what they have sent is here or still in their sockets."""
        reading = False
        for number, connection in enumerate(connections):
            if self._held:  # the first ones have filled the next turn
                return
            if reading and connection.has_more:
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, self._go_on, connections[number:])  # sockets are read before
                return
            reading |= not connection.has_more
            connection.hold(False)

    def _lost(self, connection: RPCConnection) -> None:
        del self._connections[connection]

    def _made(self, connection: RPCConnection) -> None:
        self._connections[connection] = None
        if self._stopping:  # it was accepted just before
            connection.end()
        elif len(self._connections) > self._limits.connections:
            self._services.stats.refused += 1
            _limited.warning(
                "rpc connection refused, see websockets.limits.max_rpc_connections",
                connections=self._limits.connections,
            )
            connection.abort()
        elif self._held:
            connection.hold(True)

    async def _listen_tcp(self, address: TCPAddress) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            self._connection, address.host or "0.0.0.0", address.port, backlog=_BACKLOG
        )
        self._servers.append(server)
        port = server.sockets[0].getsockname()[1]
        self._address = TCPAddress(address.host, port)

    async def _listen_unix(self, path: str) -> None:
        _remove_stale(Path(path))
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(path)
            self._socket_file = os.stat(path)  # noqa: PTH116
            if self._mode is not None:
                os.chmod(path, self._mode)  # noqa: PTH101  # nobody can connect before `listen`
            self._servers.append(await self._listen_on(listener))
        except BaseException:
            listener.close()
            raise

    async def _listen_on(self, sock: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        # asyncio's create_unix_server would remove the file in the end (from Python 3.13 on), and its
        # create_server takes any stream socket. uvloop's leaves the file, but takes each kind in its place.
        if sock.family is socket.AF_UNIX and not isinstance(loop, asyncio.BaseEventLoop):
            return await loop.create_unix_server(self._connection, sock=sock, backlog=_BACKLOG)
        return await loop.create_server(self._connection, sock=sock, backlog=_BACKLOG)

    def _remove_socket_file(self) -> None:
        """Remove the socket file, unless another server has put its own there meanwhile."""
        if self._socket_file is None or not isinstance(self._address, UnixAddress):
            return
        path = Path(self._address.path)
        with suppress(OSError):
            if os.path.samestat(path.stat(), self._socket_file):
                path.unlink()
        self._socket_file = None


def _keep_alive(server: asyncio.Server) -> None:
    """Have the kernel find out who has vanished; what is accepted has the options of the listening socket."""
    for sock in server.sockets:
        if sock.family is not socket.AF_UNIX:
            with socket.socket(fileno=os.dup(sock.fileno())) as listening:  # uvloop's has no setsockopt
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE)
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE)


def _remove_stale(path: Path) -> None:
    """Remove a socket file that somebody left there.

    Raises:
        OSError: it cannot be removed, or is another kind of file.
    """
    if path.exists():
        if not path.is_socket():
            raise OSError("the file exists and is no socket")
        path.unlink()
