"""From an endpoint to a connection that is ready for commands."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

from rr_py_ws.adapters.brokers.redis.connection import ErrorReply, Link
from rr_py_ws.adapters.brokers.redis.endpoint import Endpoint, describe
from rr_py_ws.config import RedisOptions, RedisTLS
from rr_py_ws.errors import BrokerError, ConfigError

_CLIENT_NAME = "rr-py-ws"


class Connector:
    """Opens connections to the servers of one section.

    Args:
        options: of the section.
        key: where they are in the file.

    Raises:
        ConfigError: a file for TLS cannot be used.
    """

    def __init__(self, options: RedisOptions, key: str) -> None:
        self._options = options
        self._tls = None if options.tls is None else _context(options.tls, f"{key}.tls")
        self._server_name = options.tls.server_name if options.tls else ""

    async def connect(self, endpoint: Endpoint, timeout: float) -> Link:
        """Connect to a server: TLS, AUTH, SELECT, PING.

        Args:
            endpoint: where it is.
            timeout: seconds that each reply may take, now and later.

        Raises:
            BrokerError: it cannot be reached or does not let us in; the text names it.
        """
        options = self._options
        credentials: tuple[str, ...] = ()
        if options.password:  # as go-redis: a user name without a password is ignored
            credentials = (options.username, options.password) if options.username else (options.password,)
        return await self._open(endpoint, timeout, credentials, 0 if options.cluster else options.db)

    async def connect_sentinel(self, endpoint: Endpoint) -> Link:
        """Connect to a sentinel.

        Raises:
            BrokerError: it cannot be reached or does not let us in; the text names it.
        """
        password = self._options.sentinel_password
        return await self._open(endpoint, self._options.read_timeout, (password,) if password else (), 0)

    async def _open(self, endpoint: Endpoint, timeout: float, credentials: tuple[str, ...], db: int) -> Link:
        try:
            async with asyncio.timeout(self._options.dial_timeout):
                link = await self._dial(endpoint, timeout)
        except TimeoutError:
            connection = "connection" if self._tls is None else "connection with TLS"
            raise BrokerError(
                f"redis at {endpoint}: no {connection} within {self._options.dial_timeout:g} s"
            ) from None
        except (OSError, UnicodeError) as error:  # a host name can be none
            raise BrokerError(f"redis at {endpoint}: {describe(error)}") from error
        try:
            await _greet(link, credentials, db)
        except ErrorReply as error:
            link.close("not let in")
            raise BrokerError(f"redis at {endpoint}: {error.text}") from error
        except BaseException:
            link.close("not wanted any more")
            raise
        return link

    async def _dial(self, endpoint: Endpoint, timeout: float) -> Link:
        loop = asyncio.get_running_loop()
        make = partial(Link, timeout)
        if not endpoint.port:
            name = (self._server_name or "localhost") if self._tls else None
            _, link = await loop.create_unix_connection(
                make, endpoint.host, ssl=self._tls, server_hostname=name
            )
        else:
            name = (self._server_name or endpoint.host) if self._tls else None
            _, link = await loop.create_connection(
                make, endpoint.host, endpoint.port, ssl=self._tls, server_hostname=name
            )
        return link


async def _greet(link: Link, credentials: tuple[str, ...], db: int) -> None:
    """Log in and see whether commands are taken; all in one write."""
    required = []
    if credentials:
        required.append(link.request("AUTH", *credentials))
    if db:
        required.append(link.request("SELECT", db))
    named = link.request("CLIENT", "SETNAME", _CLIENT_NAME)
    pong = link.request("PING")
    await asyncio.gather(*required, named, pong, return_exceptions=True)
    for reply in required:
        reply.result()
    try:
        pong.result()
    except ErrorReply as error:
        if error.code != "NOPERM":  # a user who may only publish and subscribe will do
            raise


def _context(tls: RedisTLS, key: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{key}.ca", f"cannot use {tls.ca!r}: {describe(error)}") from error
    if tls.cert:
        try:
            context.load_cert_chain(tls.cert, tls.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{key}.cert", f"cannot use {tls.cert!r} with the key {tls.key!r}: {describe(error)}"
            ) from error
    return context
