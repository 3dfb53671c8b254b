"""Messages that are kept in a history, and what becomes of them when they cannot be kept.

Such a message is delivered all the same, and the epoch of its topic has to end, so that nobody is told that
nothing is missing. Redis does that at once if it can. If not, this node and all that hear of the message owe
it, and see to it with the next question.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial
from random import getrandbits
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.batch import Batch, Message, Outcome, Section, fail, settle
from rr_py_ws.adapters.brokers.redis.calls import Call, pack_words
from rr_py_ws.adapters.brokers.redis.connection import ErrorReply
from rr_py_ws.adapters.brokers.redis.marks import unkept_mark
from rr_py_ws.adapters.brokers.redis.names import HistoryNames
from rr_py_ws.adapters.brokers.redis.publisher import OVERHEAD
from rr_py_ws.adapters.brokers.redis.reconnect import Context
from rr_py_ws.adapters.brokers.redis.replies import unexpected
from rr_py_ws.adapters.brokers.redis.scripts import FORGET, ONCE
from rr_py_ws.adapters.brokers.redis.store import RedisStore, Servers
from rr_py_ws.adapters.brokers.redis.topics import NO_OFFSET, SETTINGS, Topic, milliseconds
from rr_py_ws.core.history import KEY_LIFE, Receipt
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication

_PAID_AT_ONCE = 100
_ABOUT = "%d %d %s %s %s %s"
_KEY_LIFE = milliseconds(KEY_LIFE)

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
        self._is_plain = not context.options.exclusive
        self._is_cluster = context.options.cluster
        # Whether a batch may have several topics: all keys are at one server, and its user may use all.
        self._mixes = not self._is_cluster
        self._queue_limit = context.options.publish_queue
        self._store = store
        self._servers = servers
        self._counters = context.counters
        self._interval = context.check_interval
        self._loop = asyncio.get_running_loop()
        self._payer: asyncio.Task[None] | None = None
        self._open: Batch | None = None

    def append(self, topic: Topic, publication: Publication, *, wants_receipt: bool = False) -> Future[Any]:
        """Keep a message and publish it; or publish it only, if it cannot be kept.

        What is appended in one turn of the loop, and nothing else published in between, is one run of the
        script; in a cluster, what is appended to one topic.

        Args:
            topic: of the message.
            publication: the message.
            wants_receipt: whether the result of the future is a receipt.

        Raises (now, or from the future):
            BrokerError: it was not published, or nobody knows.
        """
        future: Future[Any] = self._loop.create_future()
        batch, counters = self._open, self._counters
        if (
            batch is not None
            and batch.is_open
            and ((self._mixes and (self._is_plain or not batch.has(topic))) or batch.is_of(topic))
            and counters.unanswered_bytes <= self._queue_limit
        ):
            batch.add(topic, publication, future, wants_receipt)
            counters.unanswered_bytes += len(publication[1]) + OVERHEAD
        else:
            batch = self._open = Batch(self._prepare)
            batch.add(topic, publication, future, wants_receipt)
            self._begin(topic, batch)
        return future

    def append_once(self, topic: Topic, publication: Publication, key: str) -> Future[Receipt]:
        """Keep a message and publish it, if none was under this key; without one, as `append`.

        Raises (now, or from the future):
            BrokerError: it was not published, or nobody knows.
        """
        if not key:
            return self.append(topic, publication, wants_receipt=True)
        future: Future[Receipt] = self._loop.create_future()
        batch = self._open = Batch(self._prepare, topic.names.once(key))
        batch.add(topic, publication, future, True)
        self._begin(topic, batch)
        return future

    def _begin(self, topic: Topic, batch: Batch) -> None:
        """Run a batch when the turn ends, at the server of its topics."""
        try:
            answered = partial(self._answered, batch, batch.size + OVERHEAD)
            self._servers.run_then(topic.channel, batch, answered)
        except BrokerError:
            self.end_batch()
            if batch.has_key:
                raise
            for section in batch.sections:
                self._deliver(section.topic, batch.of(section))

    def end_batch(self) -> None:
        """What is published next is not published before what was appended: it is a batch of its own."""
        self._open = None

    def connected(self) -> None:
        """There is a connection, maybe to another server than before."""
        self._mixes = not self._is_cluster

    def _prepare(self, batch: Batch) -> tuple[int, bytes]:
        store, rules = self._store, dict[bytes, int]()
        for section in batch.sections:
            topic = section.topic
            section.debt = debt = store.owed.find(topic.name)
            known = store.newest.unverified(topic.name)
            rule = rules.setdefault(topic.settings, len(rules) + 1)
            if debt or known:
                doubt = (debt.epoch if debt else "", *(known or ("", "", "")))
                section.about = pack_words(_ABOUT % (section.count, rule, *doubt))
            else:
                section.about = _pack_about(section.count, rule)
        nonce = getrandbits(31) or 1
        common = (store.make_epoch(), self._publish_word, int(self._is_plain), batch.order, nonce, _KEY_LIFE)
        return len(common) + 1 + SETTINGS * len(rules), pack_words(*common, len(rules)) + b"".join(rules)

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
        future: Future[Receipt] = self._loop.create_future()
        running = self._servers.run(topic.channel, Call(ONCE, [topic.names.once(key)], arguments))
        running.add_done_callback(partial(self._published_once, future))
        return future

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
        sections = batch.sections
        match reply:
            case list() if len(reply) == len(sections):
                see, kept = self._store.newest.see, 0
                for section, answer in zip(sections, reply, strict=True):
                    if type(answer) is bytes:
                        section.outcome = answer
                        see(section.topic.name, answer)
                        kept += section.count
                        if section.debt is not None:
                            self._store.owed.settle(section.topic.name, section.debt)
                    else:
                        section.outcome = self._take(batch, section, answer)
                self._counters.kept += kept
                self._counters.published += kept
                batch.tell()
            case ErrorReply(code="NOPERM") if len(sections) > 1:
                # Its user may not use the keys of some topic; of which one is not said.
                self._mixes = False
                for section in sections:
                    self._append_alone(section.topic, batch.of(section))
            case ErrorReply() if not batch.has_key:
                for section in sections:
                    self._deliver_unkept(batch, section, reply.text)
            case _:
                self._counters.publish_failures += len(batch.messages)
                batch.fail(reply if isinstance(reply, BrokerError) else unexpected("EVALSHA", reply))

    def _take(self, batch: Batch, section: Section, answer: Any) -> Outcome:
        """Read the answer of the script about messages that it has not kept; return what became of them."""
        match answer:
            case [bytes() as position]:
                return Receipt(position.decode(), duplicate=True)
            case [bytes() as why, -1]:
                self._deliver_unkept(batch, section, why.decode(errors="replace"))
                return None
            case [bytes() as why, 0 | 1 as is_ended]:
                self._count_unkept(section, why.decode(errors="replace"))
                return (None if is_ended else self._owe(section.topic)) or Receipt()
        return unexpected("EVALSHA", answer)

    def _append_alone(self, topic: Topic, messages: Sequence[Message]) -> None:
        """Append messages of one topic again, of which nothing has become."""
        alone = Batch(self._prepare)
        for message in messages:
            alone.add(topic, message.publication, message.future, message.wants_receipt)
        alone.is_open = False
        self._counters.unanswered_bytes += OVERHEAD * (len(messages) - 1)
        self._begin(topic, alone)

    def _published_once(self, future: Future[Receipt], running: Future[Any]) -> None:
        if error := running.exception():
            self._counters.publish_failures += 1
            fail(future, error)
            return
        position, is_duplicate = running.result()
        self._counters.published += not is_duplicate
        settle(future, Receipt(position.decode() or None, bool(is_duplicate)))

    # What cannot be kept

    def _deliver_unkept(self, batch: Batch, section: Section, reason: str) -> None:
        self._count_unkept(section, reason)
        self._deliver(section.topic, batch.of(section))

    def _deliver(self, topic: Topic, messages: Sequence[Message]) -> None:
        """Publish messages that cannot be kept; all that are there are told before."""
        try:
            self._servers.publish_beside(topic.names.marks, b"lost").add_done_callback(_look_at)
            problem = self._owe(topic)
        except BrokerError as error:
            problem = error  # nothing is delivered, so nothing is missing
        for _, _, publication, future, wants_receipt in messages:
            try:
                if problem is not None:
                    raise problem
                publishing = self.publish_unkept(topic, publication)
            except BrokerError as error:
                fail(future, error)
            else:
                publishing.add_done_callback(partial(_copy, future, Receipt() if wants_receipt else None))

    def _count_unkept(self, section: Section, reason: str) -> None:
        self._counters.unkept += section.count
        fields = {"section": self._section, "topic": section.topic.name, "reason": reason}
        limited.warning("redis cannot keep a message in its history", **fields)

    def _owe(self, topic: Topic) -> BrokerError | None:
        """The epoch of a topic has to end; return why that cannot be noted."""
        try:
            self._store.owed.add(topic.name)
        except BrokerError as problem:
            return problem
        self.pay()
        return None

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


@lru_cache(256)
def _pack_about(count: int, rule: int) -> bytes:
    """Encode what the script is told of a topic without doubts."""
    return pack_words(_ABOUT % (count, rule, "", "", "", ""))


def _copy(future: Future[Any], result: Receipt | None, running: Future[None]) -> None:
    if error := running.exception():
        fail(future, error)
    else:
        settle(future, result)


def _look_at(source: Future[None]) -> None:
    source.exception()  # asyncio complains of one that nobody has looked at
