"""What the WebSockets of a server count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from websockets.frames import CloseCode

from rr_py_ws.core.command_metrics import CommandMetrics
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.deflate import DeflateMetrics

PAUSES = ("rate", "commands_waiting")
"""Why a client is not read for a while; see `read_throttle`."""


@dataclass(slots=True)
class WebSocketMetrics:
    """Plain numbers since the start of the process.

    Attributes:
        accepted: handshakes that became a WebSocket.
        closed: close code -> connections that ended with it.
        slow: connections closed because their send queue was full.
        dropped: messages that were dropped instead, times connections.
        dropped_bytes: the same in bytes of frames.
        pauses: reason -> how often a client was not read for a while.
        messages: messages of clients, whole ones.
        received: bytes from clients, after the handshake.
        held: those of them that are in memory and were not looked at yet; see `ReadThrottle`.
        commands: see `CommandMetrics`.
        deflate: see `DeflateMetrics`.
    """

    accepted: int = 0
    closed: Counter[str] = field(default_factory=Counter)
    slow: int = 0
    dropped: int = 0
    dropped_bytes: int = 0
    pauses: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PAUSES, 0))
    messages: int = 0
    received: int = 0
    held: int = 0
    commands: CommandMetrics = field(default_factory=CommandMetrics)
    deflate: DeflateMetrics = field(default_factory=DeflateMetrics)

    def count_close(self, code: int | None) -> None:
        """Count the end of a connection.

        Args:
            code: that of the close frame; None when there was none.
        """
        self.closed[_label(code)] += 1

    def metrics(self) -> Iterator[Sample]:
        """Yield all of them."""
        commands = self.commands
        yield counter("handshakes_accepted", "Requests that became a WebSocket.", self.accepted)
        yield counter("connections_closed", "WebSockets that ended, by close code.", self.closed, "code")
        yield counter("slow_clients", "WebSockets closed because their send queue was full.", self.slow)
        yield counter("dropped_messages", "Messages dropped because a send queue was full.", self.dropped)
        yield counter("dropped_bytes", "The same in bytes of frames.", self.dropped_bytes)
        yield counter("reading_pauses", "How often a client was not read for a while.", self.pauses, "reason")
        yield counter("received_messages", "Messages from clients.", self.messages)
        yield counter("received_bytes", "Bytes from clients, after the handshake.", self.received)
        yield gauge("held_bytes", "Bytes of clients that are read more slowly than they send.", self.held)
        yield counter(
            "commands",
            "Commands of clients, by kind.",
            {"join": commands.joins, "leave": commands.leaves, "headers": commands.headers},
            "command",
        )
        yield counter("commands_ignored", "Messages of clients that are no command.", commands.ignored)
        yield gauge("commands_waiting", "Commands behind one that waits for PHP.", commands.waiting)
        text = "Memory of the commands that wait, in bytes."
        yield gauge("commands_waiting_bytes", text, commands.waiting_bytes)
        yield gauge("joins_waiting", "Joins that wait for PHP.", commands.joins_waiting)
        yield counter(
            "joins_refused", "Joins that were answered with #join.", commands.joins_refused, "reason"
        )
        yield counter(
            "leaves_refused", "Leaves that were answered with #leave.", commands.leaves_refused, "reason"
        )
        text = "Wishes for the histories of topics, by what became of them."
        yield counter("recoveries", text, commands.recoveries, "outcome")
        yield counter("replayed_messages", "Messages sent again to who came back.", commands.replayed)
        deflate = self.deflate
        yield counter("handshakes_deflated", "WebSockets that agreed on compression.", deflate.agreed)
        yield counter("compressed_messages", "Messages that were compressed.", deflate.messages)
        yield counter("compressed_bytes_saved", "Bytes that these became shorter.", deflate.saved)


def _label(code: int | None) -> str:
    """A close code as a label; of the 2,000 that are free for clients to use there are only two."""
    if code is None:
        code = CloseCode.ABNORMAL_CLOSURE
    return f"{code // 1000}xxx" if code >= 3000 else str(int(code))
