"""Which server to connect to: the only one, the master that sentinels name, a node of a cluster."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Protocol

from rr_py_ws.adapters.brokers.redis.connection import ErrorReply, Link
from rr_py_ws.adapters.brokers.redis.connector import Connector
from rr_py_ws.adapters.brokers.redis.endpoint import Endpoint
from rr_py_ws.config import RedisOptions
from rr_py_ws.errors import BrokerError


class Route(Protocol):
    """The way to the server through which one broker publishes and is subscribed."""

    async def find(self) -> Endpoint:
        """Say where to connect now.

        Raises:
            BrokerError: nobody knows.
        """

    async def examine(self, link: Link, endpoint: Endpoint) -> None:
        """Make sure that what is published through this connection reaches everybody.

        Raises:
            BrokerError: it does not, or not any more; or the connection is lost.
        """

    def reject(self, endpoint: Endpoint) -> None:
        """This server does not work; look for another one, if there can be one."""

    def close(self) -> None:
        """Release what was needed to find servers."""


def make_route(options: RedisOptions, connector: Connector) -> Route:
    """Choose by RoadRunner's rules (go-redis universal.go @v8.11.0)."""
    endpoints = [Endpoint.parse(address) for address in options.addrs]
    if options.master_name:
        return SentinelRoute(endpoints, options.master_name, connector)
    if options.cluster:
        return ClusterRoute(endpoints)
    return FixedRoute(endpoints[0])


class FixedRoute:
    """One server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def find(self) -> Endpoint:
        """See `Route.find`."""
        return self._endpoint

    async def examine(self, link: Link, endpoint: Endpoint) -> None:
        """See `Route.examine`: a replica would keep messages to itself."""
        await require_master(link)

    def reject(self, endpoint: Endpoint) -> None:
        """See `Route.reject`: there is no other."""

    def close(self) -> None:
        """See `Route.close`."""


class SentinelRoute:
    """The master of a name, as the first sentinel says that knows it."""

    def __init__(self, sentinels: Sequence[Endpoint], master: str, connector: Connector) -> None:
        self._sentinels = list(sentinels)
        self._master = master
        self._connector = connector
        self._link: Link | None = None
        self._asking = asyncio.Lock()

    async def find(self) -> Endpoint:
        """See `Route.find`."""
        problems = []
        async with self._asking:
            for sentinel in list(self._sentinels):
                try:
                    return await self._ask(sentinel)
                except BrokerError as error:
                    problems.append(str(error))
                    self._try_next()
                except asyncio.CancelledError:  # it takes too long
                    self._try_next()
                    raise
        raise BrokerError("no sentinel names a master: " + "; ".join(problems))

    async def examine(self, link: Link, endpoint: Endpoint) -> None:
        """See `Route.examine`: an old master may not know yet that it is none."""
        try:
            master = await self.find()
        except BrokerError:
            master = endpoint  # without sentinels there is no failover either
        if master != endpoint:
            raise BrokerError(f"the master is {master} now")
        await require_master(link)

    def reject(self, endpoint: Endpoint) -> None:
        """See `Route.reject`: what the sentinels say counts."""

    def close(self) -> None:
        """See `Route.close`."""
        if self._link is not None:
            self._link.close("not needed any more")

    def _try_next(self) -> None:
        self.close()
        self._link = None
        self._sentinels.append(self._sentinels.pop(0))

    async def _ask(self, sentinel: Endpoint) -> Endpoint:
        """Ask over the connection that is kept to the first sentinel of the list."""
        if self._link is None or self._link.lost.done():
            self._link = await self._connector.connect_sentinel(sentinel)
        reply = await self._link.request("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)
        match reply:
            case [bytes(host), bytes(port)] if port.isdigit():
                return Endpoint(host.decode(errors="replace"), int(port))
        raise BrokerError(f"the sentinel at {sentinel} knows no master {self._master!r}")


class ClusterRoute:
    """Any node: a published message reaches the subscribers of all of them.

    The choice stays until it fails; then the next of those known is chosen.
    """

    def __init__(self, seeds: Sequence[Endpoint]) -> None:
        self._nodes = random.sample(seeds, len(seeds))

    async def find(self) -> Endpoint:
        """See `Route.find`."""
        return self._nodes[0]

    async def examine(self, link: Link, endpoint: Endpoint) -> None:
        """See `Route.examine`: in the smaller part of a divided cluster, messages reach that part only."""
        info = await permitted(link, "CLUSTER", "INFO")
        if isinstance(info, bytes) and b"cluster_state:ok" not in info:
            raise BrokerError("the cluster is down, or this node is cut off from it")
        slots = await permitted(link, "CLUSTER", "SLOTS")
        known = {master for _, _, master in decode_slots(slots, endpoint)} - set(self._nodes)
        self._nodes.extend(random.sample(sorted(known), len(known)))

    def reject(self, endpoint: Endpoint) -> None:
        """See `Route.reject`."""
        if endpoint == self._nodes[0]:
            self._nodes.append(self._nodes.pop(0))

    def close(self) -> None:
        """See `Route.close`."""


async def permitted(link: Link, *command: str) -> Any:
    """Send a command that an ACL may forbid; then there is no reply."""
    try:
        return await link.request(*command)
    except ErrorReply as error:
        if error.code != "NOPERM":
            raise
    return None


async def require_master(link: Link) -> None:
    """Raise `BrokerError` when the server is a replica, except in a cluster, where that does not matter.

    HELLO needs no permission; servers before Redis 6 do not have it, but neither have they permissions.
    """
    try:
        hello = await link.request("HELLO", 2)
        role, mode = _field(hello, b"role"), _field(hello, b"mode")
    except ErrorReply:
        reply = await permitted(link, "ROLE")
        role, mode = reply[0] if isinstance(reply, list) and reply else None, None
    if role in (b"slave", b"replica") and mode != b"cluster":
        raise BrokerError("it is a read-only replica, from which messages would not reach everybody")


def _field(hello: Any, field: bytes) -> Any:
    """One value of names and values in turn."""
    fields = hello if isinstance(hello, list) else []
    return next((fields[at + 1] for at in range(0, len(fields) - 1, 2) if fields[at] == field), None)


def decode_slots(reply: Any, asked: Endpoint) -> list[tuple[int, int, Endpoint]]:
    """Decode what CLUSTER SLOTS answered: first slot, last slot, master.

    Raises:
        BrokerError: it is something else.
    """
    found = []
    for entry in reply if isinstance(reply, list) else ():
        match entry:
            case [int(first), int(last), [host, int(port), *_], *_] if 0 <= first <= last < 16384:
                # A node whose address is not known is the one that was asked (no name, or `?`).
                known = isinstance(host, bytes) and host not in (b"", b"?")
                name = host.decode(errors="replace") if known else asked.host
                found.append((first, last, Endpoint(name, port)))
            case _:
                raise BrokerError("what CLUSTER SLOTS answered cannot be read")
    return found
