"""A publisher and clients of a topic with a history, who know what they must be told."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from contextlib import suppress

from rr_py_ws.errors import BrokerError
from support.history_node import HistoryNode
from support.waiting import eventually


class Publisher:
    """Publishes numbers to a topic, one after another.

    Attributes:
        accepted: those that Redis has answered for.
        lost: of these, those that were in no copy when a server failed, or may not have been.
        is_in_doubt: whether what is accepted now may be lost.
    """

    def __init__(self, node: HistoryNode, topic: str = "h") -> None:
        self._node = node
        self.topic = topic
        self._next = 0
        self.accepted: list[int] = []
        self.lost: set[int] = set()
        self.is_in_doubt = False

    async def publish(self, count: int = 1) -> None:
        for _ in range(count):
            self._next = number = self._next + 1
            with suppress(BrokerError):
                if await self._node.keep(self.topic, b"%d" % number):
                    self.accepted.append(number)
                    if not self.is_in_doubt:
                        continue
                self.lost.add(number)  # delivered, and maybe in no history

    def has_kept(self, number: int) -> bool:
        """Whether a number is in the history: Redis has answered for it, and has not lost it."""
        at = bisect_left(self.accepted, number)
        return self.accepted[at : at + 1] == [number] and number not in self.lost

    async def publish_accepted(self) -> int:
        """Publish until Redis has answered for one: a node may not know yet that its connection is broken."""
        before = len(self.accepted)

        async def is_accepted() -> bool:
            await self.publish()
            return len(self.accepted) > before

        await eventually(is_accepted, "a publish")
        return self.accepted[-1]


class Client:
    """Has what it was sent, and checks that nothing is missing that it was not told of.

    Args:
        publisher: of the messages.
        by_bus: whether servers tell each other what was published, as in a cluster. Then what is in no
            history may come late, or once more by the next server (docs/recovery.md).

    Attributes:
        skipped: what is missing and was lost, and that the client was not told of yet.
        recovered: how often nothing was missing.
    """

    def __init__(self, publisher: Publisher, *, by_bus: bool = False) -> None:
        self._publisher = publisher
        self._by_bus = by_bus
        self._node: HistoryNode | None = None
        self._seen = 0
        self._last = 0
        self._position: str | None = None
        self.skipped: set[int] = set()
        self.recovered = 0

    async def join(self, node: HistoryNode) -> None:
        found = await node.recover(self._publisher.topic, self._position or 0)
        self._node, self._seen = node, len(node.received)
        if found.reason or self._position is None:
            self._last = 0
            self.skipped.clear()
        else:
            self.recovered += 1
        for publication in found.replay:
            self._take(int(publication.payload), publication.position)
        if not found.replay and found.position is not None:
            self._position = found.position

    def leave(self) -> None:
        """Read what has come since the join."""
        assert self._node is not None
        positions = {publication.payload: publication.position for publication in self._node.pushed}
        for topic, payload in self._node.received[self._seen :]:
            if topic == self._publisher.topic and payload is None:
                self._last = 0
                self.skipped.clear()
            elif topic == self._publisher.topic and payload is not None:
                self._take(int(payload), positions.get(payload))
        self._seen = len(self._node.received)

    def _take(self, number: int, position: str | None) -> None:
        if self._by_bus and position is None and not self._publisher.has_kept(number):
            self.skipped.discard(number)
            return
        where = f"{self._publisher.topic}, {position} behind {self._position}"
        assert number > self._last, f"{number} after {self._last}: doubled or out of order ({where})"
        if self._last:
            accepted = self._publisher.accepted  # in order
            missing = set(accepted[bisect_right(accepted, self._last) : bisect_left(accepted, number)])
            assert missing <= self._publisher.lost, (
                f"{missing - self._publisher.lost} are missing at {number} ({where})"
            )
            self.skipped |= missing
        self._last = number
        self._position = position or self._position
