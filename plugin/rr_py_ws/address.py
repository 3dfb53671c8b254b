"""Addresses as people write them: `host:port`, `tcp://host:port`, `unix:///path`.

Every address of the program is read here: those of the configuration, of flags, of Redis and of workers.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

_MAX_PORT = 65535
_LOOPBACK = "localhost"


@dataclass(frozen=True, slots=True, order=True)
class TCPAddress:
    """A TCP end point.

    Attributes:
        host: a name or an IP address without brackets; empty when the text had none: every IPv4 address for a
            listener, this machine for a client.
        port: 0 to 65535; 0 lets the kernel choose one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def dsn(self) -> str:
        """`tcp://host:port`."""
        return f"tcp://{self}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach a listener there.

        No name is resolved: every name except `localhost` counts as reachable by others.
        """
        try:
            return self.host == _LOOPBACK or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_every(self) -> bool:
        """Whether a listener there has every address of the machine."""
        if not self.host:
            return True
        try:
            return parse_ip(self.host).is_unspecified
        except ValueError:
            try:
                # The resolver of the C library takes `0` for 0.0.0.0.
                return not any(socket.inet_aton(self.host))
            except OSError:
                return False


@dataclass(frozen=True, slots=True, order=True)
class UnixAddress:
    """A socket file."""

    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def dsn(self) -> str:
        """`unix://path`."""
        return f"unix://{self.path}"

    @property
    def is_local(self) -> bool:
        """Always true: a socket file is on this machine."""
        return True


Address = TCPAddress | UnixAddress


def parse_ip(text: str) -> IPv4Address | IPv6Address:
    """Read an IP address; one of IPv4 that is written as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.

    Raises:
        ValueError: it is no IP address.
    """
    found = ip_address(text)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return found if mapped is None else mapped


@lru_cache(maxsize=1024)
def network_of(address: str) -> bytes | None:
    """Return what counts as one address: an IPv4 address, a /64 network of IPv6 (what one customer gets).

    None for anything else: a unix socket has no address.
    """
    try:
        parsed = parse_ip(address)
    except ValueError:
        return None
    return parsed.packed[:8] if isinstance(parsed, IPv6Address) else parsed.packed


def format_peer(name: object) -> str:
    """Write the name of the other end of a socket as `host:port`, for the log.

    Args:
        name: what `getpeername` said, or None; a client of IPv4 on a socket for both families is written as
            one of IPv4.

    Returns:
        `unknown` for an end that is gone, or has no address (unix socket).
    """
    match name:
        case (str(host), int(port), *_):
            with suppress(ValueError):
                host = str(parse_ip(host))
            return str(TCPAddress(host, port))
    return "unknown"


def parse_host_port(text: str) -> TCPAddress:
    """Read `host:port`, `[IPv6]:port` or `:port`.

    Raises:
        ValueError: the text is not such an address; the message has the text and the accepted forms.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        # Whoever writes brackets means one address, and no host would be every address.
        colon = colon if host else ""
    elif ":" in host:
        colon = ""  # An IPv6 address without brackets: nothing tells whether its last part is a port.
    # The resolver of the C library reads a host up to its first NUL: it would find another one.
    if not colon or not host.isprintable() or " " in host or not _is_port(port):
        raise ValueError(f"{text!r} is not an address; write host:port, [IPv6]:port or :port")
    return TCPAddress(host, int(port))


def _is_port(text: str) -> bool:
    # isdigit() alone is true for "٣" and "²", and int() of thousands of digits raises.
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= _MAX_PORT


def parse_dsn(text: str) -> Address:
    """Read `tcp://host:port` or `unix://path`.

    Raises:
        ValueError: the text is not such an address; the message has the text and the accepted forms.
    """
    scheme, _, rest = text.partition("://")
    if scheme == "unix" and rest and "://" not in rest and "\0" not in rest:
        return UnixAddress(rest)
    if scheme == "tcp":
        try:
            return parse_host_port(rest)
        except ValueError:
            pass  # The message below names the whole text, scheme and all.
    raise ValueError(f"{text!r} is not an address; write tcp://host:port, tcp://[IPv6]:port or unix://path")


def parse_http_target(text: str) -> Address:
    """Read `http://host:port`, without a port 80, with nothing behind it but a slash; or `unix://path`.

    Raises:
        ValueError: the text is not such an address; the message has the text and the accepted forms.
    """
    scheme, _, rest = text.partition("://")
    with suppress(ValueError):
        if scheme == "unix":
            return parse_dsn(text)
        host = rest.removesuffix("/")
        found = parse_host_port(host if ":" in host.rpartition("]")[2] else f"{host}:80")
        if scheme == "http" and found.host and found.port and not set(found.host) & set("/?#@"):
            return found
    raise ValueError(f"{text!r} is not an address; write http://host:port or unix://path")
