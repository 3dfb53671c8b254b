"""What the core asks of a broker that keeps histories."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from rr_py_ws.core.ring import Entry, ReplayLimit, Ring
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.position import decode_position
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.recovery import Reason, Recovery

KEY_LIFE = 300.0
"""Seconds for which an idempotency key is known."""


class Receipt(NamedTuple):
    """What becomes of a publication.

    Attributes:
        position: that it got; None without a history.
        duplicate: whether it was published before under the same key, and so not now.
    """

    position: Position | None = None
    duplicate: bool = False


class Query(NamedTuple):
    """What is to be read of a history.

    Attributes:
        since: what came after this position; empty for everything that is kept.
        limit: most messages.
        newest_first: in that order, which also decides which ones are left out.
        size: most bytes of payloads; one message is answered however large it is.
    """

    since: Position = ""
    limit: int = 0
    newest_first: bool = False
    size: int = 512 * 1024

    def fit(self, entries: Sequence[Entry]) -> int:
        """Return how many of some publications, in the order that was asked for, are answered."""
        count, size = 0, self.size
        for entry in entries[: self.limit]:
            size -= len(entry.payload)
            if size < 0 and count:
                break
            count += 1
        return count


class Page(NamedTuple):
    """What was read.

    Attributes:
        publications: in the order that was asked for.
        position: of the newest publication of the topic; None for `off`.
        reason: why something is left out; empty when nothing is.
    """

    publications: Sequence[Publication]
    position: Position | None
    reason: Reason = ""


Recoveries = dict[str, Recovery]
Synchronize = Callable[[], Recoveries]
"""Returns what is kept of each topic up to what was handed to `on_publication` last."""


class History(Protocol):
    """What a broker keeps of topics that a rule of `websockets.history` fits."""

    def keeps(self, topic: str) -> bool:
        """Whether a topic has a history."""

    def recover(self, wishes: Mapping[str, Wish], limit: ReplayLimit) -> Synchronize | Awaitable[Synchronize]:
        """Find what clients get that join with a wish; the topics are subscribed. Does not fail.

        Args:
            wishes: topic -> wish, of topics that have a history or not.
            limit: for each topic.

        Returns (now, or from the awaitable):
            What is called in the moment in which the client is in the topics. It does not wait.
        """

    def read(self, topic: str, query: Query) -> Page | Awaitable[Page]:
        """Read what is kept of a topic.

        Raises (now, or from the awaitable):
            BrokerError: it cannot be read now.
        """

    def clear(self, topic: str) -> Position | Awaitable[Position | None] | None:
        """Drop what is kept of a topic; the counter stays. Returns the position of the newest publication.

        Raises (now, or from the awaitable):
            BrokerError: it cannot be done now.
        """


def read_ring(ring: Ring, topic: str, query: Query) -> Page:
    """Answer a query with what is in a ring."""
    reason: Reason = ""
    found = list(ring.entries)
    if query.since:
        position = decode_position(query.since)
        reason = ring.missing(position)
        if reason in ("epoch", "ahead"):
            return Page((), ring.position, reason)
        if position is not None:
            found = ring.after(position.offset)
    if query.newest_first:
        found.reverse()
    count = query.fit(found)
    if count < len(found):
        reason = reason or "limit"
    return Page([ring.publication(topic, entry) for entry in found[:count]], ring.position, reason)
