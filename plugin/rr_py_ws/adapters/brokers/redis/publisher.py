"""Publishing: one connection, pipelined, an answer for each message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from rr_py_ws.adapters.brokers.redis.connection import Connection
from rr_py_ws.adapters.brokers.redis.discovery import Resolver
from rr_py_ws.adapters.brokers.redis.reconnect import Context, Reconnector
from rr_py_ws.adapters.brokers.redis.replies import unexpected
from rr_py_ws.address import Address
from rr_py_ws.errors import BrokerError

_OVERHEAD = 1400
"""Bytes that a message takes until it is answered, besides those of channel and payload: futures, callbacks,
and the call that waits (measured: 840 with `PublishAsync`, 1,370 with `Publish`)."""


class Publisher(Reconnector):
    """Hands messages to a server.

    Args:
        context: what all connections of the broker share.
        resolver: names the server, and knows whether messages reach everybody through it.
        on_address: told through which server messages are published; None when through none, once more for
            each attempt to connect that fails.
    """

    def __init__(
        self, context: Context, resolver: Resolver, on_address: Callable[[Address | None], None]
    ) -> None:
        options = context.options
        timeout = options.read_timeout if options.write_timeout is None else options.write_timeout
        super().__init__(context, "publish", resolver, timeout)
        self._command = b"SPUBLISH" if options.sharded else b"PUBLISH"
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
                raise BrokerError(f"redis is not available: {self.problem}")
            counters = self._counters
            # Also what was written long ago: as long as it is not answered, somebody holds a future for it.
            if counters.unanswered_bytes > self._queue_limit:
                raise BrokerError(f"redis does not keep up: {counters.unanswered_bytes} bytes wait for it")
            size = len(channel) + len(payload) + _OVERHEAD
            accepted: asyncio.Future[None] = self._loop.create_future()
            connection.send((self._command, channel, payload), partial(self._answered, accepted, size))
            counters.unanswered_bytes += size
        except BrokerError:
            self._counters.publish_failures += 1
            raise
        return accepted

    def _answered(self, accepted: asyncio.Future[None], size: int, reply: Any) -> None:
        """Take the number of receivers on that server, which says little, or an error."""
        self._counters.unanswered_bytes -= size
        wrong = None
        if type(reply) is int and reply >= 0:
            self._counters.published += 1
            if not accepted.done():  # the caller may have gone
                accepted.set_result(None)
            return
        self._counters.publish_failures += 1
        if not isinstance(reply, BrokerError):
            # The answer to something else: nobody knows what was published.
            reply = wrong = BrokerError(f"redis at {self._address}: {unexpected(self._command, reply)}")
        if not accepted.done():
            accepted.set_exception(reply)
        if wrong is not None:
            raise wrong

    async def _verify(self, connection: Connection, address: Address) -> None:
        await self._resolver.verify(connection, address)

    def _opened(self, connection: Connection, address: Address) -> None:
        self._on_address(address)

    def _unavailable(self, reason: str) -> None:
        super()._unavailable(reason)
        self._on_address(None)
