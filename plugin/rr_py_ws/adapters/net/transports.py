"""What asyncio's transports and tasks do not offer as we need it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from typing import Any

from rr_py_ws.address import format_peer

_SILENCE = 60
"""Seconds without a sign of life after which TCP asks a peer for one, and until it asks again."""
_UNANSWERED = 3
"""So many such questions in a row end a connection."""

_WRITELINES_DOES_NOT_PAUSE = (3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (
    3,
    13,
    2,
)
"""Whether asyncio's own `writelines` may keep bytes without calling `pause_writing` (CVE-2024-12254)."""


def peer_of(connection: socket.SocketType) -> str:
    """The other end of a socket as `host:port`, for the log; `unknown` when it is gone."""
    try:
        return format_peer(connection.getpeername())
    except OSError:
        return format_peer(None)


def remote_of(transport: asyncio.BaseTransport) -> str:
    """The other end of a transport as `host:port`, for the log, also when it is gone."""
    return transport.get_extra_info("remote") or format_peer(transport.get_extra_info("peername"))


def keep_alive(connection: socket.SocketType) -> None:
    """Have the system find out that the machine of a peer has vanished; what is accepted inherits this."""
    if connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _SILENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _UNANSWERED)


def write_parts(transport: asyncio.Transport, parts: Sequence[bytes | memoryview]) -> None:
    """Write parts in order; the protocol is paused when the transport keeps any of it, on every Python."""
    if _WRITELINES_DOES_NOT_PAUSE:
        for part in parts:
            transport.write(part)
    else:
        transport.writelines(parts)


def end_writing(transport: asyncio.Transport) -> None:
    """Send FIN after what was written, and go on reading until the peer's FIN (RFC 6455 section 7.1.1).

    Closing at once would answer what the peer still sends with a reset, and a reset makes the peer drop what
    we have written. TLS has no half-closed state; its own closing handshake comes to the same.
    """
    if not transport.can_write_eof():
        transport.close()
        return
    try:
        transport.write_eof()
    except OSError:  # asyncio's own loop lets ENOTCONN out when the peer has gone away in this moment
        transport.abort()


def has_unread(connection: socket.SocketType) -> bool:
    """Whether the peer has sent what is not read yet: this process may have stood still, not the peer."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except OSError:  # there is nothing, or the connection is gone
        return False


def cancel_soon(task: asyncio.Future[Any]) -> None:
    """Cancel a task that may not have begun yet.

    A task that is cancelled before its first step never runs, and what it should have awaited is never
    awaited (a RuntimeWarning). One turn of the event loop later it has begun.
    """
    asyncio.get_running_loop().call_soon(task.cancel)
