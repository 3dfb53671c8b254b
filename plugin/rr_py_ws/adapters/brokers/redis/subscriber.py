"""Receiving: one connection that is subscribed to what this node's clients are in.

A channel is subscribed once, however many clients are in its topic. What is joined in one turn of the loop is
one command. A channel that nobody is in any more stays for a moment, so that a page reload costs nothing.

After a lost connection everything is subscribed again, in batches. A channel that was live before then has a
gap: messages may have been missed. It is told when the channel is live again, before any later message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.channels import Channel, Join, State, Verbs
from rr_py_ws.adapters.brokers.redis.connection import ErrorReply, Link
from rr_py_ws.adapters.brokers.redis.counters import Counters
from rr_py_ws.adapters.brokers.redis.endpoint import Endpoint
from rr_py_ws.adapters.brokers.redis.gap import Gap
from rr_py_ws.errors import BrokerError

_UNCONFIRMED = 5000
"""Channels whose subscription Redis has not answered, above which further ones wait."""
_PING = object()

limited = logs.get_limited("broadcast")


@dataclass(slots=True)
class _Command:
    """A command whose answers are expected: one for each of its channels, or one error."""

    answer: bytes
    channels: Sequence[Channel]
    answered: int = 0

    @property
    def next(self) -> Channel:
        """The channel of the next answer."""
        return self.channels[self.answered]


class Feed:
    """Keeps subscriptions and hands on what arrives; the user of an uplink.

    Args:
        name: of the section, for the log.
        verbs: classic or sharded pub/sub.
        on_message: gets topic and payload.
        on_moved: gets a channel that is another server's now and not this feed's any more; and Redis' words
            for where it is, if it has said that.
        gap: is told what may have been missed.
        counters: counted into.
        linger: seconds that a channel stays which nobody is in any more.

    Attributes:
        problem: why there is no connection.
        ready: whether everything that is wanted is subscribed.
    """

    def __init__(
        self,
        name: str,
        verbs: Verbs,
        on_message: Callable[[str, bytes], None],
        on_moved: Callable[[Channel, ErrorReply | None], None],
        gap: Gap,
        counters: Counters,
        linger: float,
    ) -> None:
        self._name = name
        self._verbs = verbs
        self._on_message = on_message
        self._on_moved = on_moved
        self._gap = gap
        self._counters = counters
        self._linger = linger
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._channels: dict[bytes, Channel] = {}
        self._queue: deque[Channel] = deque()
        self._flush_scheduled = False
        self._unconfirmed = 0
        self._idle: dict[bytes, float] = {}
        self._leaving: deque[tuple[float, bytes]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self.problem = "not connected yet"
        self.ready = False

    # What is wanted

    def subscribe(self, name: bytes, topic: str, join: Join) -> None:
        """Subscribe a channel; the join waits for it when it is not live."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name, topic)
            self._enqueue(channel)
        else:
            self._idle.pop(name, None)
            if channel.state is State.LIVE:
                return
            if channel.state is State.REFUSED:  # what an ACL forbids, it may allow later
                self._enqueue(channel)
        join.wait_for(channel)

    def unsubscribe(self, names: Sequence[bytes]) -> None:
        """These channels are not wanted any more; they stay for a moment."""
        deadline = self._loop.time() + self._linger
        for name in names:
            if name in self._channels:
                self._idle[name] = deadline
                self._leaving.append((deadline, name))
        if self._leaving and self._sweeper is None:
            self._sweeper = self._loop.call_at(deadline, self._sweep)

    def adopt(self, channel: Channel) -> None:
        """Go on with a channel that was another server's; messages may have been missed in between."""
        self._gap.begin()
        channel.interrupt()
        self._channels[channel.name] = channel
        self._enqueue(channel)
        self.ready = False

    def release(self, is_foreign: Callable[[bytes], bool]) -> list[Channel]:
        """Give away the channels that are another server's; those that nobody is in are forgotten."""
        foreign = [channel for channel in self._channels.values() if is_foreign(channel.name)]
        for channel in foreign:
            del self._channels[channel.name]
        return [channel for channel in foreign if self._idle.pop(channel.name, None) is None]

    async def settle(self) -> None:
        """Wait for the messages that Redis has taken before, if there is a connection.

        A server puts a message into the buffer of each subscriber before it answers the publisher, so the
        answer to a PING that is sent after that comes behind the message.
        """
        if self._link is not None:
            with suppress(BrokerError):  # lost now, or before the answer
                await self._link.request(b"PING")

    def close(self) -> None:
        """Let go of everybody who waits."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for channel in self._channels.values():
            channel.fail(BrokerError("the redis broker is not running"))
        self._channels.clear()

    # uplink.User

    async def opened(self, link: Link, endpoint: Endpoint) -> None:
        """See `User.opened`: subscribe everything."""
        link.on_reply = self._receive
        self._link = link
        self.problem = "no answer"
        self._queue = deque(self._channels.values())
        for channel in self._queue:
            channel.state = State.QUEUED
        self._flush()
        self._note_progress()

    async def check(self, link: Link, endpoint: Endpoint) -> None:
        """See `User.check`: the link itself gives a server up that does not answer."""
        link.send((b"PING",), _PING)

    def unavailable(self, reason: str) -> None:
        """See `User.unavailable`."""
        self.problem = reason
        if self._link is None:
            return
        self._link = None
        self.ready = False
        self._unconfirmed = 0
        self._counters.connections_lost += 1
        self._gap.begin()
        for channel in self._channels.values():
            channel.interrupt()

    # What is sent

    def _enqueue(self, channel: Channel) -> None:
        channel.state = State.QUEUED
        self._queue.append(channel)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Subscribe what is queued, as far as the window allows."""
        self._flush_scheduled = False
        while self._queue and self._link is not None and self._unconfirmed < _UNCONFIRMED:
            batch: list[Channel] = []
            while self._queue and len(batch) < self._verbs.batch:
                channel = self._queue.popleft()
                if channel.state is State.QUEUED and self._channels.get(channel.name) is channel:
                    channel.state = State.SENT
                    batch.append(channel)
            if batch:
                self._send_subscribe(batch)

    def _send_subscribe(self, channels: Sequence[Channel]) -> None:
        self._unconfirmed += len(channels)
        self._send(self._verbs.subscribe, self._verbs.subscribed, channels)

    def _send(self, verb: bytes, answer: bytes, channels: Sequence[Channel]) -> None:
        if self._link is not None:
            with suppress(BrokerError):  # lost in this moment; all is subscribed again when it is back
                self._link.send((verb, *(channel.name for channel in channels)), _Command(answer, channels))

    def _sweep(self) -> None:
        """Unsubscribe what nobody came back to."""
        now = self._loop.time()
        gone = []
        while self._leaving and self._leaving[0][0] <= now:
            deadline, name = self._leaving.popleft()
            if self._idle.get(name) == deadline:
                del self._idle[name]
                channel = self._channels.pop(name)
                if channel.state in (State.SENT, State.LIVE):
                    gone.append(channel)
        for at in range(0, len(gone), self._verbs.batch):
            self._send(self._verbs.unsubscribe, self._verbs.unsubscribed, gone[at : at + self._verbs.batch])
        self._sweeper = None
        if self._leaving:  # a little later than the first, to take more of them along
            self._sweeper = self._loop.call_at(self._leaving[0][0] + self._linger / 4, self._sweep)

    # What arrives

    def _receive(self, reply: Any) -> None:
        """Take a push or an answer.

        Raises:
            BrokerError: it is neither, or it is an error that is no channel's; the connection is of no use.
        """
        if type(reply) is list and len(reply) == 3:
            kind, name, value = reply
            if kind == self._verbs.message and type(name) is bytes and type(value) is bytes:
                if self._gap.untold:
                    self._gap.tell()
                channel = self._channels.get(name)
                if channel is not None:
                    self._counters.received += 1
                    self._on_message(channel.topic, value)
                return
            if type(name) is bytes and kind in (self._verbs.subscribed, self._verbs.unsubscribed):
                self._receive_confirmation(kind, name)
                return
        self._receive_answer(reply)

    def _receive_confirmation(self, kind: bytes, name: bytes) -> None:
        waiting = self._waiting
        command = waiting[0] if waiting else None
        if not isinstance(command, _Command) or command.answer != kind or command.next.name != name:
            self._receive_dismissal(kind, name)
            return
        expected = command.next
        command.answered += 1
        if command.answered == len(command.channels):
            waiting.popleft()
        if kind == self._verbs.subscribed:
            self._unconfirmed -= 1
            if self._channels.get(name) is expected:
                if expected.missed:
                    self._gap.add(expected.topic)
                expected.confirm()
        self._note_progress()

    def _receive_dismissal(self, kind: bytes, name: bytes) -> None:
        """Take an answer to nothing: so a server says that the slot of a channel has moved away."""
        if kind != self._verbs.unsubscribed:
            raise BrokerError("it confirmed what was not asked for")
        if channel := self._channels.get(name):
            self._move(channel, None)

    def _receive_answer(self, reply: Any) -> None:
        command = self._waiting.popleft() if self._waiting else None
        if command is _PING:  # also when an ACL forbids it: it answers
            return
        if callable(command):
            command(reply)
            return
        if not isinstance(reply, ErrorReply):
            raise BrokerError("it sent what nobody asked for")
        if command is None or command.answer != self._verbs.subscribed:
            raise reply
        self._unconfirmed -= len(command.channels)
        if len(command.channels) > 1:  # one of them is refused; which one?
            for channel in command.channels:
                self._send_subscribe([channel])
        else:
            self._refuse(command.channels[0], reply)
        self._note_progress()

    def _refuse(self, channel: Channel, error: ErrorReply) -> None:
        if error.code == "MOVED":
            self._move(channel, error)
        elif error.code == "NOPERM":
            channel.state = State.REFUSED
            self._counters.subscriptions_refused += 1
            limited.warning("redis refuses a subscription", section=self._name, topic=channel.topic)
            channel.fail(BrokerError(f"redis refuses the subscription: {error.text}"))
        else:
            raise error

    def _move(self, channel: Channel, where: ErrorReply | None) -> None:
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            if self._idle.pop(channel.name, None) is None:
                self._on_moved(channel, where)

    def _note_progress(self) -> None:
        """Go on with what is queued, or note that nothing is left."""
        if self._queue:
            self._flush()
        if not self.ready and self._link is not None and not self._unconfirmed and not self._queue:
            self.ready = True
            self._gap.end()

    @property
    def _waiting(self) -> deque[Any]:
        assert self._link is not None
        return self._link.waiting
