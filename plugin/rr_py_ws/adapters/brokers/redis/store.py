"""The histories that Redis keeps, as one node asks for them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, NamedTuple, Protocol

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.calls import Argument, Call, Run, Script
from rr_py_ws.adapters.brokers.redis.channels import LONGEST_WAIT
from rr_py_ws.adapters.brokers.redis.connection import ErrorReply
from rr_py_ws.adapters.brokers.redis.marks import Pairing, decode_exclude
from rr_py_ws.adapters.brokers.redis.newest import Newest
from rr_py_ws.adapters.brokers.redis.owed import Owed
from rr_py_ws.adapters.brokers.redis.reconnect import Context
from rr_py_ws.adapters.brokers.redis.scripts import CLEAR, READ
from rr_py_ws.adapters.brokers.redis.shared_future import SharedFuture
from rr_py_ws.adapters.brokers.redis.topics import NO_OFFSET, Topic, Topics, milliseconds
from rr_py_ws.core.history_rules import HistoryRules, counter_life
from rr_py_ws.core.ring import Entry, Ring
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.position import StreamPosition, decode_position

_NUMBERS = 2**24
"""Epochs of one node that are told apart by their numbers; the time when they began does the rest."""

limited = logs.get_limited("broadcast")


class Kept(NamedTuple):
    """What is kept of a topic.

    Attributes:
        newest: the position of the newest message, whether it is kept or not.
        entries: without a hole, oldest first, up to the newest that was asked for.
        before: nonce of the message before the first entry.
        is_cut: more is kept than was asked for.
    """

    newest: StreamPosition
    entries: Sequence[Entry]
    before: int
    is_cut: bool


class Servers(Protocol):
    """What a broker is connected to."""

    def run(self, channel: bytes, call: Run) -> asyncio.Future[Any]:
        """Run a script where a channel is, as `Publisher.run` does."""

    def run_then(self, channel: bytes, call: Run, then: Callable[[Any], None]) -> None:
        """The same, as `Publisher.run_then` does."""

    def publish(self, channel: bytes, payload: bytes) -> asyncio.Future[None]:
        """Publish as `Publisher.publish` does, a topic without a history."""

    def publish_beside(self, channel: bytes, payload: bytes) -> asyncio.Future[None]:
        """The same, of one with a history: where the scripts of the channel run."""

    async def settle(self) -> None:
        """Wait for what was published here and is on its way back."""

    def reconnect(self, channel: bytes) -> None:
        """Open the connection anew through which a channel is received."""


class RedisStore:
    """Implements the port `Store`.

    Args:
        context: what all connections of the broker share.
        rules: what is kept of which topic.
        servers: what answers.
        channel_of: names the channel of a topic.
        handed_over: tells the newest message of a topic that has arrived here.

    Attributes:
        find: returns what has to be known of a topic; None when it has no history.
        newest: the newest message of each topic that is known here.
        pairings: what puts messages and marks of the topics together that are subscribed.
        owed: topics whose epoch has to end with the next question.
    """

    def __init__(
        self,
        context: Context,
        rules: HistoryRules,
        servers: Servers,
        channel_of: Callable[[str], bytes],
        handed_over: Callable[[str], StreamPosition | None],
    ) -> None:
        self._section = context.name
        self._publish_word = b"SPUBLISH" if context.options.sharded else b"PUBLISH"
        self._servers = servers
        self._channel_of = channel_of
        self._counters = context.counters
        self._timeout = min(context.join_timeout, LONGEST_WAIT)
        self._loop = asyncio.get_running_loop()
        self._epoch = secrets.token_urlsafe(8)
        self._numbers = count()
        self._connected = asyncio.Event()
        self._ahead = time.time() - self._loop.time()
        self._settling: asyncio.Future[None] | None = None
        self._reading: set[asyncio.Future[Any]] = set()
        self.newest = Newest(handed_over)
        self.pairings: dict[str, Pairing] = {}
        self.owed = Owed()
        self.find = Topics(rules, channel_of, context.options).find

    def connected(self) -> None:
        """There is a connection, maybe to another server than before."""
        self.newest.connected()
        self._connected.set()
        self._connected = asyncio.Event()

    def make_epoch(self) -> str:
        """Make what the name of an epoch that begins now has in front of its time."""
        return f"{self._epoch}{next(self._numbers) % _NUMBERS:x}"

    # The port

    def keeps(self, topic: str) -> bool:
        """See `Store.keeps`."""
        return self.find(topic) is not None

    def is_live(self, topic: str) -> bool:
        """See `Store.is_live`."""
        pairing = self.pairings.get(topic)
        return pairing is not None and pairing.is_live

    def now(self) -> float:
        """See `Store.now`."""
        return self._loop.time() + self._ahead

    def read(self, topic: str, after: int, limit: int) -> Awaitable[Ring]:
        """See `Store.read`."""
        reading = asyncio.ensure_future(self._read(topic, after, limit))
        self._reading.add(reading)
        reading.add_done_callback(self._read_ended)
        return SharedFuture(reading)

    async def _read(self, topic: str, after: int, limit: int) -> Ring:
        kept = await self.page(topic, after, limit)
        ring = Ring(*kept.newest)
        ring.extend_left(kept.entries, kept.before)
        return ring

    def _read_ended(self, reading: asyncio.Future[Ring]) -> None:
        self._reading.discard(reading)
        if not reading.cancelled():
            reading.exception()  # whoever has asked may have gone

    async def close(self) -> None:
        """End; what is asked fails."""
        for reading in self._reading:
            reading.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    async def page(
        self, topic: str, after: int, most: int, upto: int = NO_OFFSET, size: int = NO_OFFSET
    ) -> Kept:
        """Read what came after an offset, of that the newest.

        Args:
            topic: of which.
            after: the offset; below 0, everything.
            most: messages.
            upto: the last offset that is looked at; below 0, so many messages from the oldest on are meant,
                with the sign changed.
            size: bytes of payloads, one message at least.

        Raises:
            BrokerError: Redis does not answer, or cannot.
        """
        found = self.find(topic)
        if found is None:
            raise BrokerError("the topic has no history")
        self._counters.history_reads += 1
        size = min(size, 2 * found.rule.bytes)  # what is kept is not more, but for one message
        arguments = [after, most, size, milliseconds(found.rule.ttl), upto, found.rule.size]
        reply = await self._ask(found, READ, arguments)
        epoch, top, nonce, seconds, microseconds, is_cut, entries = reply
        self._ahead = int(seconds) + int(microseconds) / 1e6 - self._loop.time()
        newest = StreamPosition(epoch.decode(), int(top), int(nonce))
        self.newest.see(topic, str(newest).encode())
        try:
            before = int(entries[-1][3]) if entries else newest.nonce
            return Kept(newest, [_read_entry(entry) for entry in reversed(entries)], before, bool(is_cut))
        except ValueError as error:  # somebody else has written there
            raise BrokerError("redis keeps what is no message of a history", str(error)) from error

    async def clear(self, topic: str) -> StreamPosition:
        """See `Store.clear`."""
        found = self.find(topic)
        if found is None:
            raise BrokerError("the topic has no history")
        (text,) = await self._ask(found, CLEAR, [self._publish_word, found.names.marks])
        self.newest.see(topic, text)
        position = decode_position(text.decode())
        assert position is not None
        return position

    def settle(self) -> Awaitable[None]:
        """See `Store.settle`; all who ask in one turn wait for the same."""
        if self._settling is None:
            self._settling = asyncio.ensure_future(self._settle())
            self._reading.add(self._settling)
            self._settling.add_done_callback(self._reading.discard)
        return SharedFuture(self._settling)

    async def _settle(self) -> None:
        self._settling = None  # it begins now: what is published later is not waited for
        await self._servers.settle()

    def distrust(self, topic: str) -> None:
        """See `Store.distrust`."""
        fields = {"section": self._section, "topic": topic}
        limited.warning("redis does not bring what is subscribed, connecting again", **fields)
        self._servers.reconnect(self._channel_of(topic))

    async def _ask(self, topic: Topic, script: Script, arguments: Sequence[Argument]) -> Any:
        """Run a script; without a connection wait for one, as a join waits for its subscription."""
        deadline = self._loop.time() + self._timeout
        keys = [topic.names.stream, topic.names.meta]
        while True:
            connected, debt = self._connected, self.owed.find(topic.name)
            known = self.newest.known(topic.name)
            life = milliseconds(counter_life(topic.rule))
            common = (self.make_epoch(), life, debt.epoch if debt else "", *(known or ("", "", "")))
            try:
                reply = await self._servers.run(topic.channel, Call(script, keys, [*common, *arguments]))
            except BrokerError as error:
                if not isinstance(error, ErrorReply) and await _is_set_before(deadline, connected):
                    continue
                self._counters.history_failures += 1
                fields = {"section": self._section, "topic": topic.name, "reason": str(error)}
                limited.warning("redis cannot tell a history", **fields)
                raise
            self.owed.settle(topic.name, debt)
            return reply


async def _is_set_before(deadline: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout_at(deadline):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _read_entry(entry: Sequence[bytes]) -> Entry:
    """Read a message of a stream: id, payload, milliseconds, nonce before, who is excluded."""
    offset, _, nonce = entry[0].partition(b"-")
    return Entry(int(offset), int(nonce), int(entry[2]) / 1000, entry[1], decode_exclude(entry[4]))
