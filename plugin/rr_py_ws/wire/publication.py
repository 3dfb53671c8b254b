"""What a broker carries: one message of one topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Position = str
"""Where a publication stands in the history of its topic; opaque to everybody but the broker."""


class Publication(NamedTuple):
    """One message of one topic, on its way from a publisher through a broker to the hubs.

    Attributes:
        topic: never empty.
        payload: any bytes, as published.
        position: set by a broker that keeps a history of the topic; None otherwise.
        time: when it was published, Unix seconds; 0.0 without a position.
        exclude: ids of connections, or names that clients gave themselves (`me`), that do not get it:
            usually the sender's.
    """

    topic: str
    payload: bytes
    position: Position | None = None
    time: float = 0.0
    exclude: tuple[str, ...] = ()


class Pushes(NamedTuple):
    """Encoded pushes that leave together: the same object for every subscriber that gets the same.

    Attributes:
        frames: whole frames, joined.
        topics: topic and number of messages of each run of them, in order.
    """

    frames: bytes
    topics: Sequence[tuple[str, int]]
