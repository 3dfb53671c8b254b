"""The answers to refused requests, from the moment in which they are written until their connections close.

An honest client takes its refusal and closes within a round trip. One that does not read makes the server
hold the answer, and with TLS nobody can tell how much of that the kernel has taken. So an answer counts as a
whole until its socket is closed, although equal ones that follow one another are held once. When all of them
together are too much, those are cut who were answered first: they have had the longest time to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rr_py_ws import logs
from rr_py_ws.adapters.net.transports import peer_of
from rr_py_ws.metrics import Sample, counter, gauge

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.ending import Ending

REFUSALS = (
    "path",
    "plain",
    "origin",
    "authorization",
    "unanswered",
    "upgrade",
    "head",
    "connections",
    "address",
    "busy",
    "stopping",
)
"""Why a request is refused: those of listener and limiter, and those of the handlers.

`plain`: it came without TLS, and `http.ssl.redirect` sends it on.
`unanswered`: PHP should have decided and could not. `connections`, `address`: no place in the limiter.
`busy`: the turn of the request did not come in time.
"""

log = logs.get_limited("websockets")


class Refusals:
    """Refused connections that are not closed yet, the one that was answered first before the others.

    Args:
        limit: bytes of all their answers together; over it, the oldest connections are cut.

    Attributes:
        limit: the same; it may change.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._sizes: dict[Ending, int] = {}
        self._bytes = 0
        self._cut = 0
        self._last = b""

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        text = "Bytes of answers to refused requests whose connections are not closed yet."
        yield gauge("refusal_bytes", text, self._bytes)
        yield counter("refusals_cut", "Refused connections cut because of limits.refusal_memory.", self._cut)

    def share(self, answer: bytes) -> bytes:
        """Return the last answer when this one is equal: PHP refuses many with the same page."""
        if answer != self._last:
            self._last = answer
        return self._last

    def add(self, connection: Ending, size: int) -> None:
        """Take note that an answer of `size` bytes was written."""
        self._sizes[connection] = size
        self._bytes += size
        while self._bytes > self.limit:
            oldest = next(iter(self._sizes))
            self.discard(oldest)
            self._cut += 1
            remote = peer_of(oldest.socket)
            log.warning("refused connection cut, see websockets.limits.refusal_memory", remote=remote)
            oldest.cut()

    def discard(self, connection: Ending) -> None:
        """Take note that a connection is closed, whether it was refused or not."""
        self._bytes -= self._sizes.pop(connection, 0)
        if not self._sizes:
            self._last = b""
