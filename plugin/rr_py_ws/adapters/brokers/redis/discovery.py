"""Which server to connect to: the only one, the master that sentinels name, a node of a cluster.

What a server says of other servers is checked like anything else that comes from a socket: an address that
cannot be one is a `BrokerError`. For a port over 65535 asyncio raises OverflowError; uvloop takes it modulo
65536, and connects to somebody else.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from rr_py_ws.adapters.brokers.redis.connection import Connection, ErrorReply
from rr_py_ws.adapters.brokers.redis.connector import Connector
from rr_py_ws.address import Address, TCPAddress, UnixAddress, parse_host_port
from rr_py_ws.config import RedisOptions
from rr_py_ws.errors import BrokerError

_HOST = re.compile(r"[\w.:%-]{1,255}")
"""What a resolver may know: also letters of any language, underscores, the zone of an IPv6 address."""
_MOST_SHOWN = 100
"""Characters of something unreadable in an error; it may be megabytes."""
_UNKNOWN_HOSTS = (None, "", b"", b"?")
"""What a node of a cluster says for a host that it does not know."""


def parse_address(text: str) -> Address:
    """Read an address of the configuration: `host:port`, `:port` of this machine, or the path of a socket.

    Raises:
        ValueError: it is none of them.
    """
    if text.startswith("/"):
        return UnixAddress(text)
    found = parse_host_port(text)
    return TCPAddress(found.host or "localhost", found.port)


def server_address(host: object, port: object, asked: Address | None = None) -> Address:
    """Check an address that a server names.

    Args:
        host: as the server said it.
        port: likewise; text or a number.
        asked: the node of a cluster that was asked; a host that it does not know is its own (Redis cluster
            specification, "MOVED Redirection").

    Raises:
        BrokerError: it cannot be the address of a server.
    """
    if asked is not None and host in _UNKNOWN_HOSTS:
        host = getattr(asked, "host", "")
    name, digits = (
        part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in (host, port)
    )
    with suppress(ValueError):
        address = parse_host_port(f"[{name}]:{digits}")
        if address.port and isinstance(host, bytes | str) and _HOST.fullmatch(name):
            return address
    raise BrokerError(f"{f'{name}:{digits}'[:_MOST_SHOWN]!a} cannot be the address of a redis server")


def moved_to(error: ErrorReply, asked: Address) -> Address:
    """Read where a slot is, from `MOVED <slot> <host>:<port>`.

    Raises:
        BrokerError: the address cannot be one.
    """
    match error.text.split(" "):
        case [_, _, where]:
            host, _, port = where.rpartition(":")  # an IPv6 address has no brackets here
            return server_address(host, port, asked)
    raise BrokerError(f"{error.text[:_MOST_SHOWN]!a} does not name the address of a redis server")


def slot_ranges(reply: object) -> Iterator[tuple[int, int, object, object]]:
    """Read what CLUSTER SLOTS answered: first slot, last slot, and host and port of the master, unchecked.

    Raises:
        BrokerError: it is something else.
    """
    for entry in reply if isinstance(reply, list) else ():
        match entry:
            case [int(first), int(last), [host, port, *_], *_] if 0 <= first <= last < 16384:
                yield first, last, host, port
            case _:
                raise BrokerError("what CLUSTER SLOTS answered cannot be read")


class FixedResolver:
    """One server."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def resolve(self) -> Address:
        """Return its address."""
        return self._address

    async def verify(self, connection: Connection, address: Address) -> None:
        """Make sure that it is not a replica, which would keep messages to itself."""
        await require_master(connection)

    def reject(self, address: Address) -> None:
        """There is no other."""

    def close(self) -> None:
        """Nothing was needed to find it."""


