"""Receiving: one connection that is subscribed to what this node's clients are in.

A channel is subscribed once, however many clients are in its topic. What is joined in one turn of the loop is
one command. A channel that nobody is in any more lingers for a moment, so that a page reload costs nothing.

After a lost connection everything is subscribed again, in batches. A channel that was live before then has a
gap: messages may have been missed. The gap is told when the channel is live again, before any later message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.channels import Channel, ChannelState, wait_for
from rr_py_ws.adapters.brokers.redis.connection import Connection, ErrorReply
from rr_py_ws.adapters.brokers.redis.discovery import Resolver
from rr_py_ws.adapters.brokers.redis.reconnect import Context, Reconnector
from rr_py_ws.address import Address
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication

_BATCH = 500
"""Most channels in one command. With sharded pub/sub it is 1: those of one command must be of one slot."""
_UNCONFIRMED = 5000
"""Channels whose subscription Redis has not answered, above which further ones wait."""
_PING = object()

new_tuple = tuple.__new__
log = logs.get_logger("broadcast")
limited = logs.get_limited("broadcast")


class Subscriber(Reconnector):
    """Keeps subscriptions and hands on what arrives.

    Args:
        context: what all connections of the broker share.
        resolver: names the server.
        on_moved: gets a channel that is another server's now and not this subscriber's any more; and Redis'
            words for where it is, if it has said that. None where channels have no server of their own.

    Attributes:
        ready: whether everything that is wanted is subscribed.
    """

    def __init__(
        self,
        context: Context,
        resolver: Resolver,
        on_moved: Callable[[Channel, ErrorReply | None], None] | None = None,
    ) -> None:
        super().__init__(context, "subscribe", resolver, context.options.read_timeout)
        kind = b"s%s" if context.options.sharded else b"%s"
        self._message, self._subscribed, self._unsubscribed = (
            kind % word for word in (b"message", b"subscribe", b"unsubscribe")
        )
        self._batch = 1 if context.options.sharded else _BATCH
        self._on_publication = context.on_publication
        self._on_moved = on_moved
        self._channels: dict[bytes, Channel] = {}
        self._queue: deque[Channel] = deque()
        self._flush_scheduled = False
        self._unconfirmed = 0
        # Channels that nobody is in, until when they linger; and the same in the order of time, in which one
        # that was joined again stays until its time has come, so that joining need not search.
        self._idle: dict[bytes, float] = {}
        self._leaving: deque[tuple[float, bytes]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        # Since when messages may be missed; topics that have a gap and are not told yet; and how many have.
        self._gap_began: float | None = None
        self._untold: list[str] = []
        self._gap_topics = 0
        self.ready = False

    # What is wanted

    def subscribe(self, wanted: Sequence[tuple[bytes, str]]) -> asyncio.Future[None] | None:
        """Subscribe channels, given as name and topic; None when all of them are live."""
        waiting = [channel for name, topic in wanted if (channel := self.join(name, topic))]
        return wait_for(waiting, self._context.join_timeout, lambda: self.problem)

    def join(self, name: bytes, topic: str) -> Channel | None:
        """Subscribe one channel, and return it when it is not live yet."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name, topic)
            self._enqueue(channel)
        else:
            self._idle.pop(name, None)
            if channel.state is ChannelState.LIVE:
                return None
            if channel.state is ChannelState.REFUSED:  # what an ACL forbids, it may allow later
                self._enqueue(channel)
        return channel

    def unsubscribe(self, names: Sequence[bytes]) -> None:
        """These channels are not wanted any more; they linger."""
        deadline = self._loop.time() + self._context.linger
        for name in names:
            if name in self._channels:
                self._idle[name] = deadline
                self._leaving.append((deadline, name))
        if self._leaving and self._sweeper is None:
            self._sweeper = self._loop.call_at(deadline, self._sweep)

    def assign(self, channel: Channel) -> None:
        """Go on with a channel that was another server's; messages may have been missed in between."""
        self._begin_gap()
        channel.interrupt()
        self._channels[channel.name] = channel
        self._enqueue(channel)
        self.ready = False

    def unassign(self, is_elsewhere: Callable[[bytes], bool]) -> list[Channel]:
        """Give away the channels that are another server's; those that nobody is in are forgotten."""
        gone = [channel for channel in self._channels.values() if is_elsewhere(channel.name)]
        for channel in gone:
            del self._channels[channel.name]
        return [channel for channel in gone if self._idle.pop(channel.name, None) is None]

    async def settle(self) -> None:
        """Wait for the messages that Redis has taken before, if there is a connection.

        A server puts a message into the buffer of each subscriber before it answers the publisher, so the
        answer to a PING that is sent after that comes behind the message.
        """
        if self._connection is not None:
            with suppress(BrokerError):  # lost now, or before the answer
                await self._connection.request(b"PING")

    async def close(self) -> None:
        """End; joins that wait fail."""
        await super().close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for channel in self._channels.values():
            channel.answer_joins(BrokerError("the redis broker is not running"))
        self._channels.clear()

    # Reconnector

    async def _verify(self, connection: Connection, address: Address) -> None:
        """Any server will do that the publisher is connected to, too."""

    def _opened(self, connection: Connection, address: Address) -> None:
        connection.on_reply = self._receive
        self.problem = "no answer"
        self._queue = deque(self._channels.values())
        for channel in self._queue:  # also those that were refused: it may be another server
            channel.state = ChannelState.QUEUED
        self._go_on()

    async def _check(self, connection: Connection, address: Address) -> None:
        # The connection itself gives up on a server that does not answer; it only has to be asked.
        connection.send((b"PING",), _PING)

    def _unavailable(self, reason: str) -> None:
        was_connected = self._connection is not None
        super()._unavailable(reason)
        if was_connected:
            self.ready = False
            self._unconfirmed = 0
            self._begin_gap()
            for channel in self._channels.values():
                channel.interrupt()

    # What is sent

    def _enqueue(self, channel: Channel) -> None:
        channel.state = ChannelState.QUEUED
        self._queue.append(channel)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Subscribe what is queued, as far as the window allows."""
        self._flush_scheduled = False
        # The window keeps the answers of 100,000 channels from filling the buffer that Redis has for a
        # subscriber (32 MB by default), whose overflow would end the connection, again and again.
        while self._queue and self._connection is not None and self._unconfirmed < _UNCONFIRMED:
            batch: list[Channel] = []
            while self._queue and len(batch) < self._batch:
                channel = self._queue.popleft()
                # It may have been left, or given to another server, since it was queued; or be in here twice.
                if channel.state is ChannelState.QUEUED and self._channels.get(channel.name) is channel:
                    channel.state = ChannelState.SENT
                    batch.append(channel)
            if batch:
                self._send(self._subscribed, batch)

    def _send(self, kind: bytes, channels: Sequence[Channel]) -> None:
        """Send a command; expected is one answer for each channel, which begins with `kind`, or one error."""
        if self._connection is None:
            return
        if kind == self._subscribed:
            self._unconfirmed += len(channels)
        with suppress(BrokerError):  # lost in this moment; all is subscribed again when it is back
            names = (channel.name for channel in channels)
            self._connection.send((kind.upper(), *names), (kind, deque(channels)))

    def _sweep(self) -> None:
        """Unsubscribe what nobody came back to."""
        now = self._loop.time()
        gone = []
        while self._leaving and self._leaving[0][0] <= now:
            deadline, name = self._leaving.popleft()
            if self._idle.get(name) == deadline:  # else it was joined again, and perhaps left once more
                del self._idle[name]
                channel = self._channels.pop(name)
                if channel.state in (ChannelState.SENT, ChannelState.LIVE):
                    gone.append(channel)
        for at in range(0, len(gone), self._batch):
            self._send(self._unsubscribed, gone[at : at + self._batch])
        self._sweeper = None
        if self._leaving:  # a little later than the first, to take more of them along
            self._sweeper = self._loop.call_at(self._leaving[0][0] + self._context.linger / 4, self._sweep)

    # What arrives

    def _receive(self, reply: Any) -> None:
        """Take a message or an answer.

        Raises:
            BrokerError: it is neither, or it is an error that is no channel's; the connection is of no use.
        """
        if type(reply) is list and len(reply) == 3:
            kind, name, value = reply
            if kind == self._message and type(name) is bytes and type(value) is bytes:
                if self._untold:
                    self._tell_gap()
                # A message may still come after a channel was left, before Redis has read that.
                channel = self._channels.get(name)
                if channel is not None:
                    self._counters.received += 1
                    # As Publication(topic, payload), in half of the time: that is a function in Python.
                    publication = new_tuple(Publication, (channel.topic, value, None, 0.0, ""))
                    self._on_publication(publication)
                return
            if type(name) is bytes and kind in (self._subscribed, self._unsubscribed):
                self._receive_confirmation(kind, name)
                return
        self._receive_answer(reply)

    def _receive_confirmation(self, kind: bytes, name: bytes) -> None:
        assert self._connection is not None
        waiting = self._connection.waiting
        expected = waiting[0] if waiting else None
        if not isinstance(expected, tuple) or expected[0] != kind or expected[1][0].name != name:
            # The answer to nothing: so a server of a cluster says that the slot of a channel has moved away.
            if kind != self._unsubscribed or self._on_moved is None:
                raise BrokerError("it confirmed what was not asked for")
            if moved := self._channels.get(name):
                self._move(moved, None)
            return
        unanswered: deque[Channel] = expected[1]
        channel = unanswered.popleft()
        if not unanswered:
            waiting.popleft()
        if kind == self._subscribed:
            self._unconfirmed -= 1
            # It may have been left and joined again since: then the second command has its own answer.
            if self._channels.get(name) is channel:
                if channel.missed:
                    if not self._untold:  # told once for all that Redis confirms in one packet
                        self._loop.call_soon(self._tell_gap)
                    self._untold.append(channel.topic)
                    self._gap_topics += 1
                channel.confirm()
        self._go_on()

    def _receive_answer(self, reply: Any) -> None:
        assert self._connection is not None
        waiting = self._connection.waiting
        expected = waiting.popleft() if waiting else None
        if expected is _PING:  # also when an ACL forbids it: it answers
            return
        if callable(expected):
            expected(reply)
            return
        if not isinstance(reply, ErrorReply):
            raise BrokerError("it sent what nobody asked for")
        if expected is None or expected[0] != self._subscribed:
            raise reply
        channels: deque[Channel] = expected[1]
        self._unconfirmed -= len(channels)
        if len(channels) > 1:  # one of them is refused, and Redis does not say which
            for channel in channels:
                self._send(self._subscribed, [channel])
        else:
            self._refuse(channels[0], reply)
        self._go_on()

    def _refuse(self, channel: Channel, error: ErrorReply) -> None:
        if error.code == "MOVED" and self._on_moved is not None:
            self._move(channel, error)
        elif error.code == "NOPERM":
            channel.state = ChannelState.REFUSED
            self._counters.subscriptions_refused += 1
            limited.warning("redis refuses a subscription", section=self._context.name, topic=channel.topic)
            channel.answer_joins(BrokerError(f"redis refuses the subscription: {error.text}"))
        else:
            raise error

    def _move(self, channel: Channel, where: ErrorReply | None) -> None:
        assert self._on_moved is not None
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            # A channel that only lingered is not worth subscribing elsewhere.
            if self._idle.pop(channel.name, None) is None:
                self._on_moved(channel, where)

    def _go_on(self) -> None:
        """Go on with what is queued, or note that nothing is left."""
        if self._queue:
            self._flush()
        if not self.ready and self._connection is not None and not self._unconfirmed and not self._queue:
            self.ready = True
            self._end_gap()

    # What may have been missed

    def _begin_gap(self) -> None:
        if self._gap_began is None:  # a connection that is lost again before the gap has ended prolongs it
            self._gap_began = self._loop.time()

    def _tell_gap(self) -> None:
        """Tell the topics of which messages may have been missed, before any message that comes later."""
        if self._untold:
            topics, self._untold = self._untold, []
            self._context.on_gap(topics)

    def _end_gap(self) -> None:
        """Log and count a gap: everything is subscribed again."""
        began, self._gap_began = self._gap_began, None
        topics, self._gap_topics = self._gap_topics, 0
        if topics:
            self._counters.gaps += 1
            self._counters.gap_topics += topics
            seconds = round(self._loop.time() - (began or self._loop.time()), 3)
            log.warning(
                "messages may have been missed", section=self._context.name, topics=topics, seconds=seconds
            )
