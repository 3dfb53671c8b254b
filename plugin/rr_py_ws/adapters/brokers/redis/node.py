"""One server at a time, two connections to it: one publishes, one is subscribed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rr_py_ws.adapters.brokers.redis.calls import Run
from rr_py_ws.adapters.brokers.redis.channels import Channel
from rr_py_ws.adapters.brokers.redis.connection import ErrorReply
from rr_py_ws.adapters.brokers.redis.discovery import Resolver
from rr_py_ws.adapters.brokers.redis.publisher import Publisher
from rr_py_ws.adapters.brokers.redis.reconnect import Context
from rr_py_ws.adapters.brokers.redis.rights import Rights
from rr_py_ws.adapters.brokers.redis.subscriber import Subscriber
from rr_py_ws.address import Address


class NodeConnections:
    """Publishes through, and receives from, the server that a resolver names.

    The two connections fail one by one, but they are never connected to different servers for long.

    Args:
        context: what all connections of the broker share.
        resolver: where to connect.
        on_unavailable: called when messages cannot be published, and each time that connecting fails.
        on_moved: gets a channel that is another server's now, as for `Subscriber`.

    Attributes:
        subscriber: the connection that receives.
        publish: that of the publisher; each call between would cost every message.
        subscribe: that of the subscriber, like `unsubscribe` and `settle`.
        run_here: that of the publisher, which runs a script.
    """

    def __init__(
        self,
        context: Context,
        resolver: Resolver,
        on_unavailable: Callable[[], None] | None = None,
        on_moved: Callable[[Channel, ErrorReply | None], None] | None = None,
    ) -> None:
        self._resolver = resolver
        self._on_unavailable = on_unavailable
        self._rights = rights = Rights(context)
        self._publisher = Publisher(context, resolver, rights, self._publishing_at)
        self.subscriber = Subscriber(context, resolver, rights, on_moved)
        self.publish = self._publisher.publish
        self.subscribe = self.subscriber.subscribe
        self.unsubscribe = self.subscriber.unsubscribe
        self.settle = self.subscriber.settle
        self.run_here = self._publisher.run

    @property
    def ready(self) -> bool:
        """Whether messages can be published and everything that is wanted is subscribed.

        Not when Redis would refuse all of it.
        """
        return self._publisher.ready and self.subscriber.ready and not self._rights.problem

    def run(self, channel: bytes, call: Run) -> asyncio.Future[Any]:
        """Run a script, whatever channel it is for: there is one server."""
        return self.run_here(call)

    def run_then(self, channel: bytes, call: Run, then: Callable[[Any], None]) -> None:
        """Do the same as `Publisher.run_then` does."""
        self._publisher.run_then(call, then)

    def publish_beside(self, channel: bytes, payload: bytes) -> asyncio.Future[None]:
        """Publish where scripts run: there is one server."""
        return self.publish(channel, payload)

    def reconnect(self, channel: bytes) -> None:
        """Open the connection anew through which a channel is received."""
        self.subscriber.reconnect()

    async def first_attempt(self) -> str:
        """Wait for the first attempt to connect; return why it failed, or nothing."""
        problems = await asyncio.gather(self._publisher.first_attempt, self.subscriber.first_attempt)
        return next(filter(None, problems), "")

    async def close(self) -> None:
        """Close the connections; joins that wait fail."""
        await self._publisher.close()
        await self.subscriber.close()
        self._resolver.close()

    def _publishing_at(self, address: Address | None) -> None:
        # A message that is published at one server must not be waited for at another.
        self.subscriber.require(address)
        if address is None and self._on_unavailable is not None:
            self._on_unavailable()
