"""A client that is read more slowly than it sends.

Nothing is dropped because a client sends too much: its socket is not read for a while, and TCP makes the
client wait. There are three reasons, and reading goes on when none is left:

* it has used up its part of a turn of the event loop, or all clients together theirs: others come first;
* it has asked for more than `commands_per_second`, by what that costs (see `core.cost`);
* as many of its commands as may wait do wait (`max_commands_waiting`, `command_queue`).

One read may bring 256 KiB: tens of thousands of pings, or a few frames that decompress to megabytes. So it is
looked at frame by frame, and what follows is held here as it came.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

from rr_py_ws.adapters.ws.metrics import WebSocketMetrics

if TYPE_CHECKING:
    from rr_py_ws.adapters.ws.connection import Connection

COST_PER_TURN = 8
"""What one client may cost in a turn of the event loop before it has to wait for the next one, counted like
`commands_per_second`: about 0.2 ms. What begins below it is finished."""
COST_OF_ALL = 32
"""The same for all clients together that need more than one small frame takes."""


class ReadTurns:
    """Whose frames are looked at in a turn of the event loop, so that many clients are no more than one.

    A client has its part at once while the turn has room for it; else it waits for its place in the queue.
    """

    def __init__(self) -> None:
        self._waiting: dict[ReadThrottle, None] = {}  # an ordered set: who goes away leaves it
        self._spent = 0
        self._scheduled = False

    def ask(self, throttle: ReadThrottle) -> bool:
        """Let a client have its part; False: not now, but in its turn."""
        now = not self._waiting and self._spent < COST_OF_ALL
        if now:
            self._spent += throttle.look()
        else:
            self._waiting[throttle] = None
        self._schedule()
        return now

    def wait(self, throttle: ReadThrottle) -> None:
        """Let a client that has had its part of this turn wait for the next one."""
        self._waiting[throttle] = None
        self._schedule()

    def leave(self, throttle: ReadThrottle) -> None:
        """The client waits no longer."""
        self._waiting.pop(throttle, None)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """Begin a turn, with those that wait."""
        self._scheduled = False
        self._spent = 0
        # Those that wait again come behind all others, and have their part in the next turn.
        for throttle in tuple(islice(self._waiting, COST_OF_ALL)):
            if self._spent >= COST_OF_ALL:
                break
            if throttle in self._waiting:  # nobody before it has ended its connection
                del self._waiting[throttle]
                self._spent += throttle.look()
        if self._spent or self._waiting:
            self._schedule()


class ReadThrottle:
    """What has arrived of one client and was not looked at, while there is a reason not to read its socket.

    Args:
        client: the connection.
        transport: of the connection.
        counters: what is held is counted there.
        turns: where clients wait for their turn.
    """

    __slots__ = (
        "_at",
        "_client",
        "_counters",
        "_data",
        "_paused",
        "_reason",
        "_timer",
        "_transport",
        "_turns",
    )

    def __init__(
        self, client: Connection, transport: asyncio.Transport, counters: WebSocketMetrics, turns: ReadTurns
    ) -> None:
        self._client = client
        self._transport = transport
        self._counters = counters
        self._turns = turns
        self._data = b""
        self._at = 0
        self._paused = False
        self._reason = ""
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, data: bytes) -> None:
        """Hold bytes that have arrived, behind those that are held, and look at what may be looked at."""
        self._counters.held += len(data)
        self._data = self._data[self._at :] + data
        self._at = 0
        # One that waits does not get its turn by sending more.
        if not self._paused:
            self.go_on()

    def go_on(self) -> None:
        """Look at what is held, now or in its turn; there may be a reason less to wait."""
        self._stop()
        if not self._turns.ask(self):
            self._pause("")

    def rest(self) -> None:
        """Go on in the next turn of the event loop."""
        self._stop()
        self._pause("")
        self._turns.wait(self)

    def look(self) -> int:
        """Look at what is held as far as the limits allow; then read on, unless the client has to wait.

        A client for which this fails is given up: nobody would ever read it again.

        Returns:
            What it has cost.
        """
        client = self._client
        before = client.cost
        if not self._transport.is_closing():
            try:
                self._look(before + COST_PER_TURN)
            except Exception as error:
                client.write_failed(error)
        return client.cost - before

    def close(self) -> None:
        """Drop what is held; the connection is gone."""
        self._stop()
        self._counters.held -= len(self._data) - self._at

    def _look(self, end: int) -> None:
        client = self._client
        while (delay := client.rate_wait_time()) <= 0:
            if client.cost >= end:
                self.rest()
                return
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
        self._stop()
        self._pause("rate")
        self._timer = asyncio.get_running_loop().call_later(delay, self.go_on)

    def _stop(self) -> None:
        """Wait for nothing any more."""
        self._turns.leave(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pause(self, reason: str) -> None:
        """Read the socket no more. The reason is counted; to wait for a turn is none."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if reason and reason != self._reason:
            self._reason = reason
            self._client.reading_paused(reason)
