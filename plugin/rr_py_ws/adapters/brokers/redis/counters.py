"""What one broker counts, for whoever shows metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Since the start.

    Attributes:
        published: messages that Redis has answered.
        publish_failures: messages that it has refused, or not answered.
        received: messages of subscribed topics.
        connections_lost: of either kind.
        gaps: how often messages may have been missed.
        gap_topics: for how many topics, all gaps together.
        subscriptions_refused: topics that Redis did not let us subscribe.
    """

    published: int = 0
    publish_failures: int = 0
    received: int = 0
    connections_lost: int = 0
    gaps: int = 0
    gap_topics: int = 0
    subscriptions_refused: int = 0
