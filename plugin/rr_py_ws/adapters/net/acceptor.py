"""Accepts the connections of one listening socket.

The event loops have servers of their own, which do not do: they do not tell of a connection before its TLS
handshake is done, so that nobody could count it. And when `accept` fails because file descriptors are used
up, uvloop closes the listening socket without a word, or all connections that wait in its queue, and asyncio
tries again thousands of times in a row.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.net.client_hello import ClientHellos
from rr_py_ws.adapters.net.listen import BACKLOG, bound_address
from rr_py_ws.adapters.net.polled import PolledTransport
from rr_py_ws.adapters.net.poller import Poller
from rr_py_ws.address import Address, format_peer

_BATCH = 16
"""Connections that are accepted in one turn of the event loop; whatever else goes on has its turn then."""
_PAUSE = 0.5
"""Seconds in which nothing is accepted when the system has run out of descriptors or memory."""
_NO_TIMEOUT = 24 * 3600.0
"""Seconds; the event loops insist on a timeout for TLS handshakes, without a second look (see `deadline`)."""
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

Accept = Callable[[socket.SocketType, str], asyncio.Protocol | None]
"""Takes an accepted socket and the peer's IP address (empty for a unix socket); returns the protocol of the
connection, or None to have the socket closed at once."""


class Acceptor:
    """Accepts the connections of one listening socket until it is closed.

    Args:
        listening: the socket; it belongs to this object from now on.
        accept: see `Accept`. When the TLS handshake of a connection fails, `connection_lost` of its protocol
            is called, and `connection_made` never. How long it may take is up to whoever accepts.
        tls: how connections are secured; None for not at all.
        tls_shutdown_timeout: seconds for the closing handshake of TLS.
        channel: the log's channel for failures.
        on_failure: called each time that the system has run out of descriptors or memory.
        polled: make transports for many idle connections, see the module `polled`; not with TLS.
    """

    def __init__(
        self,
        listening: socket.socket,
        accept: Accept,
        *,
        tls: ssl.SSLContext | None = None,
        tls_shutdown_timeout: float = 10.0,
        channel: str = "app",
        on_failure: Callable[[], None] | None = None,
        polled: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = listening
        self._accept_one = accept
        self._log = logs.get_limited(channel)
        self._on_failure = on_failure
        self._options: dict[str, Any] = {}
        if tls is not None:
            self._options = {
                "ssl_handshake_timeout": _NO_TIMEOUT,
                "ssl_shutdown_timeout": tls_shutdown_timeout,
            }
            self.use(tls)
        self._hellos = ClientHellos(self._begin) if tls is not None else None
        self._poller = Poller() if polled else None
        # The base class of `socket.socket` can do all that our transports need.
        made = socket.SocketType if polled else socket.socket
        kind = (listening.family, listening.type, listening.proto)
        self._make_socket: Callable[[int], Any] = partial(made, *kind)
        self._is_ipv4 = listening.family == socket.AF_INET
        self._connecting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        listening.setblocking(False)
        listening.listen(BACKLOG)  # an inherited socket may have a shorter queue
        self._resume()

    @property
    def address(self) -> Address:
        """Where the socket listens."""
        return bound_address(self._socket)

    def use(self, tls: ssl.SSLContext) -> None:
        """Secure connections from now on by another context; only an acceptor with TLS."""
        self._options["ssl"] = tls

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
        for _ in range(_BATCH):
            try:
                # `accept` looks up what is known here, and makes enums of it: a quarter of what it takes.
                descriptor, peer = self._socket._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    return
                # Linux passes on network errors of the connection itself (accept(2)); the next may be fine.
                continue
            connection = self._make_socket(descriptor)
            connection.setblocking(False)
            address = peer[0] if self._is_ipv4 else _ip_address(peer)
            protocol = self._accept_one(connection, address)
            if protocol is None:
                connection.close()
                continue
            if self._poller is not None:
                # The usual address of IPv4 is written as `format_peer` does, without being parsed.
                remote = f"{address}:{peer[1]}" if "." in address else format_peer(peer)
                PolledTransport(self._poller, connection, remote, protocol).begin()
            elif self._hellos is not None:
                self._hellos.wait(connection, protocol)
            else:
                self._begin(connection, protocol)

    def _begin(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        task = self._loop.create_task(self._connect(connection, protocol))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _pause(self, error: OSError) -> None:
        """Leave connections in the kernel's queue for a while.

        The socket stays readable, so that without a pause the event loop would do nothing but try again.
        """
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
        """Make the transport, with TLS after its handshake; the rest is up to the protocol."""
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connection, **self._options)
        except Exception as error:  # TLS: whatever a peer can make OpenSSL raise
            protocol.connection_lost(error)
            connection.close()


def _ip_address(peer: Any) -> str:
    """The IP address; of an IPv4 client the IPv4 one, also on a socket for both families."""
    if not isinstance(peer, tuple):
        return ""
    address = str(peer[0])
    return address.removeprefix("::ffff:") if "." in address else address
