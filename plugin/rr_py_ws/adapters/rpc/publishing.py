"""The methods `Publish` and `PublishAsync`: from messages to brokers, at once or in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.metrics import RPCMetrics
from rr_py_ws.adapters.rpc.registry import TooDear
from rr_py_ws.adapters.rpc.turns import ELEMENT, LARGE, PAYLOAD_STEP, PIECE, TOPIC, Caller, CallTurns
from rr_py_ws.core.hold import Hold
from rr_py_ws.core.ports import Holds, Publisher
from rr_py_ws.errors import BrokerError, RPCError
from rr_py_ws.wire.elements import STEP, count_elements, is_one_message
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.publish import Message, check_name, decode_pieces
from rr_py_ws.wire.push import prepared

OPERATION = "broadcast_publish:\n\tbroadcast_plugin_publish"
"""What RoadRunner puts before the text of an error of `Publish`."""

_Run = Callable[[Awaitable[Any], Callable[[asyncio.Future[Any]], object]], object]

_limited = logs.get_limited("broadcast")


class Publishing:
    """Publishes what calls bring.

    Of the calls that are carried out in pieces only one is decoded and handed over at a time: what a decoder
    makes of its bytes is many times as large as they are.

    Args:
        publisher: takes what is published.
        run: lets something go on by itself (`Registry.run`).
        turns: what is published is charged to.
        max_elements: elements of one call, as `count_elements` counts.
        counters: of all listeners.
        holds: tells to which topics a call has to wait; without it, none does.
    """

    def __init__(
        self,
        publisher: Publisher,
        run: _Run,
        turns: CallTurns,
        max_elements: int,
        counters: RPCMetrics,
        holds: Holds | None = None,
    ) -> None:
        self._publisher = publisher
        self._holds = holds
        self._run = run
        self._turns = turns
        self._max_elements = max_elements
        self._counters = counters

    def publish(
        self, messages: Sequence[Message], handed_over: list[Awaitable[object]] | None = None
    ) -> Awaitable[object] | None:
        """Publish each message to each of its topics, in order; done when the brokers have accepted all.

        All messages are handed over before the first is waited for, so that pipelined calls keep their order.
        Empty topics are skipped.

        Args:
            messages: what is published.
            handed_over: gets what has to be waited for, when that is done elsewhere. Then the result is None,
                and an error is raised now.

        Raises (now, or from the awaitable):
            TooDear: it is too much for one turn, and not `handed_over` as a piece. Nothing was published.
            BrokerError: a broker refused; what was accepted stays published, the rest is not handed over.
        """
        if len(messages) != 1 or len(messages[0][1]) != 1:  # not the usual call
            self._charge(messages, is_piece=handed_over is not None)
        publish = self._publisher.publish
        later: list[Awaitable[object]] = [] if handed_over is None else handed_over
        try:
            for broker, topics, payload in messages:
                for topic in _without_empty(topics) if "" in topics else topics:
                    accepted = publish(broker, Publication(topic, payload))
                    # Brokers in memory answer at once; only those of a network make the call wait.
                    if accepted is not None:
                        later.append(accepted)
        except BrokerError as refusal:
            # Nothing is under way, so there is nothing to wait for before the error.
            if not later or handed_over is not None:
                raise
            return _all(later, refusal)
        if not later or handed_over is not None:
            return None
        return later[0] if len(later) == 1 else _all(later)  # no task for the usual single message

    def publish_one_async(self, publication: Publication) -> None:
        """Do what `publish_async` does with one message to one topic."""
        self.publish_async((Message("", (publication.topic,), publication.payload),))

    def publish_async(self, messages: Sequence[Message], *, is_piece: bool = False) -> None:
        """Publish without waiting; a topic that a broker refuses is logged and does not stop the rest.

        Raises:
            TooDear: it is too much for one turn, and no piece. Nothing was published.
        """
        if len(messages) != 1 or len(messages[0][1]) != 1:
            self._charge(messages, is_piece=is_piece)
        for broker, topics, payload in messages:
            for topic in _without_empty(topics) if "" in topics else topics:
                try:
                    accepted = self._publisher.publish(broker, Publication(topic, payload))
                except BrokerError as error:
                    _limited.error("async publish failed", error=str(error))
                else:
                    if accepted is not None:
                        self._run(accepted, _log_failure)

    def find_hold(self, messages: Sequence[Message]) -> Hold | None:
        """Return what a call waits for: any one of its topics holds all of it, so that it stays one call."""
        if self._holds is not None and self._holds.held:
            for broker, topics, _ in messages:
                hold = self._holds.find_hold(broker, topics)
                if hold is not None:
                    return hold
        return None

    def is_dear(self, codec: Flag, body: bytes) -> bool:
        """Whether a call is to be carried out in pieces, found out before anything is decoded.

        Raises:
            RPCError: there is less than the body announces.
        """
        if len(body) >= LARGE:
            return True
        if is_one_message(codec, body):
            return False
        found = 0
        for found in count_elements(codec, body):
            if found >= STEP:
                break
        self._turns.left -= ELEMENT * found
        return found >= STEP

    async def publish_in_pieces(
        self, codec: Flag, body: bytes, may_wait: bool, caller: Caller, *, has_broker: bool, wait: bool = True
    ) -> Hold | None:
        """Publish in pieces, between which others have their turns.

        Args:
            codec: of the body.
            body: the encoded argument. Only one is decoded at a time.
            may_wait: whether to do nothing when a topic is held, and return the hold.
            caller: who is charged.
            has_broker: which of the two services was called.
            wait: whether it is done when the brokers have accepted everything; or when they were given it.

        Raises:
            RPCError: there are too many elements, or the body cannot be decoded.
            BrokerError: as `publish`, with the names of RoadRunner's operations.
        """
        async with self._turns.alone(caller):
            messages = await self._decode(codec, body, caller, has_broker=has_broker)
            del body
            if may_wait and (hold := self.find_hold(messages)) is not None:
                return hold
            later, refusal = await self._hand_over(messages, caller, wait=wait)
        del messages  # an error keeps this frame for a while
        try:
            await _all(later, refusal)
        except BrokerError as error:
            raise error.within(OPERATION) from error
        return None

    def _charge(self, messages: Sequence[Message], *, is_piece: bool) -> None:
        """Charge what is about to be published, unless it is one message to one topic.

        That is what a call is charged with in any case, and so are its bytes.

        Raises:
            TooDear: it is more than a piece, and not one of several.
        """
        cost = _cost(messages)
        if cost > PIECE and not is_piece:
            self._turns.left -= ELEMENT * sum([1 + len(topics) for _, topics, _ in messages])
            raise TooDear
        self._turns.left -= cost

    async def _decode(self, codec: Flag, body: bytes, caller: Caller, *, has_broker: bool) -> list[Message]:
        """Decode everything, so that nothing is published of what is not sound.

        Raises:
            RPCError: there are too many elements, or the body cannot be decoded.
        """
        counted = 0
        for found in count_elements(codec, body):
            self._turns.left -= ELEMENT * (found - counted)
            counted = found
            if found > self._max_elements:
                raise self._too_many()
            await self._turns.next(caller)
        messages: list[Message] = []
        try:
            for piece in decode_pieces(codec, body, self._turns.charge_slow, has_broker=has_broker):
                for message in piece:
                    if message.topics:
                        for topic in message.topics:
                            check_name(topic)
                        messages.append(message)
                self._turns.left -= TOPIC * len(piece)
                await self._turns.next(caller)
        except RPCError:
            self._turns.charge_slow(len(body))  # to find out what is wrong
            raise
        return messages

    async def _hand_over(
        self, messages: Sequence[Message], caller: Caller, *, wait: bool
    ) -> tuple[list[Awaitable[object]], BrokerError | None]:
        """Give everything to the brokers; return what is to be waited for, and the refusal that ended it."""
        later: list[Awaitable[object]] = []
        for piece in _in_pieces(messages):
            try:
                if len(piece) == 1 and len(piece[0].payload) >= LARGE:
                    await self._hand_over_large(piece[0], caller, later if wait else None)
                elif wait:
                    self.publish(piece, later)
                else:
                    self.publish_async(piece, is_piece=True)
            except BrokerError as error:
                return later, error.with_traceback(None)
            await self._turns.next(caller)
        return later, None

    async def _hand_over_large(
        self, message: Message, caller: Caller, later: list[Awaitable[object]] | None
    ) -> None:
        """Give a message to the brokers; if somebody gets it here, encode its payload before, in pieces."""
        with prepared(message.payload) as steps:
            if self._publisher.is_heard(message.broker, message.topics):
                for _ in steps:
                    self._turns.left -= LARGE // 8
                    await self._turns.next(caller)
            if later is None:
                self.publish_async((message,), is_piece=True)
            else:
                self.publish((message,), later)

    def _too_many(self) -> RPCError:
        self._counters.oversized += 1
        limit = self._max_elements
        return RPCError(
            f"more than {limit} messages, topics and other fields (websockets.limits.rpc_elements)"
        )


def _cost(messages: Sequence[Message]) -> int:
    """Return the units of publishing messages: a payload is encoded for each topic."""
    each = [1 + len(topics) * (1 + len(payload) // PAYLOAD_STEP) for _, topics, payload in messages]
    return TOPIC * sum(each)


def _in_pieces(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Divide messages, and the topics of one, into what can be published in one turn of the loop."""
    piece: list[Message] = []
    cost = 0
    for message in messages:
        for_each = TOPIC * (1 + len(message.payload) // PAYLOAD_STEP)
        step = max(1, PIECE // for_each)
        for start in range(0, len(message.topics), step):
            topics = message.topics[start : start + step]
            piece.append(message._replace(topics=topics))
            cost += TOPIC + len(topics) * for_each
            if cost >= PIECE:
                yield piece
                piece, cost = [], 0
    yield piece


async def _all(later: Sequence[Awaitable[object]], refusal: BrokerError | None = None) -> None:
    """Wait for everything that was handed over before it is told what failed, if anything did."""
    for outcome in (*await asyncio.gather(*later, return_exceptions=True), refusal):
        if isinstance(outcome, BaseException):
            raise outcome


def _without_empty(topics: Sequence[str]) -> Sequence[str]:
    _limited.warning("message with empty topic, skipping")
    return [topic for topic in topics if topic]


def _log_failure(done: asyncio.Future[Any]) -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        _limited.error("async publish failed", error=str(error) or type(error).__name__)
