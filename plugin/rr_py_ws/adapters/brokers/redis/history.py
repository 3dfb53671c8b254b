"""The histories of one broker: what writes them, what reads them, and what hands messages on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.append import Appender
from rr_py_ws.adapters.brokers.redis.channels import LONGEST_WAIT
from rr_py_ws.adapters.brokers.redis.marks import Pairing
from rr_py_ws.adapters.brokers.redis.names import RESERVED, is_in_one_slot
from rr_py_ws.adapters.brokers.redis.pages import make_page
from rr_py_ws.adapters.brokers.redis.reconnect import Context
from rr_py_ws.adapters.brokers.redis.shared_future import SharedFuture
from rr_py_ws.adapters.brokers.redis.store import Kept, RedisStore, Servers
from rr_py_ws.adapters.brokers.redis.topics import NO_OFFSET
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.core.feed import Feeds
from rr_py_ws.core.feed_rings import Arrival
from rr_py_ws.core.history import Page, Query, Receipt, Recoveries, Synchronize
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.errors import BrokerError
from rr_py_ws.metrics import Sample, counter, gauge
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.position import StreamPosition, decode_position, tells_loss
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.recovery import OFF

log = logs.get_logger("broadcast")

_ON_ITS_WAY = 1.0
"""Seconds after which a message that Redis has published must have arrived."""


class RedisHistories:
    """Implements the ports `History` and `MarkedMessages`, and publishes what is kept.

    Args:
        context: what all connections of the broker share.
        rules: what is kept of which topic.
        servers: what the broker is connected to.
        channel_of: names the channel of a topic.
        sweep: seconds in which each topic is compared with Redis once.
        budget: bytes of messages that this node keeps.

    Attributes:
        store: the questions.
        publish: that of `Appender.append`, for a topic that has a history.
        end_batch: that of `Appender`; to be called before anything else is published.
    """

    def __init__(
        self,
        context: Context,
        rules: HistoryRules,
        servers: Servers,
        channel_of: Callable[[str], bytes],
        sweep: float,
        budget: int,
    ) -> None:
        self._counters = context.counters
        self._on_gap = context.on_gap
        self._is_cluster = context.options.cluster
        self._interval = sweep
        self._section = context.name
        self._advised: set[str] = set()
        self._publish = servers.publish
        self._patience = min(context.options.read_timeout, LONGEST_WAIT)
        self._arrived: asyncio.Event | None = None
        self.store = RedisStore(context, rules, servers, channel_of, self._handed_over)
        self._appender = Appender(context, self.store, servers)
        self.publish = self._appender.append
        self.end_batch = self._appender.end_batch
        self._tasks = TaskSet("broadcast")
        self._feeds = Feeds(
            self.store,
            rules,
            context.on_publication,
            context.on_gap,
            self._end_epoch,
            self._spawn,
            budget,
            # Without shards one server of the cluster passes on what the others tell it, if they can.
            is_lossy=context.options.cluster and not context.options.sharded,
        )
        self._tasks.spawn(self._sweep())

    async def close(self) -> None:
        """End; nothing is handed on any more."""
        await self._appender.close()
        await self._tasks.cancel()
        await self.store.close()

    # The port

    def keeps(self, topic: str) -> bool:
        """See `History.keeps`."""
        return self.store.keeps(topic)

    def recover(self, wishes: Mapping[str, Wish], limit: ReplayLimit) -> Synchronize | Awaitable[Synchronize]:
        """See `History.recover`."""
        is_live = self.store.is_live
        if all(map(is_live, wishes)):
            return self._feeds.recover(wishes, limit)
        told = {topic: wish for topic, wish in wishes.items() if is_live(topic)}
        off = dict.fromkeys(wishes.keys() - told.keys(), OFF)
        found = self._feeds.recover(told, limit)
        if isinstance(found, Awaitable):
            return _with_those(off, found)
        return lambda: found() | off

    async def read(self, topic: str, query: Query) -> Page:
        """See `History.read`."""
        if not self.keeps(topic):
            return Page((), None, "off")
        since = decode_position(query.since) if query.since else None
        after = since.offset if since else -1
        if query.newest_first:
            kept = await self.store.page(topic, after, query.limit, size=query.size)
            return make_page(topic, query, since, kept)
        page = make_page(topic, query, since, await self._oldest(topic, after, query))
        if page.reason == "trimmed":
            page = make_page(topic, query, since, await self._oldest(topic, -1, query))
        return page

    async def _oldest(self, topic: str, after: int, query: Query) -> Kept:
        """Read the oldest of what came after an offset; below 0, of all that is kept."""
        limit = query.limit
        while True:
            upto = -limit if after < 0 else after + limit
            kept = await self.store.page(topic, after, limit, upto, query.size)
            if not kept.is_cut or limit == 1:
                return kept
            # The newest of so many were more bytes than may be answered.
            limit = max(1, limit // 2)

    async def clear(self, topic: str) -> Position | None:
        """See `History.clear`."""
        if not self.keeps(topic):
            return None
        position = await self.store.clear(topic)
        self._feeds.clear(topic, position)
        return str(position)

    def metrics(self, broker: str) -> Iterator[Sample]:
        """Yield what is kept here, under the name of its broker."""
        text = "Memory of messages that are kept."
        yield gauge("history_bytes", text, {broker: self._feeds.size}, "broker")
        text = "Messages that did not arrive and were read from the history."
        yield counter("history_healed", text, {broker: self._feeds.healed}, "broker")
        text = "How often messages of a topic with a history were lost for good."
        yield counter("history_gaps", text, {broker: self._feeds.gaps}, "broker")

    # Publishing

    def publish_once(
        self, channel: bytes, publication: Publication, key: str, skip_history: bool
    ) -> Awaitable[Receipt]:
        """Publish a message with what only some publishers ask for.

        Raises (now, or from the awaitable):
            BrokerError: it was not published, or nobody knows; or Redis cannot do what is asked for.
        """
        topic = self.store.find(publication.topic)
        if key and self._is_cluster and not is_in_one_slot(channel):
            raise BrokerError("in a cluster a topic of this name cannot have an idempotency key")
        if topic is not None and not skip_history:
            return self._appender.append_once(topic, publication, key)
        if topic is not None and key:
            return self._appender.publish_unkept_once(topic, publication, key)
        if topic is not None:
            return without_position(self._appender.publish_unkept(topic, publication))
        if publication.exclude:
            raise BrokerError("the redis broker excludes nobody from topics without a history")
        self.end_batch()
        if key:
            return self._appender.publish_plain_once(channel, publication.payload, key)
        return without_position(self._publish(channel, publication.payload))

    # Receiving

    def advise(self, text: str) -> None:
        """See `Histories.advise`; logged once."""
        if text not in self._advised:
            self._advised.add(text)
            log.warning(text, section=self._section)

    def connected(self) -> None:
        """There is a connection, maybe to another server than before."""
        self.store.connected()
        self._appender.connected()
        self._feeds.doubt()

    def pair(self, channel: bytes, topic: str) -> Pairing | None:
        """Make what gets the messages of a channel; None for one without a history."""
        found = self.store.find(topic)
        if found is None:
            return None
        pairing = self.store.pairings[topic] = Pairing(topic, found.names.marks, self)
        return pairing

    def unpair(self, topic: str) -> None:
        """Nothing arrives of a topic any more."""
        if self.store.pairings.pop(topic, None) is not None:
            self._feeds.forget([topic])

    def receive(self, topic: str, arrival: Arrival) -> None:
        """See `MarkedMessages.receive`."""
        self._counters.received += 1
        self._counters.foreign += not arrival.epoch
        self._feeds.receive(topic, arrival)
        if self._arrived is not None:
            self._arrived.set()

    def lost(self, topic: str) -> None:
        """See `MarkedMessages.lost`."""
        self._end_epoch(topic, self._feeds.lose(topic))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> Awaitable[None]:
        return SharedFuture(self._tasks.spawn(work))

    def _end_epoch(self, topic: str, epoch: str) -> None:
        with suppress(BrokerError):  # too many; others who know of it owe it, too
            self.store.owed.add(topic, epoch)
            self._appender.pay()

    def cleared(self, topic: str, position: StreamPosition) -> None:
        """See `MarkedMessages.cleared`."""
        self._feeds.clear(topic, position)

    def interrupted(self, topic: str) -> None:
        """See `MarkedMessages.interrupted`."""
        self._feeds.interrupt([topic])

    def resumed(self, topics: Sequence[str]) -> None:
        """See `Histories.resumed`."""
        kept = [topic for topic in topics if self.store.keeps(topic)]
        self._feeds.resume(kept)
        if len(kept) < len(topics):
            self._on_gap([topic for topic in topics if not self.store.keeps(topic)])

    async def settle(self) -> None:
        """Wait for what was published here; in a cluster it may come another way than answers."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while not all(map(self._is_whole, self.store.pairings)):
                    self._arrived = asyncio.Event()
                    await self._arrived.wait()

    def _is_whole(self, topic: str) -> bool:
        newest = self.store.newest.seen(topic)
        return newest is None or self._has_arrived(topic, newest)

    # What did not arrive, and nobody knows of

    async def _sweep(self) -> None:
        """Compare each topic with Redis now and then, which also keeps its counter alive."""
        while True:
            await asyncio.sleep(self._interval / 10)
            topics = tuple(self.store.pairings)
            for topic in topics:
                if self.store.is_live(topic):
                    with suppress(BrokerError):  # logged by the store
                        await self._compare(topic)
                await asyncio.sleep(self._interval / len(topics))

    async def _compare(self, topic: str) -> None:
        newest = (await self.store.page(topic, NO_OFFSET, 0)).newest
        arrived = self._handed_over(topic)
        is_other = arrived is not None and arrived.epoch != newest.epoch
        if self._feeds.is_doubtful(topic) or (is_other and tells_loss(newest.epoch)):
            self._feeds.check([topic])  # nothing of the other epoch may have come yet
        if self._has_arrived(topic, newest):
            return
        await asyncio.sleep(_ON_ITS_WAY)
        if self.store.is_live(topic) and not self._has_arrived(topic, newest):
            # What did not come may be of an epoch that has ended since, and not to be found any more.
            self._feeds.interrupt([topic])
            self._feeds.check([topic])
            self.store.distrust(topic)

    def _has_arrived(self, topic: str, newest: StreamPosition) -> bool:
        arrived = self._handed_over(topic)
        return arrived is None or newest.offset <= (arrived.offset if arrived.epoch == newest.epoch else 0)

    def _handed_over(self, topic: str) -> StreamPosition | None:
        return self._feeds.position(topic)


async def _with_those(off: Recoveries, found: Awaitable[Synchronize]) -> Synchronize:
    synchronize = await found
    return lambda: synchronize() | off


async def without_position(accepted: Awaitable[None]) -> Receipt:
    """Wait until a message is published that has no position."""
    await accepted
    return Receipt()


def require_name(channel: bytes) -> None:
    """Raise `BrokerError` for a channel that is taken for marks."""
    if channel.startswith(RESERVED):
        raise BrokerError(f"a topic cannot begin with {RESERVED.decode()}, which is used for histories")
