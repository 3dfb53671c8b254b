"""The broker that links nodes. A topic is a channel, a payload travels as it is, no key is touched."""

from __future__ import annotations

import ssl
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress

from rr_py_ws.adapters.brokers.redis.advice import give_advice
from rr_py_ws.adapters.brokers.redis.cluster import ClusterNode, ShardedCluster
from rr_py_ws.adapters.brokers.redis.connector import Connector
from rr_py_ws.adapters.brokers.redis.discovery import make_resolver, parse_address
from rr_py_ws.adapters.brokers.redis.history import RedisHistories, require_name, without_position
from rr_py_ws.adapters.brokers.redis.metrics import RedisMetrics
from rr_py_ws.adapters.brokers.redis.node import NodeConnections
from rr_py_ws.adapters.brokers.redis.reconnect import Context
from rr_py_ws.adapters.brokers.redis.rights import require_publishing, require_subscribing
from rr_py_ws.address import Address
from rr_py_ws.config import RedisOptions
from rr_py_ws.core.history import History, Receipt
from rr_py_ws.core.history_rules import HistoryRules
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
        rules: which topics have a history.
        budget: bytes of messages with a history that this node keeps.
        sweep: seconds in which each topic with a history is compared with Redis once.

    Attributes:
        counters: what has happened so far.

    Raises:
        ConfigError: an address or a file for TLS cannot be used.
    """

    routes = None

    def __init__(
        self,
        name: str,
        options: RedisOptions,
        key: str = "",
        *,
        check_interval: float = 3.0,
        linger: float = 3.0,
        rules: HistoryRules | None = None,
        budget: int = 64 * 1024 * 1024,
        sweep: float = 30.0,
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
        self._rules = rules or HistoryRules()
        self._has_rules = bool(rules)
        self._budget = budget
        self._sweep = sweep
        self._histories: RedisHistories | None = None

    def use(self, tls: ssl.SSLContext) -> None:
        """Secure connections to Redis from now on by another context."""
        self._connector.tls = tls

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
        self._servers = servers = self._connect(context)
        self._publish = servers.publish
        if self._rules:
            context.histories = self._histories = RedisHistories(
                context, self._rules, servers, self._channel, self._sweep, self._budget
            )
        problem = await self._servers.first_attempt()
        if problem and self._options.on_start == "fail":
            await self.close()
            raise BrokerError(problem)

    async def give_advice(self) -> list[str]:
        """Return which servers do not let us in, and what others lack for histories, as lines."""
        found: dict[str, None] = {}
        resolver = make_resolver(self._options, self._addresses, self._connector)
        try:
            addresses = self._addresses if self._options.cluster else [await resolver.resolve()]
            for address in addresses:
                try:
                    async for text in self._ask(address):
                        found[text] = None
                except BrokerError as error:
                    found[f"not available now: {error}"] = None
        except BrokerError as error:  # no sentinel knows the master
            found[f"not available now: {error}"] = None
        finally:
            resolver.close()
        return list(found)

    async def _ask(self, address: Address) -> AsyncIterator[str]:
        """Yield what a server lacks for histories, if there are any.

        Raises:
            BrokerError: it cannot be used; the text names it.
        """
        connection = await self._connector.connect(address, self._options.read_timeout)
        try:
            await require_publishing(connection, self._options)
            if self._rules:
                async for text in give_advice(connection, address, self._options):
                    yield text
            await require_subscribing(connection, self._options)  # last: it may be good for nothing else then
        except BrokerError as error:
            raise error.within(f"redis at {address}") from None
        finally:
            connection.close("not needed any more")

    def _connect(self, context: Context) -> NodeConnections | ShardedCluster:
        if self._options.sharded:
            return ShardedCluster(context)
        resolver = make_resolver(self._options, self._addresses, self._connector)
        if self._options.cluster and self._rules:
            return ClusterNode(context, resolver)
        return NodeConnections(context, resolver)

    @property
    def history(self) -> History | None:
        """What Redis keeps of topics; None when no topic has a history."""
        return self._histories

    def publish(self, publication: Publication) -> Future[None]:
        """Hand one publication over; the future is done when Redis has answered."""
        if self._histories is not None:
            topic = self._histories.store.find(publication.topic)
            if topic is not None:
                return self._histories.publish(topic, publication)
            self._histories.end_batch()
        return self._publish(self._channel(publication.topic), publication.payload)

    def publish_once(
        self, publication: Publication, key: str = "", *, skip_history: bool = False
    ) -> Awaitable[Receipt]:
        """See `Broker.publish_once`.

        Raises (now, or from the awaitable):
            BrokerError: the message was not published; or Redis cannot do what is asked for.
        """
        channel = self._channel(publication.topic)
        if self._histories is not None:
            return self._histories.publish_once(channel, publication, key, skip_history)
        if key or publication.exclude:
            raise BrokerError("the redis broker does that only where websockets.history names topics")
        return without_position(self._publish(channel, publication.payload))

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
        if self._histories is not None and self._options.cluster:
            await self._histories.settle()

    async def close(self) -> None:
        """End all connections; joins and publishes that wait fail."""
        servers, self._servers, self._publish = self._servers, None, _not_running
        histories, self._histories = self._histories, None
        if histories is not None:
            await histories.close()
        if servers is not None:
            await servers.close()

    def metrics(self) -> Iterator[Sample]:
        """Tell all that is counted, under the name of the broker."""
        yield from self.counters.metrics(self._name)
        if self._histories is not None:
            yield from self._histories.metrics(self._name)

    def _channel(self, topic: str) -> bytes:
        try:
            channel = self._prefix + topic.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise BrokerError("the topic cannot be the name of a channel: it is not text") from None
        if self._has_rules:
            require_name(channel)
        return channel


def _not_running(channel: bytes, payload: bytes) -> Future[None]:
    raise BrokerError("the redis broker is not running")
