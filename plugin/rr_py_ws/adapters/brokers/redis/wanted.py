"""Channels that a subscriber wants: joined, left, and left for good after a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from rr_py_ws.adapters.brokers.redis.channels import Channel, ChannelState
from rr_py_ws.adapters.brokers.redis.commands import SubscribeCommands
from rr_py_ws.adapters.brokers.redis.lingering import Lingering
from rr_py_ws.adapters.brokers.redis.reconnect import Context

_SWEEP = 500
"""Channels that are left in one turn of the loop; with sharded pub/sub that takes three milliseconds."""


class WantedChannels:
    """What one subscriber is to be subscribed to, with the channels of marks.

    A channel that nobody is in any more lingers for a moment, so that a page reload costs nothing.

    Args:
        context: what all connections of the broker share.
        commands: subscribe and unsubscribe them.

    Attributes:
        find: returns the channel of a name; None when it is not wanted.
    """

    def __init__(self, context: Context, commands: SubscribeCommands) -> None:
        self._context = context
        self._commands = commands
        self._loop = asyncio.get_running_loop()
        self._channels: dict[bytes, Channel] = {}
        self._lingering = Lingering(context.counters)
        self._sweeper: asyncio.TimerHandle | None = None
        self.find: Callable[[bytes], Channel | None] = self._channels.get

    @property
    def all(self) -> Iterable[Channel]:
        """All of them, each after that of its marks."""
        return self._channels.values()

    def join(self, name: bytes, topic: str) -> Channel | None:
        """Subscribe one channel, and return it when it is not live yet."""
        channel = self._channels.get(name)
        if channel is None:
            channel = Channel(name, topic)
            self.want(channel)
        else:
            self._lingering.discard(name)
            if channel.state is ChannelState.LIVE:
                return None
            if channel.state is ChannelState.REFUSED:  # what an ACL forbids, it may allow later
                self.want(channel)
        return channel

    def want(self, channel: Channel) -> None:
        """Subscribe a channel, and before it the one of its marks, so that no message comes without."""
        histories = self._context.histories
        channel.pairing = pairing = None if histories is None else histories.pair(channel.name, channel.topic)
        if pairing is not None:
            marks = Channel(pairing.marks, channel.topic, pairing=pairing, marks_of=channel)
            channel.marks = self._channels[marks.name] = marks
            self._commands.queue(marks)
        self._channels[channel.name] = channel
        self._commands.queue(channel)

    def unsubscribe(self, names: Sequence[bytes]) -> None:
        """These channels are not wanted any more; they linger."""
        deadline = self._loop.time() + self._context.linger
        for name in names:
            if name in self._channels:
                self._lingering.add(name, deadline)
        if self._lingering.is_full:
            self._sweep()
        elif self._sweeper is None and self._lingering.first_deadline is not None:
            self._sweeper = self._loop.call_at(deadline, self._sweep)

    def unassign(self, is_elsewhere: Callable[[bytes], bool]) -> list[Channel]:
        """Give away the channels that are another server's; those that nobody is in are forgotten."""
        channels = [channel for channel in self._channels.values() if channel.marks_of is None]
        gone = [channel for channel in channels if is_elsewhere(channel.name)]
        return [channel for channel in gone if not self.forget(channel)]

    def forget(self, channel: Channel) -> bool:
        """Want a channel no longer, nor that of its marks; return whether nobody was in it."""
        if channel.marks is not None:
            self._channels.pop(channel.marks.name, None)
            self._commands.withdraw(channel.marks.name)
        self._channels.pop(channel.name, None)
        self._commands.withdraw(channel.name)
        return self._lingering.discard(channel.name)

    def close(self) -> None:
        """Want nothing any more."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._channels.clear()
        self._lingering.clear()

    def _sweep(self) -> None:
        """Unsubscribe what nobody came back to."""
        gone = []
        now = self._loop.time()
        expired = self._lingering.pop_expired(now, _SWEEP)
        for name in expired:
            channel = self._channels[name]
            self.forget(channel)
            if self._context.histories is not None:
                self._context.histories.unpair(channel.topic)
            both = (channel, channel.marks) if channel.marks is not None else (channel,)
            gone += [left for left in both if left.state in (ChannelState.SENT, ChannelState.LIVE)]
        self._commands.unsubscribe(gone)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        if len(expired) == _SWEEP:  # there may be more; all others have their turns first
            self._sweeper = self._loop.call_at(now, self._sweep)
        elif (deadline := self._lingering.first_deadline) is not None:
            # A little later than the first, to take more of them along.
            self._sweeper = self._loop.call_at(deadline + self._context.linger / 4, self._sweep)
