"""Whether Redis lets its user do what a broker does: publish, and subscribe channels.

A user may answer to `PING` and be refused every message and every join: by an ACL without `PUBLISH` or
`SUBSCRIBE`, or without any channel, which is what a new user of Redis 7 has. So each new connection tries
what it is for, with a channel that nobody else knows. When just that channel is refused, others may be
allowed (`&news*`): then what publishers and clients are answered decides.
"""

from __future__ import annotations

import secrets
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.connection import Connection, ErrorReply
from rr_py_ws.adapters.brokers.redis.discovery import field_of
from rr_py_ws.adapters.brokers.redis.reconnect import Context
from rr_py_ws.config import RedisOptions
from rr_py_ws.errors import BrokerError

log = logs.get_logger("broadcast")


class Rights:
    """What is known of the rights of the user at one server.

    Args:
        context: what all connections of the broker share.

    Attributes:
        refused: the channel that was refused last, to be tried again.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.refused = b""
        self.begin()

    def begin(self) -> None:
        """Know nothing: the server may be another one, or have other rules."""
        self._command = ""
        self._channels = ""
        self._granted = False
        self._published = self._context.counters.published

    @property
    def problem(self) -> str:
        """Why everything is refused, in Redis' words; empty when it is not, or nobody knows yet."""
        # One channel that works is enough: what else is refused is a matter of who asks for it.
        works = self._granted or self._context.counters.published > self._published
        return self._command or ("" if works else self._channels)

    def granted(self) -> None:
        """A channel was subscribed."""
        if self.problem:
            log.info("redis lets its user subscribe again", section=self._context.name)
        self._granted = True
        self._command = self._channels = ""

    def refuse(self, channel: bytes, error: ErrorReply) -> bool:
        """A channel was refused to somebody; return whether the command is forbidden, for any channel."""
        if error.code != "NOPERM":
            return False
        before, self.refused = self.problem, channel
        if is_about_channel(error):
            self._channels, self._command = error.text, ""
        else:
            self._command = error.text
        if self.problem and not before:
            log.error("not ready: redis refuses its user", section=self._context.name, reason=self.problem)
        return not is_about_channel(error)


async def require_publishing(connection: Connection, options: RedisOptions) -> None:
    """Try to publish.

    Raises:
        BrokerError: the user may not.
    """
    command = "SPUBLISH" if options.sharded else "PUBLISH"
    if await _is_channel_refused(connection, options, command, _make_channel(options), b""):
        await _require_channels(connection, options)


async def require_subscribing(connection: Connection, options: RedisOptions) -> None:
    """Try to subscribe.

    Raises:
        BrokerError: the user may not.
    """
    shard = "S" if options.sharded else ""
    channel = _make_channel(options)
    if await _is_channel_refused(connection, options, f"{shard}SUBSCRIBE", channel):
        return
    try:
        await connection.request(f"{shard}UNSUBSCRIBE", channel)
    except ErrorReply:  # forbidden: the connection stays in a channel in which nothing ever comes
        return


def _make_channel(options: RedisOptions) -> bytes:
    name = f"{options.prefix}rr-py-ws.{secrets.token_hex(8)}"
    return name.encode("utf-8", "surrogateescape")


async def _is_channel_refused(connection: Connection, options: RedisOptions, *command: str | bytes) -> bool:
    try:
        await connection.request(*command)
    except ErrorReply as error:
        if error.code == "NOPERM":
            if is_about_channel(error):
                return True
        elif options.sharded:  # another master has the slot of this channel
            return False
        raise BrokerError(f"its user cannot {command[0]!s}", error.text) from error
    return False


async def _require_channels(connection: Connection, options: RedisOptions) -> None:
    """Find out whether there is any channel that the user may use, if Redis tells."""
    user = options.username or "default"
    try:
        rules: Any = await connection.request("ACL", "GETUSER", user)
    except ErrorReply:
        return
    # Redis 6.2 answers a list of patterns, Redis 7 a text.
    if rules and field_of(rules, b"channels") in (b"", []) and not field_of(rules, b"selectors"):
        raise BrokerError(f"its user {user!r} may use no channel (ACL SETUSER {user} allchannels, or &...)")


def is_about_channel(error: ErrorReply) -> bool:
    """Whether a `NOPERM` is about the channel, not about the command; only the latter names what was run."""
    return "permissions to run" not in error.text
