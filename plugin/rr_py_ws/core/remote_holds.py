"""Holds of topics whose receivers are in other processes; see `backpressure`."""

from __future__ import annotations

from collections.abc import Callable

from rr_py_ws.core.hold import Hold, Topic


class RemoteHolds:
    """Holds the publishers of a topic as long as any of the listeners says so.

    Args:
        held: where publishers look for holds.
        now: a clock that does not go back.
    """

    def __init__(self, held: dict[Topic, Hold], now: Callable[[], float]) -> None:
        self._held = held
        self._now = now
        self._holders: dict[Topic, set[object]] = {}

    def begin(self, listener: object, topic: Topic) -> None:
        """Many receivers of the topic at a listener are behind."""
        self._holders.setdefault(topic, set()).add(listener)
        if topic not in self._held:
            hold = self._held[topic] = Hold(topic, self._now())
            hold.active = True

    def end(self, listener: object, topic: Topic) -> None:
        """They have caught up, or had their time."""
        holders = self._holders.get(topic)
        if holders is None or listener not in holders:
            return
        holders.discard(listener)
        if not holders:
            del self._holders[topic]
            self._held.pop(topic).release()

    def forget(self, listener: object) -> None:
        """The listener is gone."""
        for topic in [topic for topic, holders in self._holders.items() if listener in holders]:
            self.end(listener, topic)
