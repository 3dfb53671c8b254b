"""Places for TCP connections: how many there may be at a time, in all and from one address.

A connection takes its place when it is accepted and gives it back when its socket is closed, whether it
becomes a WebSocket or not. Who finds none is refused with an answer, and for as long as that takes is among
those that are turned away, of whom there may be a few too; more than that are cut without an answer. So the
number of open sockets has a bound, whatever clients do.

When all places are taken, a connection that owes us something (a request, or its end after a refusal) and
has owed it for longer than an honest client needs makes room for a new one: connections that say nothing
cannot keep others out.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from rr_py_ws import logs
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.adapters.net.timeout_queue import Deadlines
from rr_py_ws.adapters.ws.settings import Settings
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.http import RequestHead

_PATIENCE = 1.0
"""Seconds after which a connection that owes us something may have to make room."""

log = logs.get_limited("websockets")


class Guest(Protocol):
    """A TCP connection that is no WebSocket yet.

    Attributes:
        peer: IP address of the other side; empty when it has none.
        turned_away: why it has found or kept no place; empty when it has one.
    """

    peer: str
    turned_away: str

    def head_timeout(self) -> None:
        """It has not sent a whole request in time."""

    def give_up(self) -> None:
        """Cut it."""


class Places:
    """Counts connections, and turns away those that find no place.

    Args:
        settings: see `Settings`.
        proxies: whose address is not a client's.
    """

    def __init__(self, settings: Settings, proxies: TrustedProxies) -> None:
        self._total = settings.max_connections
        self._per_address = settings.max_connections_per_address
        self._refusals = settings.max_refusals
        self._proxies = proxies
        self._taken = 0
        self._cut = 0
        self._silent = Deadlines[Guest](settings.head_timeout, lambda guest: guest.head_timeout())
        self._leaving = Deadlines[Guest](settings.close_timeout, lambda guest: guest.give_up())
        self._turned_away = Deadlines[Guest](settings.close_timeout, lambda guest: guest.give_up())
        self._by_address: Counter[bytes] = Counter()
        self._address_of: dict[object, bytes] = {}

    def metrics(self) -> Iterator[Sample]:
        """See `metrics.MetricSource`."""
        yield gauge("places", "TCP connections that there may be at a time.", self._total)
        yield gauge("places_taken", "TCP connections that there are.", self._taken)
        yield counter("connections_cut", "TCP connections cut without an answer.", self._cut)

    def arrive(self, guest: Guest) -> bool:
        """Give a newcomer a place, or turn it away.

        Returns:
            False when it is one too many even to be told so: its socket is to be closed.
        """
        now = asyncio.get_running_loop().time()
        if self._total and self._taken >= self._total and not self._make_room(now):
            guest.turned_away = "connections"
            self._turned_away.add(guest, now)
            log.warning("connection refused, see websockets.limits.max_connections", limit=self._total)
            return not self._overrun()
        self._taken += 1
        self._silent.add(guest, now)
        if self._per_address and not self._proxies.trusts(guest.peer):
            return self._count_address(guest, guest.peer)
        return True

    def request_came(self, guest: Guest, head: RequestHead) -> bool:
        """Its request is complete, so now it is our turn; it may say for which client a proxy speaks.

        A proxy that does not say that is not counted: it would be all clients in one.

        Returns:
            False when it is one too many: it is to be cut.
        """
        self._silent.discard(guest)
        if self._per_address and self._proxies.trusts(guest.peer):
            address = self._proxies.client_address(guest.peer, head)
            if address != guest.peer:
                return self._count_address(guest, address)
        return True

    def refused(self, guest: Guest) -> None:
        """It was answered with a refusal, and has to go."""
        self._silent.discard(guest)
        if not guest.turned_away:
            self._leaving.add(guest, asyncio.get_running_loop().time())

    def hand_over(self, guest: Guest, successor: object) -> None:
        """The connection became a WebSocket, which keeps the place."""
        network = self._address_of.pop(guest, None)
        if network is not None:
            self._address_of[successor] = network

    def leave(self, guest: Guest) -> None:
        """The socket of a connection that was no WebSocket is closed."""
        if guest.turned_away:
            self._turned_away.discard(guest)
        else:
            self._give_back(guest)

    def leave_open(self, successor: object) -> None:
        """The socket of a WebSocket is closed."""
        self._taken -= 1
        self._forget_address(successor)

    def stop(self) -> None:
        """Watch nobody any more."""
        for waits in (self._silent, self._leaving, self._turned_away):
            waits.stop()

    def _make_room(self, now: float) -> bool:
        for waits in (self._leaving, self._silent):
            oldest = next(iter(waits), None)
            if oldest is not None and now - waits.since(oldest) >= _PATIENCE:
                self._cut += 1
                self._turn_away(oldest, "connections")
                oldest.give_up()
                return True
        return False

    def _count_address(self, guest: Guest, address: str) -> bool:
        network = _network(address)
        if network is None:
            return True
        if self._by_address[network] < self._per_address:
            self._by_address[network] += 1
            self._address_of[guest] = network
            return True
        self._turn_away(guest, "address")
        log.warning("connection refused, see websockets.limits.max_connections_per_address", address=address)
        return not self._overrun()

    def _overrun(self) -> bool:
        """Whether more are being turned away than there may be."""
        if len(self._turned_away) <= self._refusals:
            return False
        self._cut += 1
        return True

    def _turn_away(self, guest: Guest, reason: str) -> None:
        self._give_back(guest)
        guest.turned_away = reason
        self._turned_away.add(guest, asyncio.get_running_loop().time())

    def _give_back(self, guest: Guest) -> None:
        self._taken -= 1
        self._silent.discard(guest)
        self._leaving.discard(guest)
        self._forget_address(guest)

    def _forget_address(self, tenant: object) -> None:
        network = self._address_of.pop(tenant, None)
        if network is not None:
            self._by_address[network] -= 1
            if not self._by_address[network]:
                del self._by_address[network]


def _network(address: str) -> bytes | None:
    """What counts as one address: an IPv4 address, a /64 network of IPv6 (what one customer gets).

    None for anything else: a unix socket has no address.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return parsed.packed[:8] if mapped is None else mapped.packed
    return parsed.packed
