"""Topics with a history, as Redis knows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rr_py_ws.adapters.brokers.redis.calls import pack_words
from rr_py_ws.adapters.brokers.redis.names import HistoryNames, is_in_one_slot
from rr_py_ws.config import HistoryRule, RedisOptions
from rr_py_ws.core.history_rules import HistoryRules, counter_life

_MOST_KNOWN = 4096
"""Topics whose names in Redis are remembered."""
_NODE = 100
"""Messages that Redis keeps together (`stream-node-max-entries`)."""
SETTINGS = 5
"""Words that a script is told of a rule."""
NO_OFFSET = 2**53
"""After it there is nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Topic:
    """A topic with a history, as Redis knows it.

    Attributes:
        name: what clients call it.
        channel: what Redis calls it.
        names: of its keys.
        rule: of its history.
        keys: of stream and hash, encoded for a command.
        channels: its own and that of its marks, encoded for a command.
        settings: what the script that keeps messages is told of the rule, encoded for a command.
    """

    name: str
    channel: bytes
    names: HistoryNames
    rule: HistoryRule
    keys: bytes
    channels: bytes
    settings: bytes


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
        keys, channels = pack_words(names.stream, names.meta), pack_words(channel, names.marks)
        return Topic(topic, channel, names, rule, keys, channels, _settings(rule))


def _settings(rule: HistoryRule) -> bytes:
    # To drop whole nodes of the stream takes Redis a third of the time of dropping one message after another.
    exactly = b"~" if rule.size >= _NODE else b"="
    ttl, life = milliseconds(rule.ttl), milliseconds(counter_life(rule))
    return pack_words(rule.size, rule.bytes, ttl, exactly, life)


def milliseconds(seconds: float) -> int:
    """Round to a number that Redis takes."""
    return max(1, min(round(seconds * 1000), NO_OFFSET))
