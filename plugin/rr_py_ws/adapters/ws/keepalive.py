"""Server pings for all connections with one timer.

Every connection is pinged once per `interval`, also one that talks: what the server sends is what keeps idle
proxies from closing. When nothing at all has arrived for `timeout` after a ping, the connection is cut, after
a second look (see `deadline`).
Browsers answer pings by themselves. All waits of one kind are equally long, so two queues replace a timer per
connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rr_py_ws.adapters.net.deadline import Deadline
from rr_py_ws.adapters.net.timeout_queue import TimeoutQueue

if TYPE_CHECKING:
    from rr_py_ws.adapters.ws.connection import Connection

_TICK = 0.5


class KeepAlive:
    """Pings connections until they are discarded.

    Args:
        interval: seconds between pings; 0 turns keep-alive off.
        timeout: seconds that a client has to send anything after a ping.

    Attributes:
        cut: connections that were cut because nothing arrived.
    """

    def __init__(self, interval: float, timeout: float) -> None:
        self.cut = 0
        self._loop = asyncio.get_running_loop()
        self._interval = interval
        self._tick_length = min(_TICK, interval / 4, timeout / 4)
        self._watched: TimeoutQueue[Connection] = TimeoutQueue(interval)
        self._pinged: TimeoutQueue[Connection] = TimeoutQueue(timeout)
        self._timer: asyncio.TimerHandle | None = None
        self._second_look: Deadline | None = None

    def start(self) -> None:
        """Begin to watch."""
        if self._interval:
            self._schedule()

    def stop(self) -> None:
        """Ping nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._second_look is not None:
            self._second_look.cancel()

    def reload(self, interval: float, timeout: float, connections: Iterable[Connection]) -> None:
        """Go by other times, for each connection from its next ping on.

        Args:
            interval: see `KeepAlive`.
            timeout: see `KeepAlive`.
            connections: all that are open; nobody watches them when there were no pings.
        """
        self.stop()
        self._second_look = None
        self._tick_length = min(_TICK, interval / 4, timeout / 4)
        began, self._interval = not self._interval, interval
        # Not `change`: of many connections, most would be due in the same moment, then and ever after.
        self._watched.seconds, self._pinged.seconds = interval, timeout
        for connection in connections if began or not interval else ():
            self.discard(connection)
            self.add(connection)
        self.start()

    def add(self, connection: Connection) -> None:
        """Watch a new connection."""
        if self._interval:
            self._watched.add(connection, self._loop.time())

    def discard(self, connection: Connection) -> None:
        """Forget a connection."""
        self._watched.pop(connection, None)
        self._pinged.pop(connection, None)

    def _schedule(self) -> None:
        self._timer = self._loop.call_later(self._tick_length, self._tick)

    def _tick(self) -> None:
        self._schedule()
        now = self._loop.time()
        if self._second_look is None and self._pinged.has_due(now):
            self._second_look = Deadline(now, self._cut_silent)
        for connection in self._watched.take_due(now):
            self._watched.add(connection, now)
            self._ping(connection, now)

    def _cut_silent(self, now: float) -> None:
        self._second_look = None
        for connection in self._pinged.take_due(now):
            if not connection.alive:
                self._cut(connection)

    def _ping(self, connection: Connection, now: float) -> None:
        """Ping once more; a client that has not answered the ping before gets no more time for it."""
        if connection.alive or connection not in self._pinged:
            connection.alive = False
            self._pinged.pop(connection, None)
            self._pinged.add(connection, now)
        try:
            connection.ping()
        except Exception:  # its transport is closed already; the others shall be pinged all the same
            self._cut(connection)

    def _cut(self, connection: Connection) -> None:
        self.cut += 1
        self.discard(connection)
        connection.abort()
