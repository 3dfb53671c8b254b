"""From an address to a connection that is ready for commands."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

from rr_py_ws.adapters.brokers.redis.connection import Connection, ErrorReply
from rr_py_ws.adapters.net.tls import client_context, describe_tls_error, load_pair
from rr_py_ws.address import Address, UnixAddress
from rr_py_ws.config import RedisOptions, RedisTLS
from rr_py_ws.errors import BrokerError

_CLIENT_NAME = "rr-py-ws"


class Connector:
    """Opens connections to the servers of one section.

    Args:
        options: of the section.
        key: where they are in the file.

    Attributes:
        tls: how connections from now on are secured; None for not at all.

    Raises:
        ConfigError: a file for TLS cannot be used.
    """

    def __init__(self, options: RedisOptions, key: str) -> None:
        self._options = options
        self.tls = None if options.tls is None else tls_context(options.tls, f"{key}.tls")
        self._server_name = options.tls.server_name if options.tls else ""

    async def connect(self, address: Address, timeout: float) -> Connection:
        """Connect to a server: TLS, AUTH, SELECT, PING.

        Args:
            address: where it is.
            timeout: seconds that each reply may take, now and later.

        Raises:
            BrokerError: it cannot be reached or does not let us in; the text names it.
        """
        options = self._options
        credentials: tuple[str, ...] = ()
        if options.password:  # as go-redis: a user name without a password is ignored
            credentials = (options.username, options.password) if options.username else (options.password,)
        return await self._open(address, timeout, credentials, 0 if options.cluster else options.db)

    async def connect_sentinel(self, address: Address) -> Connection:
        """Connect to a sentinel.

        Raises:
            BrokerError: it cannot be reached or does not let us in; the text names it.
        """
        password = self._options.sentinel_password
        return await self._open(address, self._options.read_timeout, (password,) if password else (), 0)

    async def _open(
        self, address: Address, timeout: float, credentials: tuple[str, ...], db: int
    ) -> Connection:
        try:
            async with asyncio.timeout(self._options.dial_timeout):
                connection = await self._dial(address, timeout)
        except TimeoutError:
            what = "connection" if self.tls is None else "connection with TLS"
            raise BrokerError(
                f"redis at {address}: no {what} within {self._options.dial_timeout:g} s"
            ) from None
        # ValueError: asyncio does not take any text for a host name (a NUL, 70 letters without a dot).
        except (OSError, ValueError) as error:
            raise BrokerError(f"redis at {address}: {describe_tls_error(error)}") from error
        try:
            await _greet(connection, credentials, db)
        except ErrorReply as error:
            connection.close("not let in")
            raise BrokerError(f"redis at {address}: {error.text}") from error
        except BrokerError as error:
            connection.close("not let in")
            raise BrokerError(f"redis at {address}: {error}") from error
        except BaseException:  # also when this is cancelled: nobody else knows of the connection yet
            connection.close("not wanted any more")
            raise
        return connection

    async def _dial(self, address: Address, timeout: float) -> Connection:
        loop = asyncio.get_running_loop()
        make = partial(Connection, timeout)
        # Without TLS asyncio does not take a server name.
        if isinstance(address, UnixAddress):
            name = (self._server_name or "localhost") if self.tls else None
            _, connection = await loop.create_unix_connection(
                make, address.path, ssl=self.tls, server_hostname=name
            )
        else:
            name = (self._server_name or address.host) if self.tls else None
            _, connection = await loop.create_connection(
                make, address.host, address.port, ssl=self.tls, server_hostname=name
            )
        return connection


async def _greet(connection: Connection, credentials: tuple[str, ...], db: int) -> None:
    """Log in and see whether commands are taken; all in one write."""
    required = []
    if credentials:
        required.append(connection.request("AUTH", *credentials))
    if db:
        required.append(connection.request("SELECT", db))
    # The name is for people who look at CLIENT LIST; whether it is accepted does not matter.
    named = connection.request("CLIENT", "SETNAME", _CLIENT_NAME)
    pong = connection.request("PING")
    await asyncio.gather(*required, named, pong, return_exceptions=True)
    for reply in required:
        reply.result()
    try:
        pong.result()
    except ErrorReply as error:
        if error.code != "NOPERM":  # a user who may only publish and subscribe will do
            raise


def tls_context(tls: RedisTLS, key: str) -> ssl.SSLContext:
    """Load the authorities and, when there is one, the certificate of this client with its key.

    Args:
        tls: the section.
        key: where it is in the file.

    Raises:
        ConfigError: a file cannot be read or used; the text names its key.
    """
    context = client_context(tls.ca, key=f"{key}.ca")
    # Python 3.13 alone sets this. Go takes authorities without all that RFC 5280 wants, and many are so.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if tls.cert:
        load_pair(context, tls.cert, tls.key, section=key)
    return context
