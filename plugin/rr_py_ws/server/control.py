"""What the parent process and each of its children say to each other.

=========  =====================  ==============================================================
to         message                what
=========  =====================  ==============================================================
child      link, number           a socket that leads to the core, or to the listener of a number
child      look                   answer
child      stop                   the server stops
child      reload                 read the configuration again
child      log, level, text,      write a line: the parent has no log of its own
           fields
parent     ready, grace           everything is started; seconds that a stop may take
parent     grace, seconds         the configuration says something else now
parent     failed, texts          why the process could not start, or stop in order
parent     alive                  the answer to a look: the event loop turns
parent     unlinked, number       a listener whose socket to the core has got lost: there was no
                                  descriptor for it
parent     stuck, number          a listener takes nothing any more
=========  =====================  ==============================================================

The end of the parent is the end of its sockets: no child stays behind.
"""

from __future__ import annotations

import marshal
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

_LARGEST = 64 * 1024
_ROOM = 256 * 1024
"""Bytes that may wait in the socket."""


class Control:
    """One end; it never waits.

    Args:
        sock: one of a pair that keeps the borders of messages.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        self.socket = sock

    @classmethod
    def pair(cls) -> tuple[Control, Control]:
        """Make both ends."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def send(self, *message: Any, sockets: Iterable[socket.socket] = ()) -> None:
        """Say something; nothing when the other end is gone, or does not listen for long."""
        data = marshal.dumps(message)
        if len(data) <= _LARGEST:
            with suppress(OSError):
                socket.send_fds(self.socket, [data], [sock.fileno() for sock in sockets])

    def receive(self) -> tuple[tuple[Any, ...], list[socket.socket]] | None:
        """Return the next message with its sockets; None at the end.

        Raises:
            BlockingIOError: there is none now.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self.socket, _LARGEST, 1)
        except ConnectionResetError:
            return None
        if not data:
            return None
        for descriptor in descriptors:  # the PHP workers must not have it
            os.set_inheritable(descriptor, False)
        return marshal.loads(data), [socket.socket(fileno=descriptor) for descriptor in descriptors]

    def close(self) -> None:
        """Say and hear no more."""
        self.socket.close()
