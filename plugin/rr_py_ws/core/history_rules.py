"""Which topics have a history, and how much is kept of each."""

from __future__ import annotations

from collections.abc import Sequence

from rr_py_ws.config import HistoryRule
from rr_py_ws.wire.patterns import Patterns

_KNOWN = 4096
"""Topics whose rule is remembered,"""
_LONGEST_KNOWN = 128
"""and the characters that one of these has at most."""
_LEAST_LIFE = 24 * 3600.0
_LIVES = 10


def counter_life(rule: HistoryRule) -> float:
    """Return for how many seconds a counter outlives the last publication of its topic."""
    return max(_LIVES * rule.ttl, _LEAST_LIFE)


class HistoryRules:
    """The rules of `websockets.history`.

    Args:
        rules: in order; the first that fits a topic counts.
    """

    def __init__(self, rules: Sequence[HistoryRule] = ()) -> None:
        self._rules = [(Patterns(rule.topics), rule) for rule in rules]
        self._known: dict[str, HistoryRule | None] = {}

    def __bool__(self) -> bool:
        """Whether any topic can have a history."""
        return bool(self._rules)

    def find(self, topic: str) -> HistoryRule | None:
        """Return the rule of a topic; None when it has no history."""
        try:
            return self._known[topic]
        except KeyError:
            found = next((rule for patterns, rule in self._rules if patterns.fits(topic)), None)
        if len(topic) <= _LONGEST_KNOWN:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[topic] = found
        return found
