"""Closing those who cannot be told what they may have missed, one after another.

A client that has never used an `id` does not know `#gap`. It is closed instead, so that it comes back and
loads its state anew. A gap of a broker concerns all clients of a node in the same moment; closed at once they
would come back as a wave, so they go evenly spread over some time.
"""

from __future__ import annotations

import asyncio
import math
from itertools import islice
from typing import TYPE_CHECKING

from rr_py_ws import logs

if TYPE_CHECKING:
    from rr_py_ws.adapters.ws.connection import Connection

_TICK = 0.05
"""Seconds between two groups of clients."""

log = logs.get_logger("websockets")


class GapCloser:
    """Clients that wait for their turn to be closed; until then they are served as ever.

    Args:
        seconds: how long it may take until the last one is closed.

    Attributes:
        seconds: the same; it may change.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[Connection, None] = {}
        self._ends = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Connection) -> None:
        """Close a client in its turn."""
        self._waiting[connection] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._ends = loop.time() + max(self.seconds, _TICK)
            self._timer = loop.call_later(_TICK, self._begin)

    def discard(self, connection: Connection) -> None:
        """The client has gone by itself."""
        self._waiting.pop(connection, None)

    def stop(self) -> None:
        """Close nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()

    def _begin(self) -> None:
        text = "clients are closed, messages for them may have been lost, see websockets.on_gap"
        log.warning(text, clients=len(self._waiting))
        self._tick()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        turns = max(1.0, (self._ends - loop.time()) / _TICK)
        for connection in list(islice(self._waiting, math.ceil(len(self._waiting) / turns))):
            del self._waiting[connection]
            try:
                connection.close_for_gap()
            except Exception as error:  # its socket is gone; the others have their turns all the same
                connection.write_failed(error)
        self._timer = loop.call_later(_TICK, self._tick) if self._waiting else None
