"""Topics with a history, as Redis knows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rr_py_ws.adapters.brokers.redis.names import HistoryNames, is_in_one_slot
from rr_py_ws.config import HistoryRule, RedisOptions
from rr_py_ws.core.history_rules import HistoryRules, counter_life

_MOST_KNOWN = 4096
"""Topics whose names in Redis are remembered."""
_NODE = 100
"""Messages that Redis keeps together (`stream-node-max-entries`)."""
NO_OFFSET = 2**53
"""After it there is nothing."""


class Topic(NamedTuple):
    """A topic with a history, as Redis knows it.

    Attributes:
        name: what clients call it.
        channel: what Redis calls it.
        names: of its keys.
        rule: of its history.
        keys: of stream and hash.
        settings: what the script that keeps messages is told of the rule.
    """

    name: str
    channel: bytes
    names: HistoryNames
    rule: HistoryRule
    keys: tuple[bytes, bytes]
    settings: tuple[bytes, ...]


class Topics:
    """Finds what has to be known of a topic.

    Args:
        rules: what is kept of which topic.
        channel_of: names the channel of a topic.
        options: of the broker.
    """

    def __init__(
        self, rules: HistoryRules, channel_of: Callable[[str], bytes], options: RedisOptions
    ) -> None:
        self._rules = rules
        self._channel_of = channel_of
        self._is_cluster = options.cluster
        self._known: dict[str, Topic | None] = {}

    def find(self, topic: str) -> Topic | None:
        """Return what has to be known of a topic; None when it has no history."""
        try:
            return self._known[topic]
        except KeyError:
            found = self._make(topic)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[topic] = found
        return found

    def _make(self, topic: str) -> Topic | None:
        rule = self._rules.find(topic)
        if rule is None:
            return None
        channel = self._channel_of(topic)
        if self._is_cluster and not is_in_one_slot(channel):
            return None
        names = HistoryNames(channel)
        return Topic(topic, channel, names, rule, (names.stream, names.meta), _settings(rule))


def _settings(rule: HistoryRule) -> tuple[bytes, ...]:
    # To drop whole nodes of the stream takes Redis a third of the time of dropping one message after another.
    exactly = b"~" if rule.size >= _NODE else b"="
    life = milliseconds(counter_life(rule))
    return (b"%d" % rule.size, b"%d" % rule.bytes, b"%d" % milliseconds(rule.ttl), exactly, b"%d" % life)


def milliseconds(seconds: float) -> int:
    """Round to a number that Redis takes."""
    return max(1, min(round(seconds * 1000), NO_OFFSET))
