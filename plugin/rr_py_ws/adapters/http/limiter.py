"""How many TCP connections there may be at a time, in all and from one address.

A connection takes a place when it is accepted and gives it back when its socket is closed, whether it is
handed over to another protocol in between or not. A connection that gets no place is *rejected*: refused
with an answer, and is one of the rejected until it is closed. Of these there may be `max_refusals`; more than
that are cut without an answer. So the number of open sockets has a bound, whatever clients do.

When all places are taken, the connection that has been idle longest (its next request, its request head, or
its FIN after the last answer has not come), and for longer than an honest client needs, is cut for a new one:
connections that say nothing cannot keep others out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

from rr_py_ws import logs
from rr_py_ws.adapters.http.ending import Ending
from rr_py_ws.adapters.http.places import Places
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.adapters.http.states import State
from rr_py_ws.adapters.net.timeout_queue import TimeoutQueue
from rr_py_ws.adapters.net.transports import has_unread
from rr_py_ws.address import network_of
from rr_py_ws.config import Limits
from rr_py_ws.metrics import Sample, counter, gauge

_MIN_IDLE = 1.0
"""Seconds after which an idle connection may be cut for a new one: a few round trips on a bad line."""

log = logs.get_limited("websockets")


class ConnectionLimiter:
    """Counts connections and rejects those over the limits.

    Args:
        limits: `max_connections_per_address` (0 for no limit), `head_timeout` and `keep_alive` are looked at.
        proxies: the peers whose address is not a client's.
        max_connections: places; 0 for no limit.
        max_refusals: rejected connections that are being answered.
        close_timeout: seconds that a refused connection has to close; then it is cut.
        places: what the other processes of the server have; None: there are no others.
    """

    def __init__(
        self,
        limits: Limits,
        proxies: TrustedProxies,
        *,
        max_connections: int,
        max_refusals: int,
        close_timeout: float,
        places: Places | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._proxies = proxies
        self._places = places
        self._max_everywhere = limits.max_connections
        self._max_connections = max_connections
        self._max_per_address = limits.max_connections_per_address
        self._max_refusals = max_refusals
        self._taken = 0
        self._cut = 0
        self._reading_head = TimeoutQueue[Ending](limits.head_timeout, Ending.head_timeout)
        self._idle = TimeoutQueue[Ending](limits.keep_alive, Ending.idle_timeout)
        self._refused = TimeoutQueue[Ending](close_timeout, Ending.cut)
        self._rejected = TimeoutQueue[Ending](close_timeout, Ending.cut)
        self._by_network: Counter[bytes] = Counter()
        self._network_of: dict[asyncio.Protocol, bytes] = {}

    def reload(self, limits: Limits, max_connections: int) -> None:
        """Take other limits; connections that there are keep their places."""
        self._max_per_address = limits.max_connections_per_address
        self._max_connections = max_connections
        self._max_everywhere = limits.max_connections
        self._reading_head.change(limits.head_timeout)
        self._idle.change(limits.keep_alive)

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        places: float = self._max_connections
        if self._places is not None and self._max_everywhere:  # added up, they are what there is
            places = self._max_everywhere / self._places.processes
        yield gauge("places", "TCP connections that there may be at a time.", places)
        yield gauge("places_taken", "TCP connections that there are.", self._taken)
        yield counter("connections_cut", "TCP connections cut without an answer.", self._cut)

    def acquire(self, connection: Ending) -> bool:
        """Give an accepted connection a place, or reject it by setting its `reject_reason`.

        Returns:
            False when there are too many rejected ones already: its socket is to be closed at once.
        """
        now = self._loop.time()
        limit = self._max_connections
        # An idle connection has to make room before somebody is refused.
        if (
            limit
            and (self._taken >= limit or (self._places is not None and self._full_everywhere(self._places)))
            and not self._cut_idle(now)
        ):
            log.warning("connection refused, see websockets.limits.max_connections", limit=limit)
            return self._reject(connection, "connections", now)
        self._taken += 1
        if self._places is not None:
            self._places.set_taken(self._taken)
        self._reading_head.add(connection, now)
        # Of a proxy's connections the client is known only when the request has come.
        if self._max_per_address and not self._proxies.trusts(connection.peer):
            return self._count_address(connection, connection.peer, now)
        return True

    def request_received(self, connection: Ending, address: str) -> bool:
        """The request head is complete: from now on the server owes something, not the client.

        Args:
            connection: whose.
            address: of the client for whom a trusted proxy speaks. A proxy that does not say so is not
                counted: all clients behind it would count as one.

        Returns:
            False when it has been rejected, and there are too many rejected ones already: it is to be cut.
        """
        self._reading_head.pop(connection, None)
        if self._idle:
            self._idle.pop(connection, None)
        if self._max_per_address and address != connection.peer:
            return self._count_address(connection, address, self._loop.time())
        return True

    def page_served(self, connection: Ending) -> None:
        """The answer of a page is sent: the client owes its next request, if it has any."""
        if connection.idle:
            self._idle.add(connection, self._loop.time())
        else:
            self.head_begun(connection)
        # The next request of a proxy may be another client's.
        if self._proxies.trusts(connection.peer):
            self._uncount_address(connection)

    def head_begun(self, connection: Ending) -> None:
        """Something of a request has come behind a page: all of its head has to come now."""
        self._idle.pop(connection, None)
        self._reading_head.add(connection, self._loop.time())

    def request_refused(self, connection: Ending) -> None:
        """The connection has its last answer, and has to close."""
        self._reading_head.pop(connection, None)
        self._idle.pop(connection, None)
        if not connection.reject_reason:  # a rejected one is watched since it was rejected
            self._refused.add(connection, self._loop.time())

    def transfer(self, connection: Ending, successor: asyncio.Protocol) -> None:
        """Let another protocol hold the place of a connection, until `release`."""
        if self._network_of and (network := self._network_of.pop(connection, None)) is not None:
            self._network_of[successor] = network

    def release(self, holder: asyncio.Protocol) -> None:
        """The socket of a connection is closed: take its place back, if it has one. Once for each."""
        # A WebSocket is in none of the queues, and was never rejected.
        if isinstance(holder, Ending):
            if holder.reject_reason:
                self._rejected.pop(holder, None)
                return
            for queue in (self._reading_head, self._idle, self._refused):
                queue.pop(holder, None)
        self._taken -= 1
        if self._places is not None:
            self._places.set_taken(self._taken)
        self._uncount_address(holder)

    def stop(self) -> None:
        """Cancel the timers."""
        for queue in (self._reading_head, self._idle, self._refused, self._rejected):
            queue.stop()

    def _full_everywhere(self, places: Places) -> bool:
        """Whether all processes together have as many connections as there may be."""
        return 0 < self._max_everywhere <= self._taken + places.taken_elsewhere()

    def _cut_idle(self, now: float) -> bool:
        """Free a place by cutting an idle connection; False when none has been idle for long enough."""
        for queue in (self._refused, self._idle, self._reading_head):  # rather one that has had its answer
            oldest = next(iter(queue), None)
            if oldest is not None and now - queue.since(oldest) >= _MIN_IDLE and not _has_unread(oldest):
                self.release(oldest)
                # Its socket takes a moment to close, and must not give back its place once more.
                oldest.reject_reason = "connections"
                self._rejected.add(oldest, now)
                self._cut += 1
                oldest.cut()
                return True
        return False

    def _count_address(self, connection: Ending, address: str, now: float) -> bool:
        network = network_of(address)
        if network is None:
            return True
        taken = self._by_network[network]
        if self._places is not None:
            taken += self._places.of_network_elsewhere(network)
        if taken < self._max_per_address:
            self._by_network[network] += 1
            if self._places is not None:
                self._places.count_network(network, 1)
            self._network_of[connection] = network
            return True
        log.warning("connection refused, see websockets.limits.max_connections_per_address", address=address)
        self.release(connection)
        return self._reject(connection, "address", now)

    def _uncount_address(self, holder: asyncio.Protocol) -> None:
        network = self._network_of.pop(holder, None)
        if network is not None:
            self._by_network[network] -= 1
            if self._places is not None:
                self._places.count_network(network, -1)
            if not self._by_network[network]:  # an address that is gone must leave nothing behind
                del self._by_network[network]

    def _reject(self, connection: Ending, reason: str, now: float) -> bool:
        """Watch a connection without a place until it is gone; False when there are too many of those."""
        connection.reject_reason = reason
        if len(self._rejected) >= self._max_refusals:
            self._cut += 1
            return False
        self._rejected.add(connection, now)
        return True


def _has_unread(connection: Ending) -> bool:
    """Whether there may be a request. Not for a TLS handshake, of which a peer can always have sent some."""
    return connection.state is not State.ACCEPTED and has_unread(connection.socket)
