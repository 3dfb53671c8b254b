"""A process that stands still for a while: SIGSTOP, a paused machine, a busy event loop."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable


async def stand_still(seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Let the event loop do nothing for so long.

    This comes while the loop reads its sockets: what peers send meanwhile is in sockets that it has looked at
    already, and next it looks at its timers.

    Args:
        seconds: how long.
        meanwhile: what peers in this process do then.
    """
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    near, far = socket.socketpair()

    def freeze() -> None:
        loop.remove_reader(near)
        meanwhile()
        time.sleep(seconds)
        over.set()

    with near, far:
        loop.add_reader(near, freeze)
        far.send(b"x")
        await over.wait()
