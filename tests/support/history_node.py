"""A node with histories, and clients of it that come and go as clients with positions do."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from rr_py_ws.adapters.brokers.redis import RedisBroker
from rr_py_ws.config import HistoryRule, RedisOptions
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.recovery import Recovery
from support.broker_node import Node, started
from support.redis_nodes import OPTIONS

LIMIT = ReplayLimit(300, 512 * 1024)


class HistoryNode(Node):
    """Keeps what arrives with its position.

    Attributes:
        pushed: topic, payload and position of each message.
    """

    def __init__(self, broker: RedisBroker) -> None:
        super().__init__(broker)
        self.pushed: list[Publication] = []

    def on_publication(self, publication: Publication) -> None:
        super().on_publication(publication)
        if publication.topic in self.topics:
            self.pushed.append(publication)

    async def keep(self, topic: str, payload: bytes, **options: Any) -> Position | None:
        """Publish and return the position."""
        publication = Publication(topic, payload, exclude=options.pop("exclude", ()))
        receipt = self.broker.publish_once(publication, **options)
        return (await receipt if isinstance(receipt, Awaitable) else receipt).position

    async def join(self, wishes: Mapping[str, Wish]) -> dict[str, Recovery]:
        """Join as a client that has wishes."""
        subscribing = self.broker.subscribe(tuple(wishes))
        if subscribing is not None:
            await subscribing
        history = self.broker.history
        assert history is not None
        found = history.recover(wishes, LIMIT)
        synchronize = await found if isinstance(found, Awaitable) else found
        self.topics.update(wishes)
        return synchronize()

    async def recover(self, topic: str, wish: Wish) -> Recovery:
        return (await self.join({topic: wish}))[topic]

    def payloads(self, topic: str) -> list[bytes]:
        return [publication.payload for publication in self.pushed if publication.topic == topic]


def payloads(recovery: Recovery) -> list[bytes]:
    return [publication.payload for publication in recovery.replay]


class HistoryNodes:
    """Starts nodes, and closes them in the end."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> HistoryNodes:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(
        self,
        *addresses: str,
        rule: Mapping[str, Any] | None = None,
        rules: HistoryRules | None = None,
        sweep: float = 30.0,
        **options: Any,
    ) -> HistoryNode:
        """Start a node.

        `rule` is that of all topics but those that begin with `plain`, if there are no `rules`.
        """
        section = RedisOptions(addrs=addresses, **OPTIONS | options)
        settings = {"topics": ("h*",), "size": 100, "ttl": 60.0} | dict(rule or {})
        broker = RedisBroker(
            "default",
            section,
            check_interval=0.05,
            linger=0.1,
            rules=rules or HistoryRules([HistoryRule(**settings)]),
            sweep=sweep,
        )
        node = HistoryNode(broker)
        await self._stack.enter_async_context(started(broker, node))
        return node
