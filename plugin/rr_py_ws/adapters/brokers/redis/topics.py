"""Topics with a history, as Redis knows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rr_py_ws.adapters.brokers.redis.names import HistoryNames, is_in_one_slot
from rr_py_ws.config import HistoryRule, RedisOptions
from rr_py_ws.core.history import KEY_LIFE
from rr_py_ws.core.history_rules import HistoryRules

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
        settings: what the script that keeps messages is told of it.
    """

    name: str
    channel: bytes
    names: HistoryNames
    rule: HistoryRule
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
        self._publish_word = b"SPUBLISH" if options.sharded else b"PUBLISH"
        self._is_plain = b"0" if options.exclusive else b"1"
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
        settings = (self._publish_word, channel, names.marks, self._is_plain, *_settings(rule))
        return Topic(topic, channel, names, rule, settings)


def _settings(rule: HistoryRule) -> tuple[bytes, ...]:
    numbers = (rule.size, rule.bytes, milliseconds(rule.ttl), milliseconds(KEY_LIFE))
    # To drop whole nodes of the stream takes Redis a third of the time of dropping one message after another.
    return (*(b"%d" % number for number in numbers), b"~" if rule.size >= _NODE else b"=")


def milliseconds(seconds: float) -> int:
    """Round to a number that Redis takes."""
    return max(1, min(round(seconds * 1000), NO_OFFSET))
