"""Closing all WebSockets, not all at once.

Most clients come back as soon as they are closed. Spread over some seconds they come as a stream that the
next server, and its PHP, can take; at once they would be a wave.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

FEW = 100
"""So many clients are not a wave."""
_TICK = 0.05
"""Seconds between two groups of clients, at least."""
_BATCH = 200
"""Clients closed in one turn of the event loop; whatever else goes on has its turn in between."""


async def close_all(closes: Sequence[Callable[[], bool]], seconds: float, elsewhere: int = 0) -> None:
    """Close all clients, evenly spread over some time.

    Cancelling this leaves the rest of the clients alone.

    Args:
        closes: begins to close one client; returns False when the client is leaving anyway.
        seconds: how long it may take; 0, or `FEW` clients, is as fast as possible.
        elsewhere: clients that other processes of the server close meanwhile.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    rate = len(closes) / seconds if seconds > 0 and len(closes) + elsewhere > FEW else math.inf
    closed = 0
    for close in closes:
        if close():
            closed += 1
            if closed % _BATCH == 0:
                await asyncio.sleep(0)
            early = closed / rate - (clock() - began)
            if early > 0:
                await asyncio.sleep(max(early, _TICK))
