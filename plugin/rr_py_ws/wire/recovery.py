"""What becomes of a client's wish to get what it has missed of a topic."""

from __future__ import annotations

from collections.abc import Sequence
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


class Recovery(NamedTuple):
    """What is kept of what a client wants of a topic.

    Attributes:
        position: where the replay begins, so of the newest publication when there is none; None for `off`.
        replay: what follows it, up to the newest publication.
        reason: see `Reason`.
    """

    position: Position | None
    replay: Sequence[Publication] = ()
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


OFF = Recovery(None, (), "off")
