"""Server pings for all connections with one timer.

Every connection is pinged once per `interval`, also one that talks: what the server sends is what keeps idle
proxies from closing. When nothing at all was heard for `timeout` after a ping, the peer is given up.
Browsers answer pings by themselves. All waits of one kind are equally long, so two queues replace
a timer per connection.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from rr_py_ws.adapters.net.timeout_queue import EqualWaits

_TICK = 0.5


class Peer(Protocol):
    """A connection, as keep-alive sees it.

    Attributes:
        heard: set by the connection whenever anything arrives.
    """

    heard: bool

    def ping(self) -> None:
        """Send a ping. When this raises, the peer is given up."""

    def give_up(self) -> None:
        """The peer is gone; end the connection without waiting for it."""


class KeepAlive:
    """Pings peers until they are discarded.

    Args:
        interval: seconds between pings; 0 turns keep-alive off.
        timeout: seconds that a peer has to send anything after a ping.

    Attributes:
        given_up: peers that were.
    """

    def __init__(self, interval: float, timeout: float) -> None:
        self.given_up = 0
        self._interval = interval
        self._tick_length = min(_TICK, interval / 4, timeout / 4)
        self._watched = EqualWaits[Peer](interval)
        self._pinged = EqualWaits[Peer](timeout)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch."""
        if self._interval:
            self._schedule()

    def stop(self) -> None:
        """Ping nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, peer: Peer) -> None:
        """Watch a new peer."""
        if self._interval:
            self._watched.add(peer, asyncio.get_running_loop().time())

    def discard(self, peer: Peer) -> None:
        """Forget a peer."""
        self._watched.discard(peer)
        self._pinged.discard(peer)

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._tick_length, self._tick)

    def _tick(self) -> None:
        self._schedule()
        now = asyncio.get_running_loop().time()
        for peer in self._pinged.take_due(now):
            if not peer.heard:
                self._give_up(peer)
        for peer in self._watched.take_due(now):
            self._watched.add(peer, now)
            self._ping(peer, now)

    def _ping(self, peer: Peer, now: float) -> None:
        """Ping once more; a peer that has not answered the ping before gets no more time for it."""
        if peer.heard or peer not in self._pinged:
            peer.heard = False
            self._pinged.discard(peer)
            self._pinged.add(peer, now)
        try:
            peer.ping()
        except Exception:  # its transport is closed already; the others shall be pinged all the same
            self._give_up(peer)

    def _give_up(self, peer: Peer) -> None:
        self.given_up += 1
        self.discard(peer)
        peer.give_up()
