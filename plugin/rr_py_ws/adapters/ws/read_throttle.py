"""A client that is read more slowly than it sends.

Nothing is dropped because a client sends too much: it is not read for a while, and TCP makes it wait. There
are two reasons, and reading goes on when neither is left: as many of its commands as may wait do wait
(`max_commands_waiting`), or it has sent more than `commands_per_second` frames. Frames, because a ping or an
empty fragment costs about as much as a command.

One read may bring 256 KiB: thousands of commands, tens of thousands of pings. So nobody looks at more than a
piece of it at a time, and what follows is held here as it came, until its time has come.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from rr_py_ws import logs
from rr_py_ws.adapters.ws.stats import WebSocketStats

PIECE = 4096
"""Bytes that are looked at without asking again; a client may be ahead by the frames in them."""

log = logs.get_limited("websockets")


class Source(Protocol):
    """A connection, as far as it concerns reading."""

    def take(self, data: bytes) -> None:
        """Look at bytes that have arrived."""

    def reading_delay(self) -> float:
        """Seconds for which it is not to be read; infinite: until fewer commands wait. 0 or less for none."""

    def reading_resumed(self) -> None:
        """It is read as before."""


class SlowReading:
    """What is there of one client while it is not read; and what has arrived of it and was not looked at.

    Args:
        source: the connection.
        transport: its transport.
        stats: pauses are counted there.
    """

    __slots__ = ("_paused", "_rest", "_source", "_stats", "_timer", "_transport")

    def __init__(self, source: Source, transport: asyncio.Transport, stats: WebSocketStats) -> None:
        self._source = source
        self._transport = transport
        self._stats = stats
        self._rest = b""
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, data: bytes) -> None:
        """Bytes have arrived behind those that are held."""
        self._rest += data
        self.go_on()

    def go_on(self) -> None:
        """Look at what is held as far as the client may go; then read on, unless it has to wait.

        To be called when fewer commands wait. When the time has come, it comes by itself.
        """
        self.stop()
        if self._transport.is_closing():
            return
        while (delay := self._source.reading_delay()) <= 0 and self._rest:
            piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
            self._source.take(piece)
        if delay > 0:
            self._pause("commands_waiting" if delay == math.inf else "rate")
            if delay < math.inf:
                self._timer = asyncio.get_running_loop().call_later(delay, self.go_on)
            return
        self._source.reading_resumed()
        if self._paused:
            self._transport.resume_reading()

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pause(self, reason: str) -> None:
        if self._paused:
            return
        self._paused = True
        self._transport.pause_reading()
        self._stats.pauses[reason] += 1
        if reason == "rate":
            remote = str(self._transport.get_extra_info("peername"))
            log.warning(
                "client is read more slowly, see websockets.limits.commands_per_second", remote=remote
            )
