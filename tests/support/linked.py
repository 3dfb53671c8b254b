"""Both ends of a link in one process: a core with its node, and a listener's half of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence

from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.link.broker import LinkBroker
from rr_py_ws.adapters.link.core import Core
from rr_py_ws.adapters.link.listeners import Counted, Listeners
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.forwarder import Forwarder
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.node import Node
from rr_py_ws.core.ports import Broker, QuestionPool
from rr_py_ws.wire.publication import Publication


class CoreProcess:
    """What the core process is to its listeners.

    Attributes:
        node: with the brokers.
        listeners: those that are linked.
        paused: whether publishers have to wait.
        stuck: numbers of listeners that take nothing.
        ready: what listeners are told.
    """

    def __init__(
        self,
        brokers: Mapping[str, Broker] | None = None,
        pools: Mapping[str, QuestionPool] | None = None,
        wanted: int = 1,
        counted: Counted | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.backpressure = Backpressure(loop.call_later, loop.time, 1 << 20, lambda *_: None)
        self.brokers = brokers or {"default": MemoryBroker()}
        self.node = Node(self.brokers, next(iter(self.brokers)), loop.call_soon, self.backpressure, Forwarder)
        self.paused = False
        self.stuck: list[int] = []
        self.ready = True
        self.listeners = Listeners(
            wanted,
            self.node,
            pools or {},
            self.backpressure,
            lambda: self.ready,
            self._pause,
            self.stuck.append,
            has_pages=False,
            counted=counted,
        )

    def _pause(self, paused: bool) -> None:
        self.paused = paused

    async def link(self, core: Core, number: int = 1) -> None:
        """Connect a listener."""
        ours, theirs = socket.socketpair()
        for one in (ours, theirs):
            one.setblocking(False)
        await self.listeners.connect(number, ours)
        await core.connect(theirs)

    async def close(self) -> None:
        """End, with all links."""
        await self.listeners.end(5.0)
        await self.node.close()


class LinkedBroker(LinkBroker):
    """A broker behind a link, whose core starts and ends with it.

    Args:
        broker: in the core.
        rules: which topics have a history.
    """

    def __init__(self, broker: Broker, rules: HistoryRules | None = None) -> None:
        self.core = Core(lambda: None)
        super().__init__("default", 0, self.core, rules or HistoryRules())
        self._broker = broker
        self.process: CoreProcess | None = None

    async def start(
        self, on_publication: Callable[[Publication], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        self.process = CoreProcess({"default": self._broker})
        await self.process.node.start()
        self.core.handlers["end"] = self.core.close
        await self.process.link(self.core)
        await super().start(on_publication, on_gap)

    async def close(self) -> None:
        await super().close()
        if self.process is not None:
            process, self.process = self.process, None
            await process.close()
