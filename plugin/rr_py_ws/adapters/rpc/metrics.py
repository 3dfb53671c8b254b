"""What the RPC listeners count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rr_py_ws.metrics import Sample, counter, gauge

UNKNOWN = b"unknown"
"""Stands for every method that is not ours: a caller must not be able to make up time series."""


@dataclass(slots=True)
class RPCMetrics:
    """Plain numbers since the start of the process.

    Attributes:
        connections: open ones, now.
        answered: full name of a method -> calls with a result.
        failed: the same for calls with an error.
        refused: connections closed at once, because there were enough.
        accept_failures: how often the system had no file descriptor or memory left for a connection.
        bad_frames: connections closed because they sent something that is not an RPC frame.
        slow_frames: connections closed because a frame did not arrive in time.
        oversized: calls that were larger than a limit, in bytes or elements.
        unread: connections closed because all replies that were not read took too much memory.
        abandoned: large calls that were dropped, because their publishers had left.
        partial_bytes: of frames that have arrived in part, of calls that are held and of large calls that are
            not answered yet, now.
        held: calls that wait for receivers of a topic, or for RoadRunner, now.
    """

    connections: int = 0
    answered: dict[bytes, int] = field(default_factory=dict)
    failed: dict[bytes, int] = field(default_factory=lambda: {UNKNOWN: 0})
    refused: int = 0
    accept_failures: int = 0
    bad_frames: int = 0
    slow_frames: int = 0
    oversized: int = 0
    unread: int = 0
    abandoned: int = 0
    partial_bytes: int = 0
    held: int = 0

    def metrics(self) -> Iterator[Sample]:
        """Yield everything but the calls that are running."""
        yield gauge("rpc_connections", "Open RPC connections.", self.connections)
        yield gauge("rpc_unfinished_bytes", "RPC frames in part, and calls that wait.", self.partial_bytes)
        yield gauge("rpc_calls_held", "RPC calls that wait for receivers, or for RoadRunner.", self.held)
        calls: dict[tuple[str, ...], float] = {
            (method.decode(), result): count
            for result, methods in (("ok", self.answered), ("error", self.failed))
            for method, count in methods.items()
        }
        yield counter("rpc_calls", "RPC calls that were answered.", calls, "method", "result")
        for name, text, value in (
            ("rpc_connections_refused", "RPC connections closed at once: there were enough.", self.refused),
            ("rpc_accept_failures", "Failed attempts to accept RPC connections.", self.accept_failures),
            ("rpc_bad_frames", "RPC connections closed for what is not a frame.", self.bad_frames),
            ("rpc_slow_frames", "RPC connections closed for a frame that did not arrive.", self.slow_frames),
            ("rpc_oversized", "RPC calls refused because they were too large.", self.oversized),
            ("rpc_abandoned", "Large RPC calls dropped: their publishers had left.", self.abandoned),
            ("rpc_unread", "RPC connections closed for replies that were not read.", self.unread),
        ):
            yield counter(name, text, value)


@dataclass(slots=True)
class ForwardMetrics:
    """Plain numbers of what is sent on to RoadRunner, since the start of the process.

    Attributes:
        sent: calls that were sent on.
        connects: connections that were made; all but the first are reconnects.
        failed: why -> calls without an answer of RoadRunner: it was `away`, it was `full` and the call could
            not wait, or the connection was `lost` before the answer.
    """

    sent: int = 0
    connects: int = 0
    failed: dict[str, int] = field(default_factory=lambda: {"away": 0, "full": 0, "lost": 0})

    def metrics(self) -> Iterator[Sample]:
        """Yield everything."""
        yield counter("rpc_forwarded", "RPC calls sent on to RoadRunner.", self.sent)
        text = "RPC calls for RoadRunner that it did not answer."
        yield counter("rpc_forward_failures", text, self.failed, "reason")
        text = "Connections to RoadRunner's RPC that were made again."
        yield counter("rpc_forward_reconnects", text, max(0, self.connects - 1))
