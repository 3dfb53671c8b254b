"""Telling all clients to go, not all at once.

Most clients come back as soon as they are closed. Spread over some seconds they come as a stream that the
next server, and its PHP, can take; at once they would be a wave.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Protocol

FEW = 100
"""So many clients are no wave."""
_TICK = 0.05
"""Seconds between two groups of clients, at least."""
_BATCH = 200
"""Clients told in one turn of the event loop; whatever else goes on has its turn in between."""


class Client(Protocol):
    """One TCP connection, as the end of the server sees it."""

    def dismiss(self) -> bool:
        """The server is stopping: tell the client, and close; False when it is ending anyway."""

    def give_up(self) -> None:
        """Cut the connection."""


async def dismiss_all(clients: Sequence[Client], seconds: float) -> None:
    """Dismiss all clients, evenly spread over some time.

    Cancelling this leaves the rest of them alone.

    Args:
        clients: in order.
        seconds: 0, or `FEW` clients, is as fast as possible.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    rate = len(clients) / seconds if seconds > 0 and len(clients) > FEW else math.inf
    told = 0
    for client in clients:
        if client.dismiss():
            told += 1
            if told % _BATCH == 0:
                await asyncio.sleep(0)
            early = told / rate - (clock() - began)
            if early > 0:
                await asyncio.sleep(max(early, _TICK))
