"""What one broker counts, for whoever shows metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rr_py_ws.metrics import Sample, counter, gauge


@dataclass(slots=True)
class RedisMetrics:
    """Since the start.

    Attributes:
        published: messages that Redis has answered.
        publish_failures: messages that it has refused, or not answered.
        received: messages of subscribed topics.
        connections_lost: of either kind.
        gaps: how often messages may have been missed.
        gap_topics: for how many topics, all gaps together.
        subscriptions_refused: topics that Redis did not let us subscribe.
        kept: messages that were published and kept in a history.
        unkept: messages of topics with a history that were delivered, and could not be kept.
        foreign: messages of topics with a history that others have published plainly.
        history_reads: questions for a history.
        history_failures: those that Redis could not answer.
        unanswered_bytes: what messages take that Redis has not answered, now.
        lingering: channels that are still subscribed though nobody is in them any more, now.
    """

    published: int = 0
    publish_failures: int = 0
    received: int = 0
    connections_lost: int = 0
    gaps: int = 0
    gap_topics: int = 0
    subscriptions_refused: int = 0
    kept: int = 0
    unkept: int = 0
    foreign: int = 0
    history_reads: int = 0
    history_failures: int = 0
    unanswered_bytes: int = 0
    lingering: int = 0

    def metrics(self, broker: str) -> Iterator[Sample]:
        """Tell all of them under the name of the broker."""
        for name, text, value in (
            ("published", "Messages that Redis has taken.", self.published),
            ("publish_failures", "Messages that Redis has not taken.", self.publish_failures),
            ("received", "Messages of subscribed topics.", self.received),
            ("connections_lost", "Connections to Redis that were lost.", self.connections_lost),
            ("gaps", "How often messages may have been missed.", self.gaps),
            ("gap_topics", "Topics in all gaps together.", self.gap_topics),
            ("subscriptions_refused", "Topics that could not be subscribed.", self.subscriptions_refused),
            ("history_kept", "Messages that Redis has kept in a history.", self.kept),
            ("history_unkept", "Messages delivered that could not be kept in their history.", self.unkept),
            ("history_foreign", "Messages without a position in topics with a history.", self.foreign),
            ("history_reads", "Histories that Redis was asked for.", self.history_reads),
            ("history_failures", "Histories that Redis could not tell.", self.history_failures),
        ):
            yield counter(f"redis_{name}", text, {broker: value}, "broker")
        for name, text, value in (
            ("unanswered_bytes", "Memory of messages that Redis has not answered.", self.unanswered_bytes),
            ("lingering", "Subscribed channels that nobody is in any more.", self.lingering),
        ):
            yield gauge(f"redis_{name}", text, {broker: value}, "broker")
