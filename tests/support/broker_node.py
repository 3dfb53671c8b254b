"""A started broker, and what came out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager

from rr_py_ws.core.ports import Broker
from rr_py_ws.wire.publication import Position, Publication


class Node:
    """Stands for the hub of one process.

    A broker may bring messages of topics that nobody asked for; the hub drops them, and so does this.

    Attributes:
        received: messages of subscribed topics.
        missed: topics of which messages may have been missed, as the broker tells; also noted in `received`,
            with None for the payload.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.topics: set[str] = set()
        self.received: list[tuple[str, bytes | None]] = []
        self.missed: list[str] = []
        self._came = asyncio.Event()

    def on_publication(self, publication: Publication) -> None:
        assert type(publication) is Publication
        assert isinstance(publication.topic, str)
        assert isinstance(publication.payload, bytes)
        if publication.topic in self.topics:
            self.received.append((publication.topic, publication.payload))
            self._came.set()

    def on_gap(self, topics: Sequence[str]) -> None:
        self.missed += topics
        self.received += [(topic, None) for topic in topics]
        self._came.set()

    async def subscribe(self, *topics: str) -> None:
        self.topics.update(topics)
        await done(self.broker.subscribe(topics))

    def unsubscribe(self, *topics: str) -> None:
        self.topics.difference_update(topics)
        self.broker.unsubscribe(topics)

    def send(self, topic: str, payload: bytes) -> Awaitable[Position | None] | Position | None:
        """Publish without waiting for the answer."""
        return self.broker.publish(Publication(topic, payload))

    async def publish(self, topic: str, payload: bytes) -> None:
        await done(self.send(topic, payload))

    async def wait_received(self, count: int) -> list[tuple[str, bytes | None]]:
        """Wait until so many have come."""
        while len(self.received) < count:
            self._came.clear()
            await self._came.wait()
        return self.received

    async def wait_for(self, *message: object) -> None:
        """Wait until this one has come."""
        seen = 0
        while message not in self.received[seen:]:
            seen = len(self.received)
            await self.wait_received(seen + 1)

    async def receive_all(self) -> list[tuple[str, bytes | None]]:
        """Wait until everything published so far is here, by sending one more message after it."""
        await self.subscribe("the end")
        await self.publish("the end", b"")
        await self.wait_for("the end", b"")
        self.received.remove(("the end", b""))
        return self.received


async def done(answer: Awaitable[Position | None] | Position | None) -> None:
    """Wait for an answer that may be there already, and that has nothing more to say."""
    if answer is not None:
        assert not isinstance(answer, Position)
        assert await answer is None


@asynccontextmanager
async def started(broker: Broker, node: Node | None = None) -> AsyncIterator[Node]:
    """A node that runs."""
    node = node or Node(broker)
    await broker.start(node.on_publication, node.on_gap)
    try:
        yield node
    finally:
        await broker.close()
