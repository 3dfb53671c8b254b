"""One epoll instance for many sockets, see `polled`."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rr_py_ws.adapters.net.polled import PolledTransport

_EVENTS = 64
"""Sockets that are looked at in one turn of the event loop; whatever else goes on has its turn then."""
_READ = 256 * 1024
"""Bytes that are read of one socket in a turn, at most; as uvloop reads."""
FIRST = 4096
"""How many of these are asked for first: nearly all clients send less, which so is not copied."""


class Poller:
    """Watches the sockets of its transports, as long as there are any.

    Attributes:
        loop: the running loop.
        space: what a transport reads into behind the first bytes; `view` is what it takes that from.
        view: see `space`.
    """

    __slots__ = ("_epoll", "_transports", "loop", "space", "view")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._transports: dict[int, PolledTransport] = {}
        self.space = bytearray(_READ - FIRST)
        self.view = memoryview(self.space)

    def watch(self, descriptor: int, transport: PolledTransport, before: int, events: int) -> None:
        """Look for other events of a socket than before; 0 for none.

        A socket is not watched for no events at all: the kernel would still tell of its end, again and again.
        """
        if not before:
            self._epoll.register(descriptor, events)
            if not self._transports:
                self.loop.add_reader(self._epoll.fileno(), self._look)
            self._transports[descriptor] = transport
        elif events:
            self._epoll.modify(descriptor, events)
        else:
            del self._transports[descriptor]
            self._epoll.unregister(descriptor)
            if not self._transports:
                self.loop.remove_reader(self._epoll.fileno())

    def _look(self) -> None:
        """Tell the transports whose sockets have something to read, or room."""
        transports = self._transports
        for descriptor, events in self._epoll.poll(0, _EVENTS):
            # What is told to one may have another one cease to be watched. No descriptor belongs to a new
            # socket meanwhile: transports close their sockets in a later turn.
            if (transport := transports.get(descriptor)) is not None:
                transport.ready(events)
