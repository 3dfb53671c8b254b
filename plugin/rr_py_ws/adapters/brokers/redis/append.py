"""Messages that are kept in a history, and what becomes of them when they cannot be kept.

Such a message is delivered all the same, and the epoch of its topic has to end, so that nobody is told that
nothing is missing. Redis does that at once if it can. If not, this node and all that hear of the message owe
it, and see to it with the next question.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import getrandbits
from typing import Any, NamedTuple

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.connection import ErrorReply
from rr_py_ws.adapters.brokers.redis.marks import checksum_of, encode_exclude, unkept_mark
from rr_py_ws.adapters.brokers.redis.names import HistoryNames
from rr_py_ws.adapters.brokers.redis.owed import Debt
from rr_py_ws.adapters.brokers.redis.reconnect import Context
from rr_py_ws.adapters.brokers.redis.scripts import APPEND, FORGET, ONCE, Call
from rr_py_ws.adapters.brokers.redis.store import NO_OFFSET, RedisStore, Servers, Topic, milliseconds
from rr_py_ws.core.history import KEY_LIFE, Receipt
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication

_PAID_AT_ONCE = 100

limited = logs.get_limited("broadcast")


def _receipt(receipt: Receipt) -> Receipt:
    return receipt


class _Final(NamedTuple):
    """What a publisher waits for; it may have gone."""

    future: Future[Any]
    answer: Callable[[Receipt], Any] = _receipt

    def set(self, receipt: Receipt) -> None:
        if not self.future.done():
            self.future.set_result(self.answer(receipt))

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


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
        self._is_plain = b"0" if context.options.exclusive else b"1"
        self._store = store
        self._servers = servers
        self._counters = context.counters
        self._interval = context.check_interval
        self._loop = asyncio.get_running_loop()
        self._payer: asyncio.Task[None] | None = None

    def append(
        self,
        topic: Topic,
        publication: Publication,
        key: str = "",
        answer: Callable[[Receipt], Any] = _receipt,
    ) -> Future[Any]:
        """Keep a message and publish it; or publish it only, if it cannot be kept and has no key.

        Args:
            topic: of the message.
            publication: the message.
            key: an idempotency key, if it is not empty.
            answer: makes the result of the future.

        Raises (now, or from the future):
            BrokerError: it was not published, or nobody knows.
        """
        names, payload = topic.names, publication.payload
        debt = self._store.owed.find(topic.name)
        arguments = [
            *self._store.arguments(topic, debt.epoch if debt else "", self._store.unverified(topic.name)),
            *(self._publish_word, topic.channel, names.marks, self._is_plain),
            *(payload, checksum_of(payload), encode_exclude(publication.exclude), getrandbits(31) or 1),
            *topic.settings,
        ]
        keys = [names.stream, names.meta]
        if key:
            keys.append(names.once(key))
        final: _Final = _Final(self._loop.create_future(), answer)
        try:
            running = self._servers.run(topic.channel, Call(APPEND, keys, arguments, len(payload)))
        except BrokerError:
            if key:
                raise
            self._deliver(topic, publication, final)
        else:
            running.add_done_callback(partial(self._appended, topic, publication, key, debt, final))
        return final.future

    def publish_unkept(self, topic: Topic, publication: Publication) -> Future[None]:
        """Publish a message that is in no history, whose topic has one.

        Raises (now, or from the future):
            BrokerError: it was not published, or nobody knows.
        """
        if publication.exclude:
            mark = unkept_mark(publication.payload, publication.exclude)
            self._servers.publish_beside(topic.names.marks, mark).add_done_callback(_look_at)
        return self._servers.publish_beside(topic.channel, publication.payload)

    def publish_unkept_once(self, topic: Topic, publication: Publication, key: str) -> Future[Receipt]:
        """Publish a message that is in no history, whose topic has one, if none was under this key.

        Raises (now, or from the future):
            BrokerError: it was not published, or nobody knows.
        """
        payload, marks = publication.payload, topic.names.marks
        mark = unkept_mark(payload, publication.exclude) if publication.exclude else b""
        arguments = (milliseconds(KEY_LIFE), self._publish_word, topic.channel, payload, marks, mark)
        final = _Final(self._loop.create_future())
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

    def _appended(
        self,
        topic: Topic,
        publication: Publication,
        key: str,
        debt: Debt | None,
        final: _Final,
        running: Future[Any],
    ) -> None:
        error = running.exception()
        try:
            if error is None:
                final.set(self._take(topic, debt, *running.result()))
            elif isinstance(error, ErrorReply) and not key:
                self._count_unkept(topic, error.text)
                self._deliver(topic, publication, final)
            else:
                self._counters.publish_failures += 1
                final.fail(error)
        except BrokerError as problem:
            final.fail(problem)

    def _take(
        self, topic: Topic, debt: Debt | None, position: bytes | None, why: bytes, flag: int
    ) -> Receipt:
        """Read the answer of the script."""
        if position is None:
            self._count_unkept(topic, why.decode(errors="replace"))
            if not flag:
                self._owe(topic)
            return Receipt()
        if not flag:
            self._counters.kept += 1
            self._counters.published += 1
            self._store.see(topic.name, position)
            self._store.owed.settle(topic.name, debt)
        return Receipt(position.decode(), bool(flag))

    def _published_once(self, final: _Final, running: Future[Any]) -> None:
        if error := running.exception():
            self._counters.publish_failures += 1
            final.fail(error)
            return
        position, is_duplicate = running.result()
        self._counters.published += not is_duplicate
        final.set(Receipt(position.decode() or None, bool(is_duplicate)))

    # What cannot be kept

    def _deliver(self, topic: Topic, publication: Publication, final: _Final) -> None:
        """Publish a message that cannot be kept; all that are there are told before."""
        self._servers.publish_beside(topic.names.marks, b"lost").add_done_callback(_look_at)
        self._owe(topic)
        self.publish_unkept(topic, publication).add_done_callback(partial(_copy, final))

    def _count_unkept(self, topic: Topic, reason: str) -> None:
        self._counters.unkept += 1
        fields = {"section": self._section, "topic": topic.name, "reason": reason}
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


def _copy(final: _Final, running: Future[None]) -> None:
    if error := running.exception():
        final.fail(error)
    else:
        final.set(Receipt())


def _look_at(source: Future[None]) -> None:
    source.exception()  # asyncio complains of one that nobody has looked at
