"""The service `push`: publishing with options and positions, and what is kept of topics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from rr_py_ws.adapters.rpc.registry import InPieces, Registry, TooDear
from rr_py_ws.adapters.rpc.turns import LARGE, PAYLOAD_STEP, PIECE, TOPIC, Caller
from rr_py_ws.core.history import Page, Query, Receipt
from rr_py_ws.core.hold import Hold
from rr_py_ws.core.ports import Holds, Publisher
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.push_service import (
    ClearHistoryRequest,
    HistoryRequest,
    HistoryResponse,
    Published,
    PublishRequest,
    PushMessage,
    check_publish_size,
    decode_clear,
    decode_history,
    decode_publish,
    encode_cleared,
    encode_history,
    encode_published,
)

_OFF = HistoryResponse((), None, "off")
_PUBLISH = 6 * TOPIC
"""Units of publishing to one topic: to keep a message, under a key, and to tell its position."""


class PushService:
    """The methods of the service.

    Args:
        publisher: takes what is published, and has the histories.
        registry: of which calls are charged.
        most: messages, and bytes of their payloads, in an answer of `History`.
        holds: tells to which topics a call has to wait; without it, none does.
    """

    def __init__(
        self, publisher: Publisher, registry: Registry, most: ReplayLimit, holds: Holds | None = None
    ) -> None:
        self._publisher = publisher
        self._turns = registry.turns
        self._most = most
        self._holds = holds
        in_pieces = InPieces(_is_dear, self.publish_in_pieces)
        registry.add(
            "push.Publish", decode_publish, self.publish, encode_published, "", self.find_hold, in_pieces
        )
        registry.add("push.History", decode_history, self.history, encode_history)
        registry.add("push.ClearHistory", decode_clear, self.clear, encode_cleared)

    def find_hold(self, request: PublishRequest) -> Hold | None:
        """Return what a call waits for: any one of its topics holds all of it."""
        if self._holds is not None:
            for message in request.messages:
                if hold := self._holds.find_hold(request.broker, message.topics):
                    return hold
        return None

    def publish(self, request: PublishRequest) -> list[Published] | Awaitable[list[Published]]:
        """Publish each message to each of its topics, in order; all are handed over before any is waited for.

        Raises (now, or from the awaitable):
            TooDear: it is too much for one turn. Nothing was published.
            BrokerError: a broker refused; what was accepted stays published, the rest is not handed over.
        """
        cost = sum(map(_cost, request.messages))
        if cost > PIECE:
            raise TooDear
        self._turns.left -= cost
        receipts: list[Receipt | Awaitable[Receipt]] = []
        refusal: BrokerError | None = None
        try:
            for message in request.messages:
                for topic in message.topics:
                    receipt = self._publish(request.broker, topic, message)
                    receipts.append(receipt)
        except BrokerError as error:
            refusal = error
        known = [receipt for receipt in receipts if isinstance(receipt, Receipt)]
        if len(known) < len(receipts):
            return _published_later(_topics(request), receipts, refusal)
        if refusal is not None:
            raise refusal
        return _published(_topics(request), known)

    async def publish_in_pieces(
        self, codec: Flag, body: bytes, may_wait: bool, caller: Caller
    ) -> Hold | list[Published]:
        """Do what `publish` does, with a topic at a time where the payload is large; see `InPieces`.

        Raises:
            RPCError: the body cannot be decoded.
            BrokerError: as `publish`.
        """
        receipts: list[Receipt | Awaitable[Receipt]] = []
        refusal: BrokerError | None = None
        async with self._turns.alone(caller):
            request = decode_publish(codec, body)
            del body
            if may_wait and (hold := self.find_hold(request)) is not None:
                return hold
            await self._turns.next(caller)
            left = PIECE
            try:
                for message in request.messages:
                    cost = _cost(message) // len(message.topics)
                    for topic in message.topics:
                        receipts.append(self._publish(request.broker, topic, message))
                        self._turns.left -= cost
                        left -= cost
                        if left <= 0:
                            left = PIECE
                            await self._turns.next(caller)
            except BrokerError as error:
                refusal = error.with_traceback(None)
        return await _published_later(_topics(request), receipts, refusal)

    def _publish(self, broker: str, topic: str, message: PushMessage) -> Receipt | Awaitable[Receipt]:
        publication = Publication(topic, message.payload, exclude=message.exclude)
        return self._publisher.publish_once(
            broker, publication, message.idempotency_key, skip_history=message.skip_history
        )

    def history(self, request: HistoryRequest) -> HistoryResponse | Awaitable[HistoryResponse]:
        """Read what is kept of a topic.

        Raises (now, or from the awaitable):
            BrokerError: it cannot be read now.
        """
        history = self._publisher.history(request.broker)
        if history is None:
            return _OFF
        limit = min(request.limit or self._most.messages, self._most.messages)
        query = Query(request.since, limit, request.reverse, self._most.size)
        page = history.read(request.topic, query)
        self._turns.left -= TOPIC * limit
        return HistoryResponse(*page) if isinstance(page, Page) else _read_later(page)

    def clear(self, request: ClearHistoryRequest) -> Position | Awaitable[Position | None] | None:
        """Drop what is kept of a topic.

        Raises (now, or from the awaitable):
            BrokerError: it cannot be done now.
        """
        history = self._publisher.history(request.broker)
        return None if history is None else history.clear(request.topic)


def _is_dear(_: Flag, body: bytes) -> bool:
    check_publish_size(body)
    return len(body) >= LARGE


def _cost(message: PushMessage) -> int:
    """Return the units of publishing a message to all of its topics."""
    return len(message.topics) * (_PUBLISH + TOPIC * (len(message.payload) // PAYLOAD_STEP))


def _topics(request: PublishRequest) -> list[str]:
    return [topic for message in request.messages for topic in message.topics]


def _published(topics: Sequence[str], receipts: Sequence[Receipt]) -> list[Published]:
    return [
        Published(topic, position, duplicate)
        for topic, (position, duplicate) in zip(topics, receipts, strict=True)
    ]


async def _published_later(
    topics: Sequence[str], receipts: Sequence[Receipt | Awaitable[Receipt]], refusal: BrokerError | None
) -> list[Published]:
    """Wait for everything that was handed over before it is told what failed, if anything did."""
    received: list[Receipt] = []
    for outcome in (*await asyncio.gather(*map(_receive, receipts), return_exceptions=True), refusal):
        if outcome is None:
            continue
        if isinstance(outcome, BaseException):
            raise outcome
        received.append(outcome)
    return _published(topics, received)


async def _receive(receipt: Receipt | Awaitable[Receipt]) -> Receipt:
    return receipt if isinstance(receipt, Receipt) else await receipt


async def _read_later(page: Awaitable[Page]) -> HistoryResponse:
    return HistoryResponse(*await page)
