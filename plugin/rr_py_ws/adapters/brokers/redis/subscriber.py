"""Receiving: one connection that is subscribed to what this node's clients are in.

A channel is subscribed once, however many clients are in its topic. What is joined in one turn of the loop is
one command.

After a lost connection everything is subscribed again, in batches. A channel that was live before then has a
gap: messages may have been missed. The gap is told when the channel is live again, before any later message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.channels import Channel, ChannelState, wait_for
from rr_py_ws.adapters.brokers.redis.commands import SubscribeCommands
from rr_py_ws.adapters.brokers.redis.connection import Connection, ErrorReply
from rr_py_ws.adapters.brokers.redis.discovery import Resolver
from rr_py_ws.adapters.brokers.redis.gap import Gap
from rr_py_ws.adapters.brokers.redis.reconnect import Context, Reconnector
from rr_py_ws.adapters.brokers.redis.replies import is_pong, read_confirmation, unexpected
from rr_py_ws.adapters.brokers.redis.rights import Rights, require_subscribing
from rr_py_ws.adapters.brokers.redis.wanted import WantedChannels
from rr_py_ws.address import Address
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication

new_tuple = tuple.__new__
limited = logs.get_limited("broadcast")


class Subscriber(Reconnector):
    """Keeps subscriptions and hands on what arrives.

    Args:
        context: what all connections of the broker share.
        resolver: names the server.
        rights: of the user at this server.
        on_moved: gets a channel that is another server's now and not this subscriber's any more; and Redis'
            words for where it is, if it has said that. None where channels have no server of their own.

    Attributes:
        ready: whether everything that is wanted is subscribed.
        join: that of `WantedChannels`, like `unsubscribe` and `unassign`.
    """

    def __init__(
        self,
        context: Context,
        resolver: Resolver,
        rights: Rights,
        on_moved: Callable[[Channel, ErrorReply | None], None] | None = None,
    ) -> None:
        super().__init__(context, "subscribe", resolver, context.options.read_timeout)
        self._message = b"smessage" if context.options.sharded else b"message"
        self._commands = SubscribeCommands(sharded=context.options.sharded)
        self._on_publication = context.on_publication
        self._on_moved = on_moved
        self._wanted = WantedChannels(context, self._commands)
        self._find = self._wanted.find
        self._gap = Gap(context)
        self._rights = rights
        self._trial: Channel | None = None
        self.ready = False
        self.join = self._wanted.join
        self.unsubscribe = self._wanted.unsubscribe
        self.unassign = self._wanted.unassign

    # What is wanted

    def subscribe(self, wanted: Sequence[tuple[bytes, str]]) -> asyncio.Future[None] | None:
        """Subscribe channels, given as name and topic; None when all of them are live."""
        waiting = [channel for name, topic in wanted if (channel := self.join(name, topic))]
        return wait_for(waiting, self._context.join_timeout, lambda: self.problem)

    def assign(self, channel: Channel) -> None:
        """Go on with a channel that was another server's; messages may have been missed in between."""
        self._gap.begin()
        channel.interrupt()
        self._wanted.want(channel)
        self.ready = False

    def reconnect(self) -> None:
        """Open the connection anew: messages do not arrive though it seems to work."""
        if self._connection is not None:
            self._connection.close("what is subscribed does not arrive")

    async def settle(self) -> None:
        """Wait for the messages that Redis has taken before, if there is a connection.

        A server puts a message into the buffer of each subscriber before it answers the publisher, so the
        answer to a PING that is sent after that comes behind the message.
        """
        if self._connection is not None:
            with suppress(BrokerError):  # lost now, or before the answer
                await self._connection.request("PING")

    async def close(self) -> None:
        """End; joins that wait fail."""
        await super().close()
        for channel in self._wanted.all:
            channel.answer_joins(BrokerError("the redis broker is not running"))
        self._wanted.close()

    # Reconnector

    async def _verify(self, connection: Connection, address: Address) -> None:
        """Any server will do that the publisher is connected to, too, and that lets us subscribe."""
        await require_subscribing(connection, self._context.options)

    def _opened(self, connection: Connection, address: Address) -> None:
        connection.on_reply = self._receive
        self._rights.begin()
        self._trial = None
        self.problem = "no answer"
        # Also what was refused: it may be another server.
        self._commands.open(connection, self._wanted.all)
        self._go_on()

    async def _check(self, connection: Connection, address: Address) -> None:
        # The connection itself gives up on a server that does not answer; it only has to be asked.
        connection.send(("PING",), _check_pong)
        if self._rights.problem and self._trial is None:
            self._try_again(self._rights.refused)

    def _try_again(self, name: bytes) -> None:
        """Subscribe what was refused: it may be allowed meanwhile, and nobody may be left who asks for it."""
        channel = self._find(name)
        if channel is None:
            channel = self._trial = Channel(name, "")
        self._commands.queue(channel)

    def _unavailable(self, reason: str) -> None:
        was_connected = self._connection is not None
        super()._unavailable(reason)
        if was_connected:
            self.ready = False
            self._commands.lose()
            self._gap.begin()
            for channel in self._wanted.all:
                channel.interrupt()

    # What arrives

    def _receive(self, reply: Any) -> None:
        """Take a message or an answer.

        Raises:
            BrokerError: it is neither, or it is an error that is no channel's; the connection is of no use.
        """
        if type(reply) is list and len(reply) == 3:
            kind, name, value = reply
            if kind == self._message and type(name) is bytes and type(value) is bytes:
                if self._gap.untold:
                    self._gap.tell()
                # A message may still come after a channel was left, before Redis has read that.
                channel = self._find(name)
                if channel is not None:
                    if channel.pairing is not None:
                        channel.pairing.receive(name, value)
                        return
                    self._counters.received += 1
                    # As Publication(topic, payload), in half of the time: that is a function in Python.
                    publication = new_tuple(Publication, (channel.topic, value, None, 0.0, ()))
                    self._on_publication(publication)
                return
        commands = self._commands
        confirmed = read_confirmation(reply)
        if confirmed is not None and confirmed.word in (commands.subscribe_word, commands.unsubscribe_word):
            self._receive_confirmation(*confirmed)
        else:
            self._receive_answer(reply)

    def _receive_confirmation(self, word: bytes, name: bytes) -> None:
        channel = self._commands.confirm(word, name)
        is_subscribed = word == self._commands.subscribe_word
        if channel is None:
            # The answer to nothing: so a server of a cluster says that the slot of a channel has moved away.
            if is_subscribed or self._on_moved is None:
                raise BrokerError("it confirmed what was not asked for")
            if moved := self._find(name):
                self._move(moved.marks_of or moved, None)
            return
        if is_subscribed:
            self._rights.granted()
            if channel is self._trial:
                self._trial = None
                if self._find(name) is None:
                    self._commands.unsubscribe([channel])
        # It may have been left and joined again since: then the second command has its own answer.
        if is_subscribed and self._find(name) is channel:
            if channel.missed and channel.marks_of is None:
                self._gap.add(channel.topic)
            channel.confirm()
        self._go_on()

    def _receive_answer(self, reply: Any) -> None:
        assert self._connection is not None
        waiting = self._connection.waiting
        expected = waiting.popleft() if waiting else None
        if callable(expected):
            expected(reply)
            return
        if not isinstance(reply, ErrorReply):
            raise unexpected("nothing" if expected is None else expected[0].upper(), reply)
        if expected is None or expected[0] != self._commands.subscribe_word:
            if expected is None or reply.code != "NOPERM":
                raise reply
            # The channels stay subscribed, and what comes in them is dropped: no reason to lose messages.
            text = "redis refuses to unsubscribe, its user needs UNSUBSCRIBE"
            limited.warning(text, section=self._context.name, reason=reply.text)
            return
        channel = self._commands.refuse(expected)
        if channel is not None:
            self._refuse(channel, reply)
        self._go_on()

    def _refuse(self, channel: Channel, error: ErrorReply) -> None:
        if error.code == "MOVED" and self._on_moved is not None:
            self._move(channel.marks_of or channel, error)
        elif error.code == "NOPERM":
            channel.state = ChannelState.REFUSED
            if channel.marks_of is not None:  # its topic is one without a history then
                fields = {"section": self._context.name, "topic": channel.topic, "reason": error.text}
                limited.warning("redis refuses the marks of a history, &rrws:k:* is needed", **fields)
                return
            self._rights.refuse(channel.name, error)
            if channel is self._trial:
                self._trial = None
                return
            self._counters.subscriptions_refused += 1
            fields = {"section": self._context.name, "topic": channel.topic, "reason": error.text}
            limited.warning("redis refuses a subscription", **fields)
            if channel.missed:  # those who are in the topic would wait in silence for ever
                self._gap.add(channel.topic)
            channel.answer_joins(BrokerError("redis refuses the subscription", error.text))
        else:
            raise error

    def _move(self, channel: Channel, where: ErrorReply | None) -> None:
        assert self._on_moved is not None
        # A channel that only lingered is not worth subscribing elsewhere.
        if self._find(channel.name) is channel and not self._wanted.forget(channel):
            self._on_moved(channel, where)

    def _go_on(self) -> None:
        """Go on with what is queued, or note that nothing is left."""
        self._commands.flush()
        if not self.ready and self._commands.all_answered:
            self.ready = True
            self._gap.end()


def _check_pong(reply: Any) -> None:
    # Errors are answers, too: an ACL may forbid the command.
    if not (isinstance(reply, BrokerError) or is_pong(reply)):
        raise unexpected("PING", reply)
