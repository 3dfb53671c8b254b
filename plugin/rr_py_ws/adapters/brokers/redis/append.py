"""Messages that are kept in a history, and what becomes of them when they cannot be kept.

Such a message is delivered all the same, and the epoch of its topic has to end, so that nobody is told that
nothing is missing. Redis does that at once if it can. If not, this node and all that hear of the message owe
it, and see to it with the next question.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from random import getrandbits
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.batch import Batch, Final, as_it_is
from rr_py_ws.adapters.brokers.redis.calls import Argument, Call
from rr_py_ws.adapters.brokers.redis.connection import ErrorReply
from rr_py_ws.adapters.brokers.redis.marks import unkept_mark
from rr_py_ws.adapters.brokers.redis.names import HistoryNames
from rr_py_ws.adapters.brokers.redis.publisher import OVERHEAD
from rr_py_ws.adapters.brokers.redis.reconnect import Context
from rr_py_ws.adapters.brokers.redis.replies import unexpected
from rr_py_ws.adapters.brokers.redis.scripts import FORGET, ONCE
from rr_py_ws.adapters.brokers.redis.store import RedisStore, Servers
from rr_py_ws.adapters.brokers.redis.topics import NO_OFFSET, Topic, milliseconds
from rr_py_ws.core.history import KEY_LIFE, Receipt
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication

_PAID_AT_ONCE = 100

limited = logs.get_limited("broadcast")


class Appender:
    """Publishes messages of topics with a history.

    Args:
        context: what all connections of the broker share.
        store: where they are kept.
        servers: where they are published.
    """

    def __init__(self, context: Context, store: RedisStore, servers: Servers) -> None:
        self._section = context.name
        self._publish_word = b"SPUBLISH" if context.options.sharded else b"PUBLISH"
        self._queue_limit = context.options.publish_queue
        self._store = store
        self._servers = servers
        self._counters = context.counters
        self._interval = context.check_interval
        self._loop = asyncio.get_running_loop()
        self._payer: asyncio.Task[None] | None = None
        self._open: Batch | None = None

    def append(
        self,
        topic: Topic,
        publication: Publication,
        key: str = "",
        answer: Callable[[Receipt], Any] = as_it_is,
    ) -> Future[Any]:
        """Keep a message and publish it; or publish it only, if it cannot be kept and has no key.

        What is appended to one topic in one turn of the loop, and nothing else published in between, is one
        run of the script.

        Args:
            topic: of the message.
            publication: the message.
            key: an idempotency key, if it is not empty.
            answer: makes the result of the future.

        Raises (now, or from the future):
            BrokerError: it was not published, or nobody knows.
        """
        final = Final(self._loop.create_future(), answer)
        batch, counters = self._open, self._counters
        if (
            batch is not None
            and batch.topic is topic
            and batch.is_open
            and not key
            and counters.unanswered_bytes <= self._queue_limit
        ):
            batch.add(publication, final)
            counters.unanswered_bytes += len(publication.payload) + OVERHEAD
        else:
            self._begin(topic, publication, key, final)
        return final.future

    def _begin(self, topic: Topic, publication: Publication, key: str, final: Final) -> None:
        batch = Batch(topic, self._prepare, topic.names.once(key) if key else b"")
        batch.add(publication, final)
        self._open = batch
        try:
            answered = partial(self._answered, batch, batch.size + OVERHEAD)
            self._servers.run_then(topic.channel, batch, answered)
        except BrokerError:
            self._open = None
            if key:
                raise
            self._deliver(batch)

    def end_batch(self) -> None:
        """What is published next is not published before what was appended: it is a batch of its own."""
        self._open = None

    def _prepare(self, batch: Batch) -> Sequence[Argument]:
        topic, store = batch.topic, self._store
        batch.debt = debt = store.owed.find(topic.name)
        arguments = store.arguments(topic, debt.epoch if debt else "", store.newest.unverified(topic.name))
        return (*arguments, *topic.settings, getrandbits(31) or 1)

    def publish_unkept(self, topic: Topic, publication: Publication) -> Future[None]:
        """Publish a message that is in no history, whose topic has one.

        Raises (now, or from the future):
            BrokerError: it was not published, or nobody knows.
        """
        self.end_batch()
        if publication.exclude:
            mark = unkept_mark(publication.payload, publication.exclude)
            self._servers.publish_beside(topic.names.marks, mark).add_done_callback(_look_at)
        return self._servers.publish_beside(topic.channel, publication.payload)

    def publish_unkept_once(self, topic: Topic, publication: Publication, key: str) -> Future[Receipt]:
        """Publish a message that is in no history, whose topic has one, if none was under this key.

        Raises (now, or from the future):
            BrokerError: it was not published, or nobody knows.
        """
        self.end_batch()
        payload, marks = publication.payload, topic.names.marks
        mark = unkept_mark(payload, publication.exclude) if publication.exclude else b""
        arguments = (milliseconds(KEY_LIFE), self._publish_word, topic.channel, payload, marks, mark)
        final = Final(self._loop.create_future())
        running = self._servers.run(topic.channel, Call(ONCE, [topic.names.once(key)], arguments))
        running.add_done_callback(partial(self._published_once, final))
        return final.future

    async def publish_plain_once(self, channel: bytes, payload: bytes, key: str) -> Receipt:
        """Publish a message of a topic without a history, if none was under this key.

        Raises:
            BrokerError: it was not published, or nobody knows.
        """
        keys = [HistoryNames(channel).once(key)]
        # Two steps, for such messages may go another way than scripts, on which their order is kept.
        _, is_duplicate = await self._servers.run(channel, Call(ONCE, keys, [milliseconds(KEY_LIFE)]))
        if not is_duplicate:
            self.end_batch()
            try:
                await self._servers.publish(channel, payload)
            except BrokerError:
                with suppress(BrokerError):
                    await self._servers.run(channel, Call(FORGET, keys, ()))
                raise
        return Receipt(None, bool(is_duplicate))

    async def close(self) -> None:
        """End."""
        if self._payer is not None:
            self._payer.cancel()
            await asyncio.wait([self._payer])

    # What comes of it

    def _answered(self, batch: Batch, first: int, reply: Any) -> None:
        if self._open is batch:
            self._open = None
        # Of the first message, whoever has run the script keeps the account.
        self._counters.unanswered_bytes -= batch.size + OVERHEAD * len(batch.messages) - first
        try:
            match reply:
                case [None | bytes() as position, bytes() as why, int() as flag]:
                    self._take(batch, position, why, flag)
                case ErrorReply() if not batch.has_key:
                    self._count_unkept(batch, reply.text)
                    self._deliver(batch)
                case _:
                    self._counters.publish_failures += len(batch.messages)
                    batch.fail(reply if isinstance(reply, BrokerError) else unexpected("EVALSHA", reply))
        except BrokerError as problem:
            batch.fail(problem)

    def _take(self, batch: Batch, position: bytes | None, why: bytes, flag: int) -> None:
        """Read the answer of the script."""
        topic, messages = batch.topic, batch.messages
        if position is None:
            self._count_unkept(batch, why.decode(errors="replace"))
            if not flag:
                self._owe(topic)
            for _, final in messages:
                final.set(Receipt())
            return
        if flag:
            messages[0][1].set(Receipt(position.decode(), duplicate=True))
            return
        self._counters.kept += len(messages)
        self._counters.published += len(messages)
        self._store.newest.see(topic.name, position)
        self._store.owed.settle(topic.name, batch.debt)
        epoch, last, nonce = position.decode().split(".")
        offset = int(last) - len(messages)
        for _, final in messages:
            offset += 1
            final.set(Receipt(f"{epoch}.{offset}.{nonce}"))

    def _published_once(self, final: Final, running: Future[Any]) -> None:
        if error := running.exception():
            self._counters.publish_failures += 1
            final.fail(error)
            return
        position, is_duplicate = running.result()
        self._counters.published += not is_duplicate
        final.set(Receipt(position.decode() or None, bool(is_duplicate)))

    # What cannot be kept

    def _deliver(self, batch: Batch) -> None:
        """Publish messages that cannot be kept; all that are there are told before."""
        topic = batch.topic
        self._servers.publish_beside(topic.names.marks, b"lost").add_done_callback(_look_at)
        self._owe(topic)
        for publication, final in batch.messages:
            self.publish_unkept(topic, publication).add_done_callback(partial(_copy, final))

    def _count_unkept(self, batch: Batch, reason: str) -> None:
        self._counters.unkept += len(batch.messages)
        fields = {"section": self._section, "topic": batch.topic.name, "reason": reason}
        limited.warning("redis cannot keep a message in its history", **fields)

    def _owe(self, topic: Topic) -> None:
        self._store.owed.add(topic.name)
        self.pay()

    def pay(self) -> None:
        """Make up for what was not kept, as soon as it is possible."""
        if self._payer is None or self._payer.done():
            self._payer = self._loop.create_task(self._pay())

    async def _pay(self) -> None:
        while topics := self._store.owed.topics:
            await asyncio.sleep(self._interval)
            for at in range(0, len(topics), _PAID_AT_ONCE):
                asked = [self._end_epoch(topic) for topic in topics[at : at + _PAID_AT_ONCE]]
                await asyncio.gather(*asked)

    async def _end_epoch(self, topic: str) -> None:
        with suppress(BrokerError):
            await self._store.page(topic, NO_OFFSET, 0)


def _copy(final: Final, running: Future[None]) -> None:
    if error := running.exception():
        final.fail(error)
    else:
        final.set(Receipt())


def _look_at(source: Future[None]) -> None:
    source.exception()  # asyncio complains of one that nobody has looked at
