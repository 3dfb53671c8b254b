"""The broker that links nodes. A topic is a channel, a payload travels as it is, no key is touched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

from rr_py_ws.adapters.brokers.redis.cluster import Shards
from rr_py_ws.adapters.brokers.redis.connector import Connector
from rr_py_ws.adapters.brokers.redis.counters import Counters
from rr_py_ws.adapters.brokers.redis.discovery import make_route
from rr_py_ws.adapters.brokers.redis.node import Pair, Setup
from rr_py_ws.adapters.brokers.redis.reconnect import Pace
from rr_py_ws.config import RedisOptions
from rr_py_ws.errors import BrokerError
from rr_py_ws.metrics import Sample


class _Servers(Protocol):
    """One server, or the shards of a cluster."""

    @property
    def ready(self) -> bool: ...
    async def attempt(self) -> str: ...
    def publish(self, channel: bytes, payload: bytes) -> Awaitable[None]: ...
    def subscribe(self, wanted: Sequence[tuple[bytes, str]]) -> Awaitable[None] | None: ...
    def unsubscribe(self, names: Sequence[bytes]) -> None: ...
    async def settle(self) -> None: ...
    async def close(self) -> None: ...


class RedisBroker:
    """Implements the port `Broker` with Redis pub/sub.

    A message that this node publishes comes back by its own subscription, like those of other nodes.

    Args:
        name: of the section of `broadcast`.
        options: of the section.
        key: where the options are in the file.
        pace: for tests; by default the options decide.

    Attributes:
        counters: what has happened so far.

    Raises:
        ConfigError: a file for TLS cannot be used.
    """

    def __init__(self, name: str, options: RedisOptions, key: str = "", pace: Pace | None = None) -> None:
        self._name = name
        self._options = options
        self._connector = Connector(options, key or f"broadcast.{name}.config")
        self._pace = pace or Pace(shortest=options.min_retry_backoff, longest=options.max_retry_backoff)
        self._prefix = options.prefix.encode("utf-8", "surrogateescape")
        self._servers: _Servers | None = None
        self.counters = Counters()

    @property
    def ready(self) -> bool:
        """Whether messages can be published and everything that clients are in is subscribed."""
        return self._servers is not None and self._servers.ready

    async def start(
        self, on_message: Callable[[str, bytes], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        """See `Broker.start`. Returns after the first attempt to connect, however it ended.

        Raises:
            BrokerError: it failed, and the option `on_start` is `fail`.
        """
        setup = Setup(
            self._name, self._options, self._connector, self._pace, self.counters, on_message, on_gap
        )
        if self._options.sharded:
            self._servers = Shards(setup)
        else:
            route = make_route(self._options, self._connector)
            self._servers = Pair(setup, route, on_unavailable=_nothing, on_moved=_nothing)
        problem = await self._servers.attempt()
        if problem and self._options.on_start == "fail":
            await self.close()
            raise BrokerError(problem)

    def metrics(self) -> Iterator[Sample]:
        """See `Broker.metrics`."""
        return self.counters.metrics(self._name)

    def publish(self, topic: str, payload: bytes) -> Awaitable[None]:
        """See `Broker.publish`: done when Redis has answered."""
        return self._running().publish(self._channel(topic), payload)

    def subscribe(self, topics: Sequence[str]) -> Awaitable[None] | None:
        """See `Broker.subscribe`: done when Redis has confirmed."""
        return self._running().subscribe([(self._channel(topic), topic) for topic in topics])

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """See `Broker.unsubscribe`."""
        with suppress(BrokerError):  # what cannot be subscribed need not be unsubscribed
            self._running().unsubscribe([self._channel(topic) for topic in topics])

    async def settle(self) -> None:
        """See `Broker.settle`."""
        if self._servers is not None:
            await self._servers.settle()

    async def close(self) -> None:
        """See `Broker.close`."""
        servers, self._servers = self._servers, None
        if servers is not None:
            await servers.close()

    def _running(self) -> _Servers:
        if self._servers is None:
            raise BrokerError("the redis broker is not running")
        return self._servers

    def _channel(self, topic: str) -> bytes:
        try:
            return self._prefix + topic.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise BrokerError("the topic cannot be the name of a channel: it is no text") from None


def _nothing(*_: object) -> None:
    pass
