"""Where to listen or connect: `tcp://host:port` and `unix://path`."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TCPAddress:
    """A TCP end point; an empty host means all IPv4 addresses when listening, localhost when connecting."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket file."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


def parse_address(dsn: str) -> TCPAddress | UnixAddress:
    """Read a DSN.

    Raises:
        ValueError: it is no address; the text is one line for a person and names the DSN.
    """
    scheme, separator, rest = dsn.partition("://")
    if separator and scheme == "unix" and rest and "\0" not in rest:
        return UnixAddress(rest)
    if separator and scheme == "tcp":
        host, colon, port = rest.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            colon = ""  # an IPv6 address without brackets
        if colon and port.isascii() and port.isdigit() and int(port) < 65536:
            return TCPAddress(host, int(port))
    raise ValueError(f"{dsn!r} is no address; write tcp://host:port, tcp://[IPv6]:port or unix://path")


def address_of(listener: socket.socket) -> TCPAddress | UnixAddress:
    """Return where a socket listens."""
    name = listener.getsockname()
    return TCPAddress(*name[:2]) if isinstance(name, tuple) else UnixAddress(os.fsdecode(name))


def describe(error: OSError) -> str:
    """Say in a few words why an address cannot be used; asyncio's own texts repeat the address."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