class SentinelResolver:
    """The master of a name, as the first sentinel says that knows it."""

    def __init__(self, sentinels: Sequence[Address], master: str, connector: Connector) -> None:
        self._sentinels = list(sentinels)
        self._master = master
        self._connector = connector
        self._connection: Connection | None = None
        self._asking = asyncio.Lock()

    async def resolve(self) -> Address:
        """Ask the sentinels one after another."""
        problems = []
        # Publisher and subscriber both ask, over the one connection to the first of the list.
        async with self._asking:
            for sentinel in list(self._sentinels):
                try:
                    return await self._ask(sentinel)
                except BrokerError as error:
                    problems.append(str(error))
                    self._try_next()
                except asyncio.CancelledError:  # it takes too long; the next time begin with another
                    self._try_next()
                    raise
        raise BrokerError("no sentinel names a master: " + "; ".join(problems))

    async def verify(self, connection: Connection, address: Address) -> None:
        """Make sure that the server is still the master: an old one may not know yet that it is replaced."""
        try:
            master = await self.resolve()
        except BrokerError:
            master = address  # without sentinels there is no failover either
        if master != address:
            raise BrokerError(f"the master is {master} now")
        await require_master(connection)

    def reject(self, address: Address) -> None:
        """What the sentinels say counts."""

    def close(self) -> None:
        """Close the connection to the sentinel."""
        if self._connection is not None:
            self._connection.close("not needed any more")
            self._connection = None

    def _try_next(self) -> None:
        self.close()
        self._sentinels.append(self._sentinels.pop(0))

    async def _ask(self, sentinel: Address) -> Address:
        if self._connection is None or self._connection.lost.done():
            self._connection = await self._connector.connect_sentinel(sentinel)
        reply = await self._connection.request("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)
        match reply:
            case [bytes(host), bytes(port)]:
                try:
                    return server_address(host, port)
                except BrokerError as error:
                    raise BrokerError(f"the sentinel at {sentinel}: {error}") from error
        raise BrokerError(f"the sentinel at {sentinel} knows no master {self._master!r}")


class ClusterResolver:
    """Any node: a published message reaches the subscribers of all of them.

    The choice stays until it fails; then the next of those known is chosen.
    """

    def __init__(self, seeds: Sequence[Address]) -> None:
        self._nodes = random.sample(seeds, len(seeds))

    async def resolve(self) -> Address:
        """Return the node that is chosen."""
        return self._nodes[0]

    async def verify(self, connection: Connection, address: Address) -> None:
        """Make sure that the cluster is whole: in the smaller part of a divided one, messages stay there."""
        info = await permitted(connection, "CLUSTER", "INFO")
        if isinstance(info, bytes) and b"cluster_state:ok" not in info:
            raise BrokerError("the cluster is down, or this node is cut off from it")
        known = set()
        for _, _, host, port in slot_ranges(await permitted(connection, "CLUSTER", "SLOTS")):
            # This node works; that another has an address that cannot be used is no reason to leave it.
            with suppress(BrokerError):
                known.add(server_address(host, port, address))
        new = known - set(self._nodes)
        self._nodes.extend(random.sample(list(new), len(new)))

    def reject(self, address: Address) -> None:
        """Choose the next node."""
        # Publisher and subscriber may both reject the same node; the second must not reject its successor.
        if address == self._nodes[0]:
            self._nodes.append(self._nodes.pop(0))

    def close(self) -> None:
        """Nothing was needed to find the nodes."""


Resolver = FixedResolver | SentinelResolver | ClusterResolver
"""Finds the server through which a broker publishes and is subscribed.

`resolve` says where to connect now; `verify` makes sure that what is published through a connection reaches
everybody; both raise `BrokerError`. `reject` says that a server does not work, and `close` that it is over.
"""


def make_resolver(options: RedisOptions, addresses: Sequence[Address], connector: Connector) -> Resolver:
    """Choose by RoadRunner's rules (go-redis universal.go @v8.11.0)."""
    if options.master_name:
        return SentinelResolver(addresses, options.master_name, connector)
    if options.cluster:
        return ClusterResolver(addresses)
    return FixedResolver(addresses[0])


async def permitted(connection: Connection, *command: str) -> Any:
    """Send a command that an ACL may forbid; then there is no reply."""
    try:
        return await connection.request(*command)
    except ErrorReply as error:
        if error.code != "NOPERM":
            raise
    return None


async def require_master(connection: Connection) -> None:
    """Raise `BrokerError` when the server is a replica, except in a cluster, where that does not matter.

    HELLO needs no permission; servers before Redis 6 do not have it, but neither have they permissions.
    """
    try:
        hello = await connection.request("HELLO", 2)
        role, mode = field_of(hello, b"role"), field_of(hello, b"mode")
    except ErrorReply:
        reply = await permitted(connection, "ROLE")
        role, mode = reply[0] if isinstance(reply, list) and reply else None, None
    if role in (b"slave", b"replica") and mode != b"cluster":
        raise BrokerError("it is a read-only replica, from which messages would not reach everybody")


def field_of(hello: Any, field: bytes) -> Any:
    """Return one value of names and values in turn; None when it is not there."""
    fields = hello if isinstance(hello, list) else []
    return next((fields[at + 1] for at in range(0, len(fields) - 1, 2) if fields[at] == field), None)
