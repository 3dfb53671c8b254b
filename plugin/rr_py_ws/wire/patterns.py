"""Patterns of topics, in which `*` stands for any text, also none; of rules, and of what PHP allows."""

from __future__ import annotations

from collections.abc import Iterable


class Patterns:
    """Tells which topics fit any of some patterns.

    A topic is compared only with patterns that begin as it does: an application may allow thousands.

    Args:
        patterns: a text without a star fits only itself.

    Attributes:
        most_alike: how many with a star have the same text before it, at most. All these are compared.
    """

    __slots__ = ("_exact", "_lengths", "_starred", "most_alike")

    def __init__(self, patterns: Iterable[str]) -> None:
        exact: list[str] = []
        self._starred: dict[str, list[list[str]]] = {}
        for pattern in patterns:
            first, *rest = pattern.split("*")
            if rest:
                self._starred.setdefault(first, []).append(rest)
            else:
                exact.append(first)
        self._exact = frozenset(exact)
        self._lengths = tuple(sorted({len(first) for first in self._starred}))
        self.most_alike = max(map(len, self._starred.values()), default=0)

    def fits(self, topic: str) -> bool:
        """Whether a topic fits any of the patterns. Takes linear time for each, whatever the topic is."""
        if topic in self._exact:
            return True
        for length in self._lengths:
            if length > len(topic):
                break
            alike = self._starred.get(topic[:length], ())
            if any(_fits(topic, length, rest) for rest in alike):
                return True
        return False


def _fits(topic: str, at: int, rest: list[str]) -> bool:
    """Whether the texts between and behind the stars of a pattern fit a topic from a place on."""
    *middle, last = rest
    end = len(topic) - len(last)
    if at > end or not topic.endswith(last):
        return False
    for part in middle:  # the first place that fits leaves the most for those that follow
        at = topic.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
