"""Where a Redis server is, and why it cannot be reached."""

from __future__ import annotations

import os
import ssl
from typing import NamedTuple, Self


class Endpoint(NamedTuple):
    """A host and a port; or, with port 0, the path of a unix socket."""

    host: str
    port: int

    @classmethod
    def parse(cls, address: str) -> Self:
        """Read `host:port` or a path; `config.values.redis_addresses` has checked it."""
        if address.startswith("/"):
            return cls(address, 0)
        host, _, port = address.rpartition(":")
        return cls(host.removeprefix("[").removesuffix("]") or "localhost", int(port))

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def describe(error: Exception | None) -> str:
    """Say in a few words why a connection failed; asyncio's own texts repeat the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return str(error or "")
