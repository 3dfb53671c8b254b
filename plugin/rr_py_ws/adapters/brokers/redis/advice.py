"""What a server lacks for histories, and the command that mends it."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator

from rr_py_ws.adapters.brokers.redis.calls import Call
from rr_py_ws.adapters.brokers.redis.connection import Connection, ErrorReply
from rr_py_ws.adapters.brokers.redis.names import HistoryNames
from rr_py_ws.adapters.brokers.redis.scripts import APPEND, CLEAR, ONCE, READ
from rr_py_ws.address import Address, TCPAddress
from rr_py_ws.config import RedisOptions

_OLDEST = (6, 2)
_NEEDED = (
    "+eval +evalsha +hmget +hset +xadd +xrange +xrevrange +xdel +del +pexpire +time +get +set"
    " '~rrws:*' '&rrws:k:*'"
)
"""Rights of a user beside those to publish and to subscribe."""
_SHORT = 1000
"""Milliseconds that keys of a trial live."""


async def give_advice(connection: Connection, address: Address, options: RedisOptions) -> AsyncIterator[str]:
    """Yield a line for each thing that a server lacks, as far as it tells.

    Raises:
        BrokerError: the connection is lost.
    """
    server = await _info(connection, "server")
    version = re.search(r"redis_version:(\d+)\.(\d+)", server)
    if version and (int(version[1]), int(version[2])) < _OLDEST:
        yield f"Redis {version[1]}.{version[2]} keeps no histories, 6.2 or later is needed"
        return
    policy = re.search(r"maxmemory_policy:(\S+)", await _info(connection, "memory"))
    if policy and policy[1] != "noeviction":
        yield (
            f"maxmemory-policy {policy[1]} lets Redis drop histories when memory is short, and clients are"
            " told then that messages are missing. To keep them:"
            f" {_redis_cli(address)} CONFIG SET maxmemory-policy noeviction"
        )
    if problem := await _try_scripts(connection, options):
        user = options.username or "default"
        yield (
            f"histories cannot be kept: {problem}. What its user needs: "
            f"{_redis_cli(address)} ACL SETUSER {user} {_NEEDED}"
        )


async def _info(connection: Connection, section: str) -> str:
    try:
        found = await connection.request("INFO", section)
    except ErrorReply:  # forbidden: nobody knows then
        return ""
    return found.decode(errors="replace") if isinstance(found, bytes) else ""


async def _try_scripts(connection: Connection, options: RedisOptions) -> str:
    """Keep, read and clear a history that nobody else knows; return why it does not work."""
    channel = f"{options.prefix}rr-py-ws.{secrets.token_hex(8)}".encode("utf-8", "surrogateescape")
    names = HistoryNames(channel)
    publish = "SPUBLISH" if options.sharded else "PUBLISH"
    common = ("trial", _SHORT, "", "", "", "")
    rule = (1, 1, _SHORT, "=", _SHORT)
    # To no topic: a user may be limited to some. The keys of all of them begin as these do.
    message = (names.marks, names.marks, "1 1    ", b"", b"0:00000000 ")
    keys = (names.stream, names.meta)
    calls = (
        Call(
            APPEND,
            (*keys, names.once("trial")),
            ("trial", publish, "1", "", 1, _SHORT, 1, *rule, *message),
        ),
        Call(READ, keys, (*common, -1, 1, 1, _SHORT, 2**53, 1)),
        Call(CLEAR, keys, (*common, publish, names.marks)),
        # Known from now on: what is sent once more, because its script is not known, comes late.
        Call(ONCE, (names.once("trial"),), (_SHORT,)),
    )
    try:
        for call in calls:
            try:
                await connection.request(*call.by_digest())
            except ErrorReply as error:
                if error.code != "NOSCRIPT":
                    raise
                await connection.request(*call.with_text())
    except ErrorReply as error:
        # Another master may have the slot of this name.
        return "" if error.code in ("MOVED", "OOM", "LOADING") else error.text
    return ""


def _redis_cli(address: Address) -> str:
    if isinstance(address, TCPAddress):
        return f"redis-cli -h {address.host} -p {address.port}"
    return f"redis-cli -s {address.path}"
