"""One connection that is there as long as its server is: opened, watched, opened again."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.connection import Connection
from rr_py_ws.adapters.brokers.redis.connector import Connector
from rr_py_ws.adapters.brokers.redis.discovery import Resolver
from rr_py_ws.adapters.brokers.redis.marks import Pairing
from rr_py_ws.adapters.brokers.redis.metrics import RedisMetrics
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.address import Address
from rr_py_ws.config import RedisOptions
from rr_py_ws.core.backoff import Backoff
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication

_MOST_PROBLEMS = 10
"""Different problems that are logged in one outage."""
_LONGEST_CHECK = 3.0
"""Seconds after which a check is begun anew, because something may have changed meanwhile."""

log = logs.get_logger("broadcast")


class Histories(Protocol):
    """What has to do with the histories of topics."""

    def advise(self, text: str) -> None:
        """A server lacks something for histories."""

    def connected(self) -> None:
        """Messages can be published at a server, which may be another one than before."""

    def pair(self, channel: bytes, topic: str) -> Pairing | None:
        """Make what gets the messages of a channel; None for one without a history."""

    def unpair(self, topic: str) -> None:
        """Nothing is wanted of a topic any more."""

    def resumed(self, topics: Sequence[str]) -> None:
        """Topics, with a history or without, arrive again of which messages may have been missed."""


@dataclass(slots=True)
class Context:
    """What all connections of one broker share.

    Attributes:
        name: of the section of `broadcast`, for the log.
        options: of the section.
        addresses: those of the options.
        connector: opens connections.
        check_interval: seconds between two checks of a connection that works.
        linger: seconds that a topic stays subscribed that nobody is in any more.
        counters: counted into.
        on_publication: gets what arrives.
        on_gap: gets topics of which messages may have been missed.
        histories: what has to do with those of topics; None when no topic has one.
    """

    name: str
    options: RedisOptions
    addresses: Sequence[Address]
    connector: Connector
    check_interval: float
    linger: float
    counters: RedisMetrics
    on_publication: Callable[[Publication], None]
    on_gap: Callable[[Sequence[str]], None]
    histories: Histories | None = None

    def tell_gap(self, topics: Sequence[str]) -> None:
        """Messages of topics may have been missed; those of a history can be made up for."""
        if self.histories is not None:
            self.histories.resumed(topics)
        else:
            self.on_gap(topics)

    @property
    def join_timeout(self) -> float:
        """Seconds that a join may wait until its channels are live."""
        options = self.options
        # go-redis' rule for the wait for a connection of its pool.
        return options.read_timeout + 1 if options.pool_timeout is None else options.pool_timeout

    def make_backoff(self) -> Backoff:
        """Make the pauses between two attempts to connect, or to read the slots of a cluster."""
        return Backoff(self.options.min_retry_backoff, self.options.max_retry_backoff)


class Reconnector(ABC):
    """Keeps one connection open until it is closed itself; a subclass uses the connection.

    Whatever happens to an attempt, another follows: the log says once why, callers get the reason meanwhile.

    Args:
        context: what all connections of the broker share.
        purpose: what the connection is for, for the log.
        resolver: where to connect.
        reply_timeout: seconds that a reply may take.

    Attributes:
        problem: why there is no connection.
        first_attempt: done after the first attempt to connect; its result is why that failed, or empty.
    """

    def __init__(self, context: Context, purpose: str, resolver: Resolver, reply_timeout: float) -> None:
        self._context = context
        self._fields = {"section": context.name, "connection": purpose}
        self._resolver = resolver
        self._reply_timeout = reply_timeout
        self._counters = context.counters
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._address: Address | None = None
        self._required: Address | None = None
        self._logged: set[str] = set()
        self.problem = "not connected yet"
        self.first_attempt: asyncio.Future[str] = self._loop.create_future()
        self._tasks = TaskSet("broadcast")
        self._tasks.spawn(self._run())  # begins in the next turn, when the subclass is complete

    async def close(self) -> None:
        """End; what waits for an answer fails."""
        if self._connection is not None:
            self._connection.close("the broker was closed")
        await self._tasks.cancel()
        self._attempted("the broker was closed")

    def require(self, address: Address | None) -> None:
        """Be connected to this server only; None: to any that the resolver names."""
        self._required = address
        if self._connection is not None and address not in (None, self._address):
            self._connection.close(f"messages are published at {address} now")

    # What a subclass does with the connection

    @abstractmethod
    async def _verify(self, connection: Connection, address: Address) -> None:
        """Make sure that a new connection is of use.

        Raises:
            BrokerError: it is not.
        """

    @abstractmethod
    def _opened(self, connection: Connection, address: Address) -> None:
        """Begin to use a connection."""

    async def _check(self, connection: Connection, address: Address) -> None:
        """Make sure that a connection is still of use; as for a new one, if a subclass knows nothing better.

        Raises:
            BrokerError: it is not.
        """
        await self._verify(connection, address)

    def _unavailable(self, reason: str) -> None:
        """There is no connection: it was lost, or none could be opened."""
        self.problem = reason
        if self._connection is not None:
            self._connection = None
            self._counters.connections_lost += 1

    # From one connection to the next

    async def _run(self) -> None:
        backoff = self._context.make_backoff()
        while True:
            try:
                connection, address = await self._open()
                opened = self._loop.time()
                await self._keep(connection, address)
            except Exception as error:  # also a mistake of this program: it must not end the reconnecting
                self._failed(error)
            else:
                reason = connection.lost.result()
                log.warning("redis connection lost", **self._fields, address=str(address), reason=reason)
                self._unavailable(reason)
                # A server that lets everybody in and closes at once is a failing one.
                if self._loop.time() - opened > self._context.options.max_retry_backoff:
                    backoff.reset()
            await asyncio.sleep(backoff.next_pause())

    async def _open(self) -> tuple[Connection, Address]:
        """Connect to the server that the resolver names."""
        address = await self._resolver.resolve()
        try:
            if self._required not in (None, address):
                raise BrokerError(f"redis at {address}: messages are published at {self._required}")
            connection = await self._context.connector.connect(address, self._reply_timeout)
            try:
                await self._verify(connection, address)
            except BaseException as error:  # also when this is cancelled: nobody else closes it
                connection.close("of no use")
                if isinstance(error, BrokerError):
                    raise BrokerError(f"redis at {address}: {error}") from error
                raise
        except Exception:
            self._resolver.reject(address)
            raise
        return connection, address

    async def _keep(self, connection: Connection, address: Address) -> None:
        """Use a connection until it is lost; close it when it is of no use any more."""
        try:
            self._connection, self._address = connection, address
            self.require(self._required)  # another server may have been required while this one was opened
            self._opened(connection, address)
            log.info("redis connected", **self._fields, address=str(address))
            self._logged.clear()
            self._attempted("")
            while not connection.lost.done():
                await asyncio.wait([connection.lost], timeout=self._context.check_interval)
                if connection.lost.done():
                    return
                # A task of its own: it may ask sentinels, and that the connection is lost is known sooner.
                check = self._tasks.spawn(self._check_or_close(connection, address))
                either: tuple[asyncio.Future[str] | asyncio.Task[object], ...] = (connection.lost, check)
                await asyncio.wait(either, timeout=_LONGEST_CHECK, return_when=asyncio.FIRST_COMPLETED)
                check.cancel()
        finally:
            connection.close("not used any more")

    async def _check_or_close(self, connection: Connection, address: Address) -> None:
        try:
            await self._check(connection, address)
        except Exception as error:  # whatever it is, opening the next connection begins with the same look
            connection.close(describe_failure(error)["reason"])

    def _failed(self, error: Exception) -> None:
        """Log a problem once in an outage, not each time that it is met."""
        failure = describe_failure(error)
        problem: str = failure["reason"]
        if problem not in self._logged and len(self._logged) < _MOST_PROBLEMS:
            log.warning("redis not available, trying again", **self._fields, **failure)
            self._logged.add(problem)
        self._unavailable(problem)
        self._attempted(problem)

    def _attempted(self, problem: str) -> None:
        if not self.first_attempt.done():
            self.first_attempt.set_result(problem)


def describe_failure(error: Exception) -> dict[str, Any]:
    """Make the fields of a log line: `reason`, and for a mistake of this program the traceback."""
    if isinstance(error, BrokerError):
        return {"reason": str(error)}
    return {"reason": f"{type(error).__name__}: {error}", "exc_info": error}
