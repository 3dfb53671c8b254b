"""A client that is read more slowly than it sends.

Nothing is dropped because a client sends too much: its socket is not read for a while, and TCP makes the
client wait. There are three reasons, and reading goes on when none is left:

* it has used up its part of a turn of the event loop: the others have theirs first, then it goes on;
* it has asked for more than `commands_per_second`, by what that costs (see `core.session`);
* as many of its commands as may wait do wait (`max_commands_waiting`, `command_queue`).

One read may bring 256 KiB: tens of thousands of pings, or a few frames that decompress to megabytes. So it is
looked at frame by frame, and what follows is held here as it came.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rr_py_ws.adapters.ws.metrics import WebSocketMetrics

if TYPE_CHECKING:
    from rr_py_ws.adapters.ws.connection import Connection

COST_PER_TURN = 8
"""What one client may cost in a turn of the event loop before it has to wait for the next one, counted like
`commands_per_second`: about 0.2 ms. What begins below it is finished: the dearest command that may be sent
costs 2 ms."""


class ReadThrottle:
    """What has arrived of one client and was not looked at, while there is a reason not to read its socket.

    Args:
        client: the connection.
        transport: of the connection.
        counters: what is held is counted there.
    """

    __slots__ = ("_at", "_client", "_counters", "_data", "_next", "_paused", "_reason", "_transport")

    def __init__(self, client: Connection, transport: asyncio.Transport, counters: WebSocketMetrics) -> None:
        self._client = client
        self._transport = transport
        self._counters = counters
        self._data = b""
        self._at = 0
        self._paused = False
        self._reason = ""
        self._next: asyncio.Handle | None = None

    def receive(self, data: bytes) -> None:
        """Hold bytes that have arrived, behind those that are held, and look at what may be looked at."""
        self._counters.held += len(data)
        self._data = self._data[self._at :] + data
        self._at = 0
        # One that waits for its next turn does not get this one by sending more.
        if self._next is None:
            self.resume()

    def resume(self) -> None:
        """Look at what is held as far as the limits allow; then read on, unless the client has to wait.

        To be called when a command has been answered. The rest is called by timers.
        """
        self._stop()
        client = self._client
        if self._transport.is_closing():
            return
        end = client.cost + COST_PER_TURN
        while (delay := client.rate_wait_time()) <= 0:
            if client.handle_waiting():
                pass
            elif client.commands_full(reading=self._reason != "commands_waiting"):
                self._pause("commands_waiting")
                return
            elif self._at < len(self._data):
                self._reason = ""
                read = client.take_frame(self._data, self._at)
                self._at += read
                self._counters.held -= read
            else:
                self._stop()
                client.reading_resumed()
                if self._paused:
                    self._transport.resume_reading()
                return
            if client.cost >= end:
                self.rest()
                return
        self._pause("rate")
        self._stop()
        self._next = asyncio.get_running_loop().call_later(delay, self.resume)

    def rest(self) -> None:
        """Go on in the next turn of the event loop."""
        self._stop()
        self._pause("")
        self._next = asyncio.get_running_loop().call_soon(self.resume)

    def close(self) -> None:
        """Drop what is held; the connection is gone."""
        self._stop()
        self._counters.held -= len(self._data) - self._at

    def _stop(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _pause(self, reason: str) -> None:
        """Read the socket no more. The reason is counted; the end of a part of a turn has none."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if reason and reason != self._reason:
            self._reason = reason
            self._client.reading_paused(reason)
