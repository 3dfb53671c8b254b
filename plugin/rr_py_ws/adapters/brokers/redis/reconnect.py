"""One connection that is there as long as its server is: opened, watched, opened again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.connection import Link
from rr_py_ws.adapters.brokers.redis.discovery import Route
from rr_py_ws.adapters.brokers.redis.endpoint import Endpoint
from rr_py_ws.errors import BrokerError

_MOST_PROBLEMS = 10
_CHECK = 3.0
"""Seconds after which a look at a connection is begun anew, because something may have changed meanwhile."""

log = logs.get_logger("broadcast")


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how long; seconds.

    Attributes:
        check: between two looks at a connection that works.
        shortest: the first pause before connecting again.
        longest: the longest.
        linger: how long a topic stays subscribed that nobody is in any more.
    """

    check: float = 3.0
    shortest: float = 0.008
    longest: float = 0.512
    linger: float = 3.0


class Backoff:
    """Pauses that double, with jitter: a fleet that loses its Redis does not come back in one step."""

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = min(shortest, longest)
        self._longest = longest
        self.reset()

    def reset(self) -> None:
        """Begin with the shortest again."""
        self._next = self._shortest

    def pause(self) -> float:
        """Return the next pause, seconds: between a half and the whole of its step."""
        step, self._next = self._next, min(2 * self._next, self._longest)
        return step * random.uniform(0.5, 1.0)


class User(Protocol):
    """What an uplink is for."""

    async def opened(self, link: Link, endpoint: Endpoint) -> None:
        """Begin to use a connection.

        Raises:
            BrokerError: it is of no use.
        """

    async def check(self, link: Link, endpoint: Endpoint) -> None:
        """Make sure that a connection is still of use.

        Raises:
            BrokerError: it is not.
        """

    def unavailable(self, reason: str) -> None:
        """There is no connection: it was lost, or none could be opened."""


class Uplink:
    """Keeps a connection open for its user, until it is closed itself.

    Args:
        name: of the section, for the log.
        purpose: what the connection is for, for the log.
        route: where to connect.
        connect: how.
        user: told of each connection.
        pace: how often.

    Attributes:
        attempted: done after the first attempt; its result is why that failed, or empty.
    """

    def __init__(
        self,
        name: str,
        purpose: str,
        route: Route,
        connect: Callable[[Endpoint], Awaitable[Link]],
        user: User,
        pace: Pace,
    ) -> None:
        self._fields = {"section": name, "connection": purpose}
        self._route = route
        self._connect = connect
        self._user = user
        self._pace = pace
        self._link: Link | None = None
        self._endpoint: Endpoint | None = None
        self._required: Endpoint | None = None
        self._problems: set[str] = set()
        self.attempted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End; the user is not told."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._attempted("the broker was closed")
        if self._link is not None:
            self._link.close("the broker was closed")

    def require(self, endpoint: Endpoint | None) -> None:
        """Be connected to this server only; None: to any that the route names."""
        self._required = endpoint
        if self._link is not None and endpoint not in (None, self._endpoint):
            self._link.close(f"messages are published at {endpoint} now")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(self._pace.shortest, self._pace.longest)
        while True:
            try:
                endpoint, link = await self._open()
            except BrokerError as error:
                self._failed(str(error))
            else:
                opened = loop.time()
                await self._keep(link, endpoint)
                self._lost(link, endpoint)
                if loop.time() - opened > self._pace.longest:
                    backoff.reset()
            await asyncio.sleep(backoff.pause())

    async def _open(self) -> tuple[Endpoint, Link]:
        endpoint = await self._route.find()
        try:
            if self._required not in (None, endpoint):
                raise BrokerError(f"redis at {endpoint}: messages are published at {self._required}")
            link = await self._connect(endpoint)
            try:
                await self._user.opened(link, endpoint)
            except BaseException as error:
                link.close("of no use")
                if isinstance(error, BrokerError):
                    raise BrokerError(f"redis at {endpoint}: {error}") from error
                raise
        except BrokerError:
            self._route.reject(endpoint)
            raise
        self._link, self._endpoint = link, endpoint
        log.info("redis connected", **self._fields, address=str(endpoint))
        self._problems.clear()
        self._attempted("")
        return endpoint, link

    async def _keep(self, link: Link, endpoint: Endpoint) -> None:
        """Wait for the end of a connection, and bring it about when it is of no use any more."""
        while not link.lost.done():
            await asyncio.wait([link.lost], timeout=self._pace.check)
            if link.lost.done():
                return
            check = asyncio.ensure_future(self._user.check(link, endpoint))
            try:
                either: tuple[asyncio.Future[Any], ...] = (link.lost, check)
                await asyncio.wait(either, timeout=_CHECK, return_when=asyncio.FIRST_COMPLETED)
            finally:
                check.cancel()
            if check.done() and (error := check.exception()):
                link.close(str(error))
                await link.lost

    def _lost(self, link: Link, endpoint: Endpoint) -> None:
        reason = link.lost.result()
        self._link = None
        log.warning("redis connection lost", **self._fields, address=str(endpoint), reason=reason)
        self._user.unavailable(reason)

    def _failed(self, problem: str) -> None:
        """Log a problem once in an outage, not each time that it is met."""
        if problem not in self._problems and len(self._problems) < _MOST_PROBLEMS:
            log.warning("redis not available, trying again", **self._fields, reason=problem)
            self._problems.add(problem)
        self._user.unavailable(problem)
        self._attempted(problem)

    def _attempted(self, problem: str) -> None:
        if not self.attempted.done():
            self.attempted.set_result(problem)
