"""Publishing: one connection, pipelined, an answer for each message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.advice import give_advice
from rr_py_ws.adapters.brokers.redis.calls import Run
from rr_py_ws.adapters.brokers.redis.connection import Connection, ErrorReply
from rr_py_ws.adapters.brokers.redis.discovery import Resolver
from rr_py_ws.adapters.brokers.redis.reconnect import Context, Reconnector
from rr_py_ws.adapters.brokers.redis.replies import unexpected
from rr_py_ws.adapters.brokers.redis.rights import Rights, require_publishing
from rr_py_ws.address import Address
from rr_py_ws.errors import BrokerError

OVERHEAD = 1400
"""Bytes that a message takes until it is answered, besides those of channel and payload: futures, callbacks,
and the call that waits (measured: 840 with `PublishAsync`, 1,370 with `Publish`)."""

limited = logs.get_limited("broadcast")


class Publisher(Reconnector):
    """Hands messages to a server.

    Args:
        context: what all connections of the broker share.
        resolver: names the server, and knows whether messages reach everybody through it.
        rights: of the user at this server.
        on_address: told through which server messages are published; None when through none, once more for
            each attempt to connect that fails.
    """

    def __init__(
        self,
        context: Context,
        resolver: Resolver,
        rights: Rights,
        on_address: Callable[[Address | None], None],
    ) -> None:
        options = context.options
        timeout = options.read_timeout if options.write_timeout is None else options.write_timeout
        super().__init__(context, "publish", resolver, timeout)
        self._command = b"SPUBLISH" if options.sharded else b"PUBLISH"
        self._rights = rights
        self._queue_limit = options.publish_queue
        self._on_address = on_address

    @property
    def ready(self) -> bool:
        """Whether messages can be published."""
        return self._connection is not None

    def publish(self, channel: bytes, payload: bytes) -> asyncio.Future[None]:
        """Send a message in the write that ends this turn.

        Returns:
            a future that is done when the server has answered.

        Raises (now, or from the future):
            BrokerError: it cannot be sent; or the answer is an error or does not come, and then nobody knows
                whether it was published.
        """
        try:
            connection = self._connection
            if connection is None:
                raise BrokerError("redis is not available: no connection", self.problem)
            counters = self._counters
            # Also what was written long ago: as long as it is not answered, somebody holds a future for it.
            if counters.unanswered_bytes > self._queue_limit:
                raise BrokerError(f"redis does not keep up: {counters.unanswered_bytes} bytes wait for it")
            size = len(channel) + len(payload) + OVERHEAD
            accepted: asyncio.Future[None] = self._loop.create_future()
            connection.send(
                (self._command, channel, payload), partial(self._answered, accepted, channel, size)
            )
            counters.unanswered_bytes += size
        except BrokerError:
            self._counters.publish_failures += 1
            raise
        return accepted

    def run(self, call: Run, *, asking: bool = False) -> asyncio.Future[Any]:
        """Run a script in the write that ends this turn.

        Args:
            call: which one, with what.
            asking: another node has sent us here for a slot that is about to move here.

        Returns:
            a future of the reply; it fails as that of `Connection.request` does.

        Raises:
            BrokerError: it cannot be sent.
        """
        answered = self._loop.create_future()
        self.run_then(call, partial(_settle, answered), asking=asking)
        return answered

    def run_then(self, call: Run, then: Callable[[Any], None], *, asking: bool = False) -> None:
        """Do the same, and call `then` with the reply or the error, as soon as it is here.

        Raises:
            BrokerError: it cannot be sent; then nothing is called.
        """
        connection = self._connection
        if connection is None:
            raise BrokerError("redis is not available: no connection", self.problem)
        counters = self._counters
        if counters.unanswered_bytes > self._queue_limit:
            raise BrokerError(f"redis does not keep up: {counters.unanswered_bytes} bytes wait for it")
        size = call.size + OVERHEAD
        if asking:
            connection.send(("ASKING",), _ignore)
        connection.send_later(call.by_digest, partial(self._ran, then, call, size, asking))
        counters.unanswered_bytes += size

    def _ran(self, then: Callable[[Any], None], call: Run, size: int, asking: bool, reply: Any) -> None:
        if isinstance(reply, ErrorReply) and reply.code == "NOSCRIPT" and self._connection is not None:
            # A server that was started anew, or whose scripts were flushed. All that were sent meanwhile come
            # back so, in order.
            with suppress(BrokerError):
                if asking:
                    self._connection.send(("ASKING",), _ignore)
                again = partial(self._ran, then, call, size, asking)
                self._connection.send_later(call.with_text, again)
                return
        self._counters.unanswered_bytes -= size
        wrong = None
        if not isinstance(reply, BrokerError) and type(reply) is not list:
            # The answer to something else, as in `_answered`.
            reply = wrong = BrokerError(f"redis at {self._address}: {unexpected('EVALSHA', reply)}")
        then(reply)
        if wrong is not None:
            raise wrong

    def _answered(self, accepted: asyncio.Future[None], channel: bytes, size: int, reply: Any) -> None:
        """Take the number of receivers on that server, which says little, or an error."""
        self._counters.unanswered_bytes -= size
        wrong: BrokerError | None = None
        if type(reply) is int and reply >= 0:
            self._counters.published += 1
            if not accepted.done():  # the caller may have gone
                accepted.set_result(None)
            return
        # What is sent once more, to where the slot is, has not failed yet.
        self._counters.publish_failures += getattr(reply, "code", "") != "MOVED"
        if isinstance(reply, ErrorReply):
            if self._rights.refuse(channel, reply):
                wrong = (
                    reply  # every message would be refused; the next connection is tried before it is used
                )
            fields = {"section": self._context.name, "channel": channel, "reason": reply.text}
            limited.warning("redis refuses a message", **fields)
        elif not isinstance(reply, BrokerError):
            # The answer to something else: nobody knows what was published.
            reply = wrong = BrokerError(f"redis at {self._address}: {unexpected(self._command, reply)}")
            wrong.public = "redis answered something else"
        if not accepted.done():
            accepted.set_exception(reply)
        if wrong is not None:
            raise wrong

    async def _verify(self, connection: Connection, address: Address) -> None:
        await self._resolver.verify(connection, address)
        await require_publishing(connection, self._context.options)
        if self._context.histories is not None:
            async for text in give_advice(connection, address, self._context.options):
                self._context.histories.advise(text)

    async def _check(self, connection: Connection, address: Address) -> None:
        await self._resolver.verify(connection, address)  # what is forbidden meanwhile is seen by the answers

    def _opened(self, connection: Connection, address: Address) -> None:
        self._on_address(address)
        if self._context.histories is not None:
            self._context.histories.connected()

    def _unavailable(self, reason: str) -> None:
        super()._unavailable(reason)
        self._on_address(None)


def _settle(answered: asyncio.Future[Any], reply: Any) -> None:
    if answered.done():  # the caller may have gone
        return
    if isinstance(reply, BrokerError):
        answered.set_exception(reply)
    else:
        answered.set_result(reply)


def _ignore(reply: Any) -> None:
    """What matters is how the next command is answered."""
