"""Patterns of topics, in which `*` stands for any text, also none; of rules, and of what PHP allows."""

from __future__ import annotations

from collections.abc import Iterable


class Patterns:
    """Tells which topics fit any of some patterns.

    Args:
        patterns: a text without a star fits only itself.
    """

    __slots__ = ("_exact", "_starred")

    def __init__(self, patterns: Iterable[str]) -> None:
        parts = [pattern.split("*") for pattern in patterns]
        self._exact = frozenset(first for first, *rest in parts if not rest)
        self._starred = [part for part in parts if len(part) > 1]

    def fits(self, topic: str) -> bool:
        """Whether a topic fits any of the patterns. Takes linear time for each, whatever the topic is."""
        return topic in self._exact or any(_fits(topic, parts) for parts in self._starred)


def _fits(topic: str, parts: list[str]) -> bool:
    first, *middle, last = parts
    at, end = len(first), len(topic) - len(last)
    if at > end or not topic.startswith(first) or not topic.endswith(last):
        return False
    for part in middle:  # the first place that fits leaves the most for those that follow
        at = topic.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
