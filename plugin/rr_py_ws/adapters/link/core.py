"""The core process, as a listener process sees it: there, or not there for a while."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

from rr_py_ws.adapters.link.connection import DOWN, Call, Handlers, Link
from rr_py_ws.core.turn_end import TurnEnd
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication


class LinkedBroker(Protocol):
    """A broker whose publications come over the link."""

    def receive(self, publications: list[Publication]) -> None:
        """Take publications."""

    def missed(self, topics: list[str]) -> None:
        """Publications of these topics may have been missed, by the core itself."""

    def connected(self) -> None:
        """There is a new link."""

    def lost(self) -> None:
        """There is none any more."""


class Core:
    """The link of a listener process, one after the other.

    Args:
        on_lost: called when the core is gone.
        turn_end: see `Link`; the core is the only one who brings publications.

    Attributes:
        brokers: number -> broker.
        handlers: what the core may call.
        ready: whether the core has said that it can be used.
    """

    def __init__(self, on_lost: Callable[[], None], turn_end: TurnEnd | None = None) -> None:
        self.brokers: dict[int, LinkedBroker] = {}
        self.handlers: dict[str, Callable[..., Any]] = {
            "ready": self._set_ready,
            "gap": lambda number, topics: self.brokers[number].missed(topics),
        }
        self.ready = False
        self._link: Link | None = None
        self._on_lost = on_lost
        self._turn_end = turn_end
        self._paused = False

    @property
    def there(self) -> bool:
        """Whether there is a link."""
        return self._link is not None

    async def connect(self, accepted: socket.socket) -> None:
        """Use a socket that leads to the core."""
        handlers: Handlers = self.handlers
        link = Link(handlers, self._receive, lambda: self._lose(link), turn_end=self._turn_end)
        if (before := self._link) is not None:  # its end has not been seen yet
            self._lose(before)
            before.abort()  # nobody lets a link go on that was paused, so its end would never be seen
        self._link = link  # from now on what is said waits for the transport
        await asyncio.get_running_loop().create_connection(lambda: link, sock=accepted)
        link.pause_reading(self._paused)
        for broker in self.brokers.values():
            broker.connected()

    def call(self, method: str, *args: object, convert: Callable[[Any], Any] | None = None) -> Call:
        """See `Link.call`.

        Raises:
            BrokerError: the core is not there.
        """
        if self._link is None:
            raise BrokerError(DOWN)
        return self._link.call(method, *args, convert=convert)

    def tell(self, method: str, *args: object) -> None:
        """See `Link.tell`; nothing when the core is not there."""
        if self._link is not None:
            self._link.tell(method, *args)

    def pause(self, paused: bool) -> None:
        """Look at nothing that comes, or go on."""
        self._paused = paused
        if self._link is not None:
            self._link.pause_reading(paused)

    def close(self) -> None:
        """End the link."""
        if self._link is not None:
            self._link.close()

    def _set_ready(self, ready: bool) -> None:
        self.ready = ready

    def _receive(self, number: int, publications: list[Publication]) -> None:
        self.brokers[number].receive(publications)

    def _lose(self, link: Link) -> None:
        if link is not self._link:
            return
        self._link = None
        self.ready = False
        for broker in self.brokers.values():
            broker.lost()
        self._on_lost()
