"""The accepting of connections from one listening socket.

Event loops have servers of their own. This one is there because theirs do not tell of a connection before its
TLS handshake is done, so that nobody could count it, and because of what they do when `accept` fails: uvloop
closes the listening socket without a word, or (file descriptors used up) all connections that wait in its
queue; asyncio tries again thousands of times in a row.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.net.listen import BACKLOG, bound_address
from rr_py_ws.address import Address

_AT_ONCE = 16
"""Connections that are accepted before everybody else gets a turn."""
_PAUSE = 0.5
"""Seconds in which nothing is accepted when the system has run out of something."""
_RUN_OUT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

Accept = Callable[[socket.socket, str], asyncio.Protocol | None]
"""Takes an accepted socket and the peer's IP address (empty for a unix socket); returns the protocol of the
connection, or None to have the socket closed at once."""


class Acceptor:
    """Accepts the connections of one listening socket until it is closed.

    Args:
        listening: the socket; it belongs to this object from now on.
        accept: see `Accept`. Of a connection whose TLS handshake fails, its `connection_lost` is called and
            `connection_made` never.
        tls: how connections are secured; None for not at all.
        tls_timeout: seconds for a TLS handshake.
        tls_shutdown_timeout: seconds for the closing handshake of TLS.
        channel: the log's channel for failures.
        on_failure: called each time that the system cannot give a connection.
    """

    def __init__(
        self,
        listening: socket.socket,
        accept: Accept,
        *,
        tls: ssl.SSLContext | None = None,
        tls_timeout: float = 10.0,
        tls_shutdown_timeout: float = 10.0,
        channel: str = "app",
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = listening
        self._accept_one = accept
        self._log = logs.get_limited(channel)
        self._on_failure = on_failure
        self._options: dict[str, Any] = {}
        if tls is not None:
            self._options = {
                "ssl": tls,
                "ssl_handshake_timeout": tls_timeout,
                "ssl_shutdown_timeout": tls_shutdown_timeout,
            }
        self._connecting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        listening.setblocking(False)
        listening.listen(BACKLOG)  # an inherited socket may have a shorter queue
        self._resume()

    @property
    def address(self) -> Address:
        """Where it listens."""
        return bound_address(self._socket)

    def close(self) -> None:
        """Accept nothing any more; connections that are there stay. Safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _resume(self) -> None:
        self._timer = None
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, peer = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _RUN_OUT:
                    self._pause(error)
                    return
                continue  # what has become of that connection (accept(2)) says nothing about the next
            connection.setblocking(False)
            protocol = self._accept_one(connection, _ip_address(peer))
            if protocol is None:
                connection.close()
                continue
            task = self._loop.create_task(self._connect(connection, protocol))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _pause(self, error: OSError) -> None:
        """Leave those who wait in the queue of the socket there for a while."""
        if self._on_failure is not None:
            self._on_failure()
        self._log.error(
            "cannot accept connections, trying again",
            address=str(self.address),
            error=os.strerror(error.errno or 0),
        )
        self._loop.remove_reader(self._socket)
        self._timer = self._loop.call_later(_PAUSE, self._resume)

    async def _connect(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        """Make the transport; the rest is the protocol's."""
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connection, **self._options)
        except Exception as error:  # of the TLS handshake: whatever a peer can bring OpenSSL to say
            protocol.connection_lost(error)
            connection.close()


def _ip_address(peer: Any) -> str:
    """The IP address; of an IPv4 client the IPv4 one, also on a socket for both families."""
    if not isinstance(peer, tuple):
        return ""
    address = str(peer[0])
    return address.removeprefix("::ffff:") if "." in address else address
