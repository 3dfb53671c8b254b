"""Publishing: one connection, pipelined, an answer for each message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from rr_py_ws.adapters.brokers.redis.connection import Link
from rr_py_ws.adapters.brokers.redis.counters import Counters
from rr_py_ws.adapters.brokers.redis.endpoint import Endpoint
from rr_py_ws.errors import BrokerError


class Outlet:
    """Hands messages to a server; the user of an uplink.

    Args:
        command: `PUBLISH` or `SPUBLISH`.
        examine: raises `BrokerError` when messages would not reach everybody.
        queue: most bytes that may wait for the server to read them.
        counters: counted into.
        moved: told through which server messages are published; None when through none.

    Attributes:
        ready: whether messages can be published.
    """

    def __init__(
        self,
        command: bytes,
        examine: Callable[[Link, Endpoint], Awaitable[None]],
        queue: int,
        counters: Counters,
        moved: Callable[[Endpoint | None], None],
    ) -> None:
        self._command = command
        self._examine = examine
        self._queue = queue
        self._counters = counters
        self._moved = moved
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._problem = "not connected yet"

    @property
    def ready(self) -> bool:
        """Whether messages can be published."""
        return self._link is not None

    def publish(self, channel: bytes, payload: bytes) -> asyncio.Future[None]:
        """Send a message in the write that ends this turn.

        Returns:
            a future that is done when the server has answered.

        Raises (now, or from the future):
            BrokerError: it cannot be sent; or the answer is an error or does not come, and then nobody knows
                whether it was published.
        """
        try:
            link = self._link
            if link is None:
                raise BrokerError(f"redis is not available: {self._problem}")
            if link.unsent > self._queue:
                raise BrokerError(f"redis does not keep up: {link.unsent} bytes wait for it")
            accepted: asyncio.Future[None] = self._loop.create_future()
            link.send((self._command, channel, payload), partial(self._answered, accepted))
        except BrokerError:
            self._counters.publish_failures += 1
            raise
        return accepted

    def _answered(self, accepted: asyncio.Future[None], reply: Any) -> None:
        """Take the number of receivers on that server, which says little, or an error."""
        failed = isinstance(reply, BrokerError)
        if failed:
            self._counters.publish_failures += 1
        else:
            self._counters.published += 1
        if accepted.done():
            return
        if failed:
            accepted.set_exception(reply)
        else:
            accepted.set_result(None)

    # uplink.User

    async def opened(self, link: Link, endpoint: Endpoint) -> None:
        """See `User.opened`."""
        await self._examine(link, endpoint)
        self._link = link
        self._moved(endpoint)

    async def check(self, link: Link, endpoint: Endpoint) -> None:
        """See `User.check`."""
        await self._examine(link, endpoint)

    def unavailable(self, reason: str) -> None:
        """See `User.unavailable`."""
        if self._link is not None:
            self._link = None
            self._counters.connections_lost += 1
        self._problem = reason
        self._moved(None)
