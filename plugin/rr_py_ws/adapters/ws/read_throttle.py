"""A client that is read more slowly than it sends.

Nothing is dropped because a client sends too much: its socket is not read for a while, and TCP makes the
client wait. There are two reasons, and reading goes on when neither is left: as many of its commands as may
wait do wait (`max_commands_waiting`), or it has sent more than `commands_per_second` frames. Frames, because
a ping or an empty fragment costs about as much as a command.

One read may bring 256 KiB: thousands of commands, tens of thousands of pings. So no more than a piece of it
is looked at before the limits are asked again, and what follows is held here as it came.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

PIECE = 4096
"""Bytes that are looked at without asking again; a client may be ahead by the frames in them."""


class ReadThrottle:
    """What has arrived of one client and was not looked at, while there is a reason not to read its socket.

    Args:
        transport: of the connection.
        take: looks at bytes that have arrived.
        wait_time: returns for how many seconds the client is not to be read; infinite: until fewer commands
            wait; 0 or less: it may be read.
        on_pause: called with the reason, `rate` or `commands_waiting`, when the socket is no longer read.
        on_resume: called when the client is read as before; this object is not needed any more then.
    """

    __slots__ = ("_held", "_on_pause", "_on_resume", "_paused", "_take", "_timer", "_transport", "_wait_time")

    def __init__(
        self,
        transport: asyncio.Transport,
        take: Callable[[bytes], None],
        wait_time: Callable[[], float],
        on_pause: Callable[[str], None],
        on_resume: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._take = take
        self._wait_time = wait_time
        self._on_pause = on_pause
        self._on_resume = on_resume
        self._held = b""
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, data: bytes) -> None:
        """Hold bytes that have arrived, behind those that are held, and look at what may be looked at."""
        self._held += data
        self.resume()

    def resume(self) -> None:
        """Look at what is held as far as the limits allow; then read on, unless the client has to wait.

        To be called when fewer commands wait. When it is the rate that is waited for, a timer calls it.
        """
        self.stop()
        if self._transport.is_closing():
            return
        while (delay := self._wait_time()) <= 0 and self._held:
            piece, self._held = self._held[:PIECE], self._held[PIECE:]
            self._take(piece)
        if delay > 0:
            if not self._paused:
                self._paused = True
                self._transport.pause_reading()
                self._on_pause("commands_waiting" if delay == math.inf else "rate")
            if delay < math.inf:
                self._timer = asyncio.get_running_loop().call_later(delay, self.resume)
            return
        self._on_resume()
        if self._paused:
            self._transport.resume_reading()

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
