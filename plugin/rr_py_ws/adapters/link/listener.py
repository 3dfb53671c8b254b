"""One listener process, as the core process has it.

To the core's node it is a subscriber of each broker: of the topics that somebody at the listener is in. The
hubs gather what is for it in a turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from rr_py_ws.adapters.link.body_file import Place, map_file
from rr_py_ws.adapters.link.connection import DOWN, Link
from rr_py_ws.adapters.net.withdrawable import Withdrawable, do_nothing
from rr_py_ws.core.history import Query, Receipt, Synchronize
from rr_py_ws.core.node import Node
from rr_py_ws.core.ports import Answer, AnswerParts, Lane, QuestionPool
from rr_py_ws.core.remote_holds import RemoteHolds
from rr_py_ws.core.replay import limit_recoveries
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.errors import BrokerError
from rr_py_ws.metrics import Metric
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.link import Plain, pack_publications, pack_recoveries
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.worker import MappedQuestion, Message, Question


class Owner(Protocol):
    """Who looks after all listeners."""

    def listening(self, listener: Listener) -> None:
        """It accepts clients."""

    def full(self, listener: Listener, full: bool) -> None:
        """It takes nothing more, or has taken what waited."""

    def lost(self, listener: Listener) -> None:
        """Its process is gone."""


class LinkSubscriber:
    """Implements `Receiver`: a listener, in the hub of one broker."""

    def __init__(self, link: Link, broker: int) -> None:
        self._link = link
        self._broker = broker

    def forward(self, publications: Sequence[Publication]) -> None:
        """Write what has come in a turn; a link that is lost takes anything."""
        self._link.push(self._broker, publications)

    def missed(self, topics: Sequence[str]) -> None:
        """Have the listener tell its clients."""
        self._link.tell("gap", self._broker, list(topics))


class Listener:
    """What one listener may ask of the core, and what it has there.

    Args:
        number: of the process.
        owner: who looks after all of them.
        node: of the core.
        pools: name -> workers.
        holds: told of topics whose receivers are behind.

    Attributes:
        link: to its process.
        snapshot: what it has counted, as far as it was told.
        process: id of the process, when it has told the snapshot.
    """

    def __init__(
        self,
        number: int,
        owner: Owner,
        node: Node,
        pools: Mapping[str, QuestionPool],
        holds: RemoteHolds,
    ) -> None:
        self.number = number
        self.snapshot: list[Metric] = []
        self.process = 0
        self._node = node
        self._pools = pools
        self._holds = holds
        self._asking: dict[tuple[str, int], asyncio.Task[Any] | None] = {}
        self._parts: dict[tuple[str, int], AnswerParts] = {}
        handlers: dict[str, Callable[..., Any]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "publish": self._publish,
            "publish_once": self._publish_once,
            "settle": self._settle,
            "recover": self._recover,
            "read": self._read,
            "clear": self._clear,
            "ask": self._ask,
            "exec": self._exec,
            "exec_file": self._exec_file,
            "next_part": self._next_part,
            "stop_parts": self._stop_parts,
            "hold": lambda broker, topic: holds.begin(self, (broker, topic)),
            "release": lambda broker, topic: holds.end(self, (broker, topic)),
            "listening": partial(owner.listening, self),
        }
        self.link = Link(handlers, _no_batches, self._lost, partial(owner.full, self))
        self._owner = owner
        self._subscribers = {
            name: LinkSubscriber(self.link, place) for place, name in enumerate(sorted(node.brokers))
        }

    def _lost(self) -> None:
        for subscriber in self._subscribers.values():
            self._node.leave_all(subscriber)
        self._holds.forget(self)
        for parts in self._parts.values():
            parts.stop()
        self._owner.lost(self)

    # Brokers

    def _subscribe(self, broker: str, topics: list[str]) -> Awaitable[None] | None:
        # Not `Node.join`, which takes topics back when the broker refuses or when nobody waits any more: only
        # the listener knows whether another of its clients is in them, and unsubscribes what nobody is in.
        self._node.hub(broker).subscribe(self._subscribers[broker], topics)
        return self._node.brokers[broker].subscribe(topics)

    def _unsubscribe(self, broker: str, topics: list[str]) -> None:
        self._node.leave(self._subscribers[broker], broker, topics)

    def _publish(self, broker: str, publication: Plain) -> Plain:
        return self._node.publish(broker, Publication(*publication))

    async def _publish_once(self, broker: str, publication: Plain, key: str, skip_history: bool) -> Plain:
        receipt = self._node.publish_once(broker, Publication(*publication), key, skip_history=skip_history)
        return tuple(receipt if isinstance(receipt, Receipt) else await receipt)

    async def _settle(self, broker: str) -> None:
        await self._node.brokers[broker].settle()
        self._node.hub(broker).flush()

    # Histories

    def _recover(self, broker: str, wishes: dict[str, Wish], limit: Plain, size: int) -> Plain:
        history = self._node.history(broker)
        if history is None:
            raise BrokerError("no topic has a history")
        finding = history.recover(wishes, ReplayLimit(*limit))
        if isinstance(finding, Awaitable):
            return self._recover_later(broker, wishes, finding, size)
        return self._synchronize(broker, wishes, finding, size)

    async def _recover_later(
        self, broker: str, wishes: dict[str, Wish], finding: Awaitable[Synchronize], size: int
    ) -> Plain:
        return self._synchronize(broker, wishes, await finding, size)

    def _synchronize(
        self, broker: str, wishes: dict[str, Wish], synchronize: Synchronize, size: int
    ) -> Plain:
        # What has been published before is written first, so that nothing is there twice or is missing.
        self._node.hub(broker).flush()
        return pack_recoveries(limit_recoveries(wishes, synchronize(), size))

    async def _read(self, broker: str, topic: str, query: Plain) -> Plain:
        history = self._node.history(broker)
        if history is None:
            return (), None, "off"
        page = history.read(topic, Query(*query))
        found, position, reason = await page if isinstance(page, Awaitable) else page
        return pack_publications(found), position, reason

    async def _clear(self, broker: str, topic: str) -> Plain:
        history = self._node.history(broker)
        position = None if history is None else history.clear(topic)
        return await position if isinstance(position, Awaitable) else position

    # Workers

    def _ask(
        self,
        pool: str,
        context: bytes,
        body: bytes,
        limit: float,
        lane: int,
        wait: float | None,
        within: float,
    ) -> asyncio.Future[Plain]:
        asked = Withdrawable[Plain]()

        def on_answer(answer: Answer) -> None:
            asked.withdraw = do_nothing
            if asked.done():
                return
            if isinstance(answer, Message):
                asked.set_result(tuple(answer))
            else:
                asked.set_exception(answer)

        question = Message(context, body)
        withdraw = self._pools[pool].ask(
            question, on_answer, limit, lane=Lane(lane), wait=wait, within=within
        )
        if not asked.done():
            asked.withdraw = withdraw
        return asked

    async def _exec_file(self, pool: str, number: int, context: bytes, file: Place, limit: float) -> Plain:
        question = MappedQuestion(context, map_file(*file), -1)
        return await self._exec_question(pool, number, question, limit)

    async def _exec(self, pool: str, number: int, context: bytes, body: bytes, limit: float) -> Plain:
        return await self._exec_question(pool, number, Message(context, body), limit)

    async def _exec_question(self, pool: str, number: int, question: Question, limit: float) -> Plain:
        self._asking[pool, number] = asyncio.current_task()
        try:
            answer, parts = await self._pools[pool].exec_streamed(question, limit)
        except asyncio.CancelledError:  # withdrawn: the listener process waits for the word that it is over
            return (b"", b""), False
        finally:
            del self._asking[pool, number]
        if parts is not None:
            self._parts[pool, number] = parts
        return tuple(answer), parts is not None

    async def _next_part(self, pool: str, number: int) -> Plain:
        parts = self._parts.get((pool, number))
        if parts is None:  # those of a core that has ended
            raise BrokerError(DOWN)
        part = await parts.next_part()
        if part is not None:
            return tuple(part)
        self._parts.pop((pool, number), None)
        return None

    def _stop_parts(self, pool: str, number: int) -> None:
        if (asking := self._asking.get((pool, number))) is not None:
            asking.cancel()
        if (parts := self._parts.pop((pool, number), None)) is not None:
            parts.stop()


def _no_batches(_: int, __: object) -> None:
    pass
