"""File descriptors, and how they are shared out: each connection takes one."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass

from rr_py_ws.config import WebSockets

_OWN = 64
"""For listeners, log files, brokers, monitoring, the event loop, and connections that are just ending."""
_FOR_WORKER = 8
"""Pipes or a socket, of each worker and of the one that replaces it."""
_MAX_REFUSALS = 128
_ENDLESS = 1 << 20
"""What stands for a limit that there is not."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What the descriptors are for.

    Attributes:
        limit: how many there are.
        wanted: how many the configuration asks for.
        clients: TCP connections of browsers.
        refusals: more of them, which are told that there are too many.
        rpc: RPC connections.
    """

    limit: int
    wanted: int
    clients: int
    refusals: int
    rpc: int

    @property
    def warning(self) -> str:
        """What to tell when the limit is too low for the configuration; empty when it is not."""
        if self.wanted <= self.limit:
            return ""
        return (
            f"the limit of open files, {self.limit}, is below the {self.wanted} that the configuration needs:"
            f" only {self.clients} clients and {self.rpc} RPC connections are let in; raise the limit"
            " (LimitNOFILE, ulimit -Hn) or lower websockets.limits.max_connections and max_rpc_connections"
        )


def raise_limit() -> None:
    """Raise the soft limit, usually 1024, to the hard one; `share` goes by what has come of it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # ValueError: `fs.nr_open` is lower by now
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def share(section: WebSockets) -> Shares:
    """Share out what the process may have. RPC gets at most a quarter, and clients what is left."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _ENDLESS if soft == resource.RLIM_INFINITY else soft
    workers = section.pool.num_workers if section.authorize == "php" else 0
    refusals = min(_MAX_REFUSALS, limit // 16)
    fixed = _OWN + _FOR_WORKER * workers + refusals
    limits = section.limits
    rpc = min(limits.max_rpc_connections, limit // 4)
    left = max(1, limit - fixed - rpc)
    return Shares(
        limit=limit,
        wanted=fixed + limits.max_rpc_connections + max(1, limits.max_connections),
        clients=min(limits.max_connections or left, left),
        refusals=refusals,
        rpc=rpc,
    )
