"""Connections that begin with TLS, until the server has something to work on.

The handshake of TLS costs a server a millisecond as soon as the client's first message, its hello, is there.
The event loops would answer all hellos that arrive together in one turn. So a hello waits in the kernel until
it is complete, which costs nothing here, and then for its turn.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from rr_py_ws.adapters.net.turns import Turns

_RECORD_HEADER = 5
"""Bytes before a record of TLS: type, version (two), length (two)."""
_HANDSHAKE = 22
_LARGEST = 16 * 1024
"""Bytes of a record (RFC 8446, 5.1)."""


class ClientHellos:
    """Connections that wait for the hello of their client; one handshake is begun in a turn of the loop.

    What is no TLS, and a connection that has ended, does not wait: TLS finds out what is wrong.

    Args:
        begin: called with each connection when it is its turn.
    """

    def __init__(self, begin: Callable[[socket.socket, asyncio.Protocol], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._begin = begin
        self._turns = Turns(1)

    def wait(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        """Wait for the hello of a connection that was accepted."""
        _be_told_of(connection, _RECORD_HEADER)
        self._loop.add_reader(connection, self._look, connection, protocol, _RECORD_HEADER)

    def _look(self, connection: socket.socket, protocol: asyncio.Protocol, expected: int) -> None:
        try:
            begun = connection.recv(_RECORD_HEADER + _LARGEST, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            begun = b""
        # Woken for less than was waited for: the client has ended the connection. One that it has reset may
        # have bytes in it, and uvloop forgets a reader that is added while it tells of an error.
        if len(begun) >= expected and (needed := _size(begun)) > len(begun) and not _has_failed(connection):
            self._loop.add_reader(connection, self._look, connection, protocol, needed)
            _be_told_of(connection, needed)
            return
        self._loop.remove_reader(connection)
        _be_told_of(connection, 1)

        def go_on() -> None:
            self._turns.charge(1)
            self._begin(connection, protocol)

        self._turns.wait(go_on, light=False)


def _be_told_of(connection: socket.socket, count: int) -> None:
    """Have a socket readable when so many bytes are there, or the end (socket(7), SO_RCVLOWAT)."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)


def _has_failed(connection: socket.socket) -> bool:
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def _size(begun: bytes) -> int:
    """How long the first record is; nothing when it is none of TLS."""
    length = int.from_bytes(begun[3:5], "big")
    return _RECORD_HEADER + length if begun[0] == _HANDSHAKE and length <= _LARGEST else 0
