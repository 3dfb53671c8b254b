"""A slow receiver: what waits for it, and what happens when that becomes too much."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rr_py_ws import logs
from rr_py_ws.adapters.ws.clients import Clients
from rr_py_ws.adapters.ws.stats import WebSocketStats
from rr_py_ws.core.outbox import Outbox
from rr_py_ws.core.session import Session
from rr_py_ws.wire.pushed import pushed_topics

_PORTION = 64 * 1024
"""Bytes that are handed to the transport at a time: few system calls, and little that cannot be dropped."""

log = logs.get_limited("websockets")


class Backlog:
    """What waits behind a transport that holds enough. There is one only while something waits.

    `send` and `write` stand in for those of the connection meanwhile. Pushes come by `send`, replies and
    control frames by `write`; only pushes may be dropped.

    Args:
        clients: theirs are the settings, and what is counted.
        transport: where it goes when there is room.
        session: of the client; tells whether it is to be told of gaps.
        overflow: called when something could neither be queued nor dropped; the connection has to end.

    Attributes:
        paused: whether the transport still holds enough; set when it says so.
    """

    __slots__ = ("_outbox", "_overflow", "_transport", "paused")

    def __init__(
        self,
        clients: Clients,
        transport: asyncio.Transport,
        session: Session,
        overflow: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._overflow = overflow
        drops = clients.settings.send_queue_policy == "drop"
        losses = _Losses(clients.stats, transport, session) if drops else None
        self._outbox = Outbox(clients.settings.send_queue, losses.add if losses else None)
        self.paused = True

    def send(self, pushes: bytes) -> int:
        """See `Subscriber.send`."""
        if not self._outbox.put_pushes(pushes):
            self._overflow()
        return len(pushes)

    def write(self, frames: bytes | memoryview) -> None:
        """See `Subscriber.write`."""
        if not self._outbox.put(frames):
            self._overflow()

    def hand_over(self) -> bool:
        """Give the transport what waits; False when it holds enough again before the end."""
        self.paused = False
        while self._outbox:
            self._transport.writelines(self._outbox.get(_PORTION))
            if self.paused:
                return False
        return True

    def clear(self) -> None:
        """Throw away what waits."""
        self._outbox.clear()


class _Losses:
    """What one receiver misses. Apart from its `Backlog`, so that this is free as soon as it is given up."""

    __slots__ = ("_logged", "_session", "_stats", "_transport")

    def __init__(self, stats: WebSocketStats, transport: asyncio.Transport, session: Session) -> None:
        self._stats = stats
        self._transport = transport
        self._session = session
        self._logged = False

    def add(self, pushes: bytes) -> Sequence[str]:
        """Count what is dropped; return the topics of it that the client wants to be told of."""
        topics = pushed_topics(pushes)
        self._stats.dropped += len(topics)
        self._stats.dropped_bytes += len(pushes)
        if not self._logged:
            self._logged = True
            log.warning(
                "slow client misses messages, see websockets.limits.send_queue",
                remote=str(self._transport.get_extra_info("peername")),
            )
        return topics if self._session.opted_in else ()
