"""Addresses as people write them: `host:port`, `tcp://host:port`, `unix:///path`.

Every address of the program is read here: those of the configuration, of flags, of Redis and of workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

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
        """Whether only this machine can reach a listener there; names but localhost are not resolved."""
        try:
            return self.host == _LOOPBACK or ip_address(self.host).is_loopback
        except ValueError:
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
        """A socket file is on this machine."""
        return True


Address = TCPAddress | UnixAddress


def parse_host_port(text: str) -> TCPAddress:
    """Read `host:port` or `:port`; an IPv6 address has brackets.

    Raises:
        ValueError: the text is no such address; the message names it and what is accepted.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""  # an IPv6 address without brackets could end in a port or not
    # Of "٣" isdigit is true too, and int() of thousands of digits raises.
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > _MAX_PORT:
        raise ValueError(f"{text!r} is not an address; write host:port, [IPv6]:port or :port")
    return TCPAddress(host, int(port))


def parse_dsn(text: str) -> Address:
    """Read `tcp://host:port` or `unix://path`.

    Raises:
        ValueError: the text is no such address; the message names it and what is accepted.
    """
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "unix" and rest and "://" not in rest and "\0" not in rest:
        return UnixAddress(rest)
    if separator and scheme == "tcp":
        try:
            return parse_host_port(rest)
        except ValueError:
            pass
    raise ValueError(f"{text!r} is not an address; write tcp://host:port, tcp://[IPv6]:port or unix://path")
