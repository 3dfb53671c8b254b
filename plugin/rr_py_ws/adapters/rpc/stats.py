"""What the RPC servers count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rr_py_ws.metrics import Sample, counter, gauge

_UNKNOWN = b"unknown"
"""Stands for every method that there is not: a caller must not be able to make up time series."""


@dataclass(slots=True)
class RPCStats:
    """Plain numbers since the start of the process.

    Attributes:
        connections: open ones, now.
        answered: full name of a method -> calls with a result.
        failed: the same for calls with an error.
        refused: connections closed at once, because there were enough.
        bad_frames: connections closed because they sent something that is no RPC frame.
        slow_frames: connections closed because a frame did not arrive in time.
        oversized: calls that were larger than the limit.
        unfinished: bytes of frames that have arrived in part, now.
    """

    connections: int = 0
    answered: dict[bytes, int] = field(default_factory=dict)
    failed: dict[bytes, int] = field(default_factory=lambda: {_UNKNOWN: 0})
    refused: int = 0
    bad_frames: int = 0
    slow_frames: int = 0
    oversized: int = 0
    unfinished: int = 0

    def add_method(self, method: bytes) -> None:
        """Begin to count a method."""
        self.answered[method] = self.failed[method] = 0

    def count_failure(self, method: bytes) -> None:
        """Count a call that was answered with an error."""
        self.failed[method if method in self.failed else _UNKNOWN] += 1

    def metrics(self) -> Iterator[Sample]:
        """See `metrics.MetricSource`."""
        yield gauge("rpc_connections", "Open RPC connections.", self.connections)
        yield gauge("rpc_unfinished_bytes", "RPC frames that have arrived in part.", self.unfinished)
        calls: dict[tuple[str, ...], float] = {
            (method.decode(), result): count
            for result, methods in (("ok", self.answered), ("error", self.failed))
            for method, count in methods.items()
        }
        yield counter("rpc_calls", "RPC calls that were answered.", calls, "method", "result")
        for name, text, value in (
            ("rpc_connections_refused", "RPC connections closed at once: there were enough.", self.refused),
            ("rpc_bad_frames", "RPC connections closed for what is no frame.", self.bad_frames),
            ("rpc_slow_frames", "RPC connections closed for a frame that did not arrive.", self.slow_frames),
            ("rpc_oversized", "RPC calls refused because they were too large.", self.oversized),
        ):
            yield counter(name, text, value)
