"""The commands that subscribe and unsubscribe channels, and the answers that they expect."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from rr_py_ws.adapters.brokers.redis.channels import Channel, ChannelState
from rr_py_ws.adapters.brokers.redis.connection import Connection
from rr_py_ws.errors import BrokerError

_BATCH = 500
"""Most channels in one command. With sharded pub/sub it is 1: those of one command must be of one slot."""
_UNCONFIRMED = 5000
"""Channels whose subscription Redis has not answered, above which further ones wait."""


class SubscribeCommands:
    """Sends what is queued in a turn of the loop in few commands, as far as a window allows.

    A command is answered for each of its channels, in their order, or once with an error.

    Args:
        sharded: whether the channels are those of shards.

    Attributes:
        subscribe_word: the first word of an answer to the command that subscribes.
        unsubscribe_word: the same for the other one.
    """

    def __init__(self, *, sharded: bool) -> None:
        self.subscribe_word = b"ssubscribe" if sharded else b"subscribe"
        self.unsubscribe_word = b"sunsubscribe" if sharded else b"unsubscribe"
        self._batch = 1 if sharded else _BATCH
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        # Not a deque: a channel that is left is taken out, or an outage would fill it without end.
        self._queue: OrderedDict[bytes, Channel] = OrderedDict()
        self._flush_scheduled = False
        self._unconfirmed = 0

    @property
    def all_answered(self) -> bool:
        """Whether everything is subscribed that was queued."""
        return self._connection is not None and not self._unconfirmed and not self._queue

    def open(self, connection: Connection, channels: Iterable[Channel]) -> None:
        """Begin with a connection that is subscribed to nothing yet."""
        self._connection = connection
        for channel in channels:
            channel.state = ChannelState.QUEUED
            self._queue[channel.name] = channel
        self.flush()

    def lose(self) -> None:
        """The connection is gone; nothing is answered any more. What is subscribed now waits for the next."""
        self._connection = None
        self._unconfirmed = 0

    def queue(self, channel: Channel) -> None:
        """Subscribe a channel, together with others of this turn."""
        channel.state = ChannelState.QUEUED
        self._queue[channel.name] = channel
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def withdraw(self, name: bytes) -> None:
        """A channel need not be subscribed any more, if its command was not sent yet."""
        self._queue.pop(name, None)

    def unsubscribe(self, channels: Sequence[Channel]) -> None:
        """Unsubscribe channels, at once."""
        for at in range(0, len(channels), self._batch):
            self._send(self.unsubscribe_word, channels[at : at + self._batch])

    def flush(self) -> None:
        """Subscribe what is queued, as far as the window allows."""
        self._flush_scheduled = False
        # The window keeps the answers of 100,000 channels from filling the buffer that Redis has for a
        # subscriber (32 MB by default), whose overflow would end the connection, again and again.
        while self._queue and self._connection is not None and self._unconfirmed < _UNCONFIRMED:
            batch = [self._queue.popitem(last=False)[1] for _ in range(min(len(self._queue), self._batch))]
            for channel in batch:
                channel.state = ChannelState.SENT
            self._send(self.subscribe_word, batch)

    def confirm(self, word: bytes, name: bytes) -> Channel | None:
        """Take the answer for one channel; None when the next answer that is expected is another one."""
        assert self._connection is not None
        waiting = self._connection.waiting
        expected = waiting[0] if waiting else None
        if not isinstance(expected, tuple) or expected[0] != word or expected[1][0].name != name:
            return None
        channels: deque[Channel] = expected[1]
        if word == self.subscribe_word:
            self._unconfirmed -= 1
        if len(channels) == 1:
            waiting.popleft()
        return channels.popleft()

    def refuse(self, expected: tuple[bytes, deque[Channel]]) -> Channel | None:
        """Take an error for a command that subscribes; return its channel, if that is known."""
        channels = expected[1]
        self._unconfirmed -= len(channels)
        if len(channels) == 1:
            return channels[0]
        for channel in channels:  # one of them is refused, and Redis does not say which
            self._send(self.subscribe_word, [channel])
        return None

    def _send(self, word: bytes, channels: Sequence[Channel]) -> None:
        if self._connection is None:
            return
        if word == self.subscribe_word:
            self._unconfirmed += len(channels)
        expected: Any = (word, deque(channels))
        with suppress(BrokerError):  # lost in this moment; all is subscribed again when it is back
            self._connection.send((word.upper(), *(channel.name for channel in channels)), expected)
