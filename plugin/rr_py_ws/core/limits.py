"""What one command may ask for, and all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLimits:
    """The limits that a session keeps; see `websockets.limits` in docs/configuration.md.

    Attributes:
        max_topics: topics that one client may be in, over all brokers.
        max_topics_per_command: topics that one join or leave may name, each time that it names them.
        max_topic_length: longest topic of a join, bytes of UTF-8.
        max_joins_waiting: joins of all clients that may wait for the authorizer.
    """

    max_topics: int = 1024
    max_topics_per_command: int = 1024
    max_topic_length: int = 1024
    max_joins_waiting: int = 4096

    def too_many_in_command(self, topics: Sequence[str]) -> str:
        """Say that a command names too many topics; nothing when it does not."""
        limit = self.max_topics_per_command
        return f"more than {limit} topics in a command" if len(topics) > limit else ""

    def too_long(self, topics: Sequence[str]) -> str:
        """Say that one of the topics is too long; nothing when none is."""
        limit = self.max_topic_length
        return f"a topic of more than {limit} bytes" if max(map(_length, topics), default=0) > limit else ""


def _length(topic: str) -> int:
    """Bytes that a client has sent for it; those that are no UTF-8 are surrogates here."""
    return len(topic) if topic.isascii() else len(topic.encode("utf-8", "surrogateescape"))
