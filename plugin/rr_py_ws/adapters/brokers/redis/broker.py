"""The broker that links nodes. A topic is a channel, a payload travels as it is, no key is touched."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from rr_py_ws.adapters.brokers.redis.cluster import ShardedCluster
from rr_py_ws.adapters.brokers.redis.connector import Connector
from rr_py_ws.adapters.brokers.redis.discovery import make_resolver, parse_address
from rr_py_ws.adapters.brokers.redis.metrics import RedisMetrics
from rr_py_ws.adapters.brokers.redis.node import NodeConnections
from rr_py_ws.adapters.brokers.redis.reconnect import Context
from rr_py_ws.config import RedisOptions
from rr_py_ws.errors import BrokerError, ConfigError
from rr_py_ws.metrics import Sample
from rr_py_ws.wire.publication import Publication


class RedisBroker:
    """Implements the port `Broker` with Redis pub/sub.

    A message that this node publishes comes back by its own subscription, like those of other nodes. Of a
    publication only topic and payload go through Redis, so that anybody interoperates.

    Args:
        name: of the section of `broadcast`.
        options: of the section.
        key: where the options are in the file.
        check_interval: seconds between two checks of a connection that works.
        linger: seconds that a topic stays subscribed that nobody is in any more, so that a page reload costs
            nothing.

    Attributes:
        counters: what has happened so far.

    Raises:
        ConfigError: an address or a file for TLS cannot be used.
    """

    def __init__(
        self,
        name: str,
        options: RedisOptions,
        key: str = "",
        *,
        check_interval: float = 3.0,
        linger: float = 3.0,
    ) -> None:
        key = key or f"broadcast.{name}.config"
        self._name = name
        self._options = options
        self._connector = Connector(options, key)
        try:
            self._addresses = [parse_address(address) for address in options.addrs]
        except ValueError as error:
            raise ConfigError(f"{key}.addrs", str(error)) from error
        self._check_interval = check_interval
        self._linger = linger
        self._prefix = options.prefix.encode("utf-8", "surrogateescape")
        self._servers: NodeConnections | ShardedCluster | None = None
        self._publish: Callable[[bytes, bytes], Future[None]] = _not_running
        self.counters = RedisMetrics()

    @property
    def ready(self) -> bool:
        """Whether messages can be published and everything that clients are in is subscribed."""
        return self._servers is not None and self._servers.ready

    async def start(
        self, on_publication: Callable[[Publication], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        """Begin; returns after the first attempt to connect, however it ended.

        Raises:
            BrokerError: it failed, and the option `on_start` is `fail`.
        """
        context = Context(
            self._name,
            self._options,
            self._addresses,
            self._connector,
            self._check_interval,
            self._linger,
            self.counters,
            on_publication,
            on_gap,
        )
        if self._options.sharded:
            self._servers = ShardedCluster(context)
        else:
            resolver = make_resolver(self._options, self._addresses, self._connector)
            self._servers = NodeConnections(context, resolver)
        self._publish = self._servers.publish
        problem = await self._servers.first_attempt()
        if problem and self._options.on_start == "fail":
            await self.close()
            raise BrokerError(problem)

    def publish(self, publication: Publication) -> Future[None]:
        """Hand one publication over; the future is done when Redis has answered."""
        return self._publish(self._channel(publication.topic), publication.payload)

    def subscribe(self, topics: Sequence[str]) -> Future[None] | None:
        """Subscribe; None when all topics are, else a future that is done when Redis has confirmed."""
        wanted = [(self._channel(topic), topic) for topic in topics]
        if self._servers is None:
            raise BrokerError("the redis broker is not running")
        return self._servers.subscribe(wanted)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Give topics up; Redis hears of it after a moment."""
        if self._servers is not None:
            with suppress(BrokerError):  # what cannot be subscribed need not be unsubscribed
                self._servers.unsubscribe([self._channel(topic) for topic in topics])

    async def settle(self) -> None:
        """Wait for what was published here and is on its way back."""
        if self._servers is not None:
            await self._servers.settle()

    async def close(self) -> None:
        """End all connections; joins and publishes that wait fail."""
        servers, self._servers, self._publish = self._servers, None, _not_running
        if servers is not None:
            await servers.close()

    def metrics(self) -> Iterator[Sample]:
        """Tell all that is counted, under the name of the broker."""
        return self.counters.metrics(self._name)

    def _channel(self, topic: str) -> bytes:
        try:
            return self._prefix + topic.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise BrokerError("the topic cannot be the name of a channel: it is not text") from None


def _not_running(channel: bytes, payload: bytes) -> Future[None]:
    raise BrokerError("the redis broker is not running")
