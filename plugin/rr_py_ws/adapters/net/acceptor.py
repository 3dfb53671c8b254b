"""Listening sockets, and the accepting of connections from them.

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
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.ws.clients import Clients
from rr_py_ws.adapters.ws.handshake import Handshake

_BACKLOG = 4096
_AT_ONCE = 16
"""Connections that are accepted before everybody else gets a turn."""
_PAUSE = 0.5
"""Seconds in which nothing is accepted when the system has run out of something."""
_KERNEL_HOLDS = 128 * 1024
"""Bytes not sent yet that the kernel may hold for a client. Left alone it takes megabytes, of each client as
many as it likes: nobody would know who is behind, and each message would be that much older on its way."""
_RUN_OUT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

log = logs.get_limited("websockets")


async def bind(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that a host has.

    Raises:
        OSError: the host has none, or one of them cannot be listened on.
        UnicodeError: it is no host name, such as one of 70 letters.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, *_, address in dict.fromkeys(found):
            sockets.append(socket.create_server(address, family=family, backlog=_BACKLOG))
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets


class Acceptor:
    """Accepts the connections of one listening socket until it is closed.

    Args:
        listening: the socket; it belongs to this object from now on.
        clients: get the connections.
        tls: how connections are secured; None for not at all.
    """

    def __init__(self, listening: socket.socket, clients: Clients, tls: ssl.SSLContext | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = listening
        self._clients = clients
        self._tls = tls is not None
        self._options: dict[str, Any] = {}
        if tls is not None:
            settings = clients.settings
            self._options = {
                "ssl": tls,
                "ssl_handshake_timeout": settings.head_timeout,
                "ssl_shutdown_timeout": settings.close_timeout,
            }
        self._serving: dict[Handshake, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        if listening.family != socket.AF_UNIX:  # accepted sockets inherit it
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_HOLDS)
        listening.setblocking(False)
        listening.listen(_BACKLOG)
        self._resume()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Accept nothing any more. Safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _resume(self) -> None:
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
            handshake = Handshake(self._clients, connection, _address_of(peer), tls=self._tls)
            if self._clients.arrived(handshake):
                self._serving[handshake] = self._loop.create_task(self._serve(handshake, connection))
            else:
                connection.close()
                handshake.connection_lost(None)

    def _pause(self, error: OSError) -> None:
        """Who waits in the queue of the socket is accepted later."""
        self._clients.stats.accept_failures += 1
        log.error("cannot accept connections, trying again", error=os.strerror(error.errno or 0))
        self._loop.remove_reader(self._socket)
        self._timer = self._loop.call_later(_PAUSE, self._resume)

    async def _serve(self, handshake: Handshake, connection: socket.socket) -> None:
        """Begin; the rest is the protocol's."""
        try:
            await self._loop.connect_accepted_socket(lambda: handshake, connection, **self._options)
        except Exception as error:  # of the TLS handshake: whatever a peer can bring OpenSSL to say
            handshake.connection_lost(error)
            connection.close()
        finally:
            del self._serving[handshake]


def _address_of(peer: Any) -> str:
    """The IP address; of an IPv4 client the IPv4 one, also on a socket for both families."""
    address = str(peer[0]) if peer else ""
    return address.removeprefix("::ffff:") if "." in address else address
