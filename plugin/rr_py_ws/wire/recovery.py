"""What becomes of a client's wish to get what it has missed of a topic."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Literal, NamedTuple

from rr_py_ws.wire.publication import Position, Publication

Reason = Literal["", "epoch", "trimmed", "limit", "ahead", "off"]
"""Why something may be missing; empty when nothing is.

* `epoch`: the position is one of another history of the topic, or none at all
* `trimmed`: not all that came after it is kept any more
* `limit`: more came after it than may be sent at once
* `ahead`: there is nothing yet where it stands
* `off`: the topic has no history, or none that can be read now
"""


_exclude_of = attrgetter("exclude")


class Missed(tuple[Publication, ...]):
    """Publications that follow a position: one object for all clients that come back there.

    Attributes:
        size: bytes of the payloads.
        excludes: whether any of them names somebody who does not get it.
    """

    size: int
    excludes: bool
    _hash: int

    def __new__(cls, publications: Iterable[Publication]) -> Missed:
        """What all clients would look for is looked for once."""
        missed = super().__new__(cls, publications)
        missed.size = sum([len(publication.payload) for publication in missed])
        missed.excludes = any(map(_exclude_of, missed))
        missed._hash = tuple.__hash__(missed)
        return missed

    def __hash__(self) -> int:
        """Return the hash of the tuple."""
        return self._hash


NOTHING = Missed(())


class Recovery(NamedTuple):
    """What is kept of what a client wants of a topic.

    Attributes:
        position: where the replay begins, so of the newest publication when there is none; None for `off`.
        replay: what follows it, up to the newest publication.
        reason: see `Reason`.
    """

    position: Position | None
    replay: Missed = NOTHING
    reason: Reason = ""


class Recovered(NamedTuple):
    """What a client is told of that.

    Attributes:
        topic: which one.
        position: see `Recovery.position`.
        replayed: how many messages follow for it as a replay.
        reason: see `Reason`.
    """

    topic: str
    position: Position | None
    replayed: int
    reason: Reason


OFF = Recovery(None, NOTHING, "off")
