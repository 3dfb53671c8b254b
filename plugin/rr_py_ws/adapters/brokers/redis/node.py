"""One server at a time, two connections to it: one publishes, one is subscribed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rr_py_ws.adapters.brokers.redis.channels import CLASSIC, SHARDED, Channel, Join, Verbs
from rr_py_ws.adapters.brokers.redis.connection import ErrorReply, Link
from rr_py_ws.adapters.brokers.redis.connector import Connector
from rr_py_ws.adapters.brokers.redis.counters import Counters
from rr_py_ws.adapters.brokers.redis.discovery import Route
from rr_py_ws.adapters.brokers.redis.endpoint import Endpoint
from rr_py_ws.adapters.brokers.redis.gap import Gap
from rr_py_ws.adapters.brokers.redis.publisher import Outlet
from rr_py_ws.adapters.brokers.redis.reconnect import Pace, Uplink
from rr_py_ws.adapters.brokers.redis.subscriber import Feed
from rr_py_ws.config import RedisOptions


@dataclass(frozen=True, slots=True)
class Setup:
    """What all connections of one broker share."""

    name: str
    options: RedisOptions
    connector: Connector
    pace: Pace
    counters: Counters
    on_message: Callable[[str, bytes], None]
    on_gap: Callable[[Sequence[str]], None]

    @property
    def verbs(self) -> Verbs:
        """Classic pub/sub, or that of the shards of a cluster."""
        return SHARDED if self.options.sharded else CLASSIC

    def join(self, explain: Callable[[], str]) -> Join:
        """Make a join; `explain` says why it takes so long."""
        options = self.options
        timeout = options.read_timeout + 1 if options.pool_timeout is None else options.pool_timeout
        return Join(timeout, explain)

    async def connect(self, endpoint: Endpoint) -> Link:
        """Connect for anything but publishing."""
        return await self.connector.connect(endpoint, self.options.read_timeout)

    async def connect_outlet(self, endpoint: Endpoint) -> Link:
        """Connect for publishing."""
        options = self.options
        timeout = options.read_timeout if options.write_timeout is None else options.write_timeout
        return await self.connector.connect(endpoint, timeout)


class Pair:
    """Publishes through, and receives from, the server that a route names.

    The two connections fail one by one, but they are never connected to different servers for long.

    Args:
        setup: what all connections share.
        route: where to connect.
        on_unavailable: called when messages cannot be published, and each time that connecting fails.
        on_moved: see `Feed`.
    """

    def __init__(
        self,
        setup: Setup,
        route: Route,
        on_unavailable: Callable[[], None],
        on_moved: Callable[[Channel, ErrorReply | None], None],
    ) -> None:
        self._setup = setup
        self._route = route
        self._on_unavailable = on_unavailable
        self._outlet = Outlet(
            setup.verbs.publish,
            route.examine,
            setup.options.publish_queue,
            setup.counters,
            self._publishing_at,
        )
        self.feed = Feed(
            setup.name,
            setup.verbs,
            setup.on_message,
            on_moved,
            Gap(setup.name, setup.on_gap, setup.counters),
            setup.counters,
            setup.pace.linger,
        )
        self._up = Uplink(setup.name, "publish", route, setup.connect_outlet, self._outlet, setup.pace)
        self._down = Uplink(setup.name, "subscribe", route, setup.connect, self.feed, setup.pace)

    @property
    def ready(self) -> bool:
        """Whether messages can be published and everything that is wanted is subscribed."""
        return self._outlet.ready and self.feed.ready

    async def attempt(self) -> str:
        """Wait for the first attempt to connect; return why it failed, or nothing."""
        problems = await asyncio.gather(self._up.attempted, self._down.attempted)
        return next(filter(None, problems), "")

    def publish(self, channel: bytes, payload: bytes) -> asyncio.Future[None]:
        """See `Outlet.publish`."""
        return self._outlet.publish(channel, payload)

    def subscribe(self, wanted: Sequence[tuple[bytes, str]]) -> Awaitable[None] | None:
        """Subscribe channels, given as name and topic; None when all of them are live."""
        join = self._setup.join(lambda: self.feed.problem)
        for name, topic in wanted:
            self.feed.subscribe(name, topic, join)
        return join.future

    def unsubscribe(self, names: Sequence[bytes]) -> None:
        """These channels are not wanted any more."""
        self.feed.unsubscribe(names)

    async def settle(self) -> None:
        """Wait for what was published here and is on its way back; see `Feed.settle`."""
        await self.feed.settle()

    async def close(self) -> None:
        """Close the connections; joins that wait fail."""
        await self._up.close()
        await self._down.close()
        self.feed.close()
        self._route.close()

    def _publishing_at(self, endpoint: Endpoint | None) -> None:
        self._down.require(endpoint)
        if endpoint is None:
            self._on_unavailable()
