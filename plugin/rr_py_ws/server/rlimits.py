"""The limit of open files, and how many connections it allows: each connection takes one file descriptor."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass

from rr_py_ws.config import Config

_FOR_PROCESS = 64
"""Descriptors for listeners, log files, brokers, monitoring, the event loop, connections that are ending."""
_FOR_WORKER = 8
"""Descriptors for the pipes or the socket of each worker, and of the worker that replaces it."""
_MAX_REFUSALS = 128
_UNLIMITED = 1 << 20
"""Used when the system sets no limit."""


@dataclass(frozen=True, slots=True)
class FileLimits:
    """How many connections of each kind the limit of open files allows.

    Attributes:
        limit: descriptors that the process may have.
        wanted: descriptors that the configuration needs.
        clients: TCP connections of browsers.
        refusals: connections of browsers beyond `clients`, which are answered that there are too many.
        rpc: RPC connections.
        where: which process it is, for the warning.
    """

    limit: int
    wanted: int
    clients: int
    refusals: int
    rpc: int
    where: str = ""

    @property
    def warning(self) -> str:
        """Text for the log when the limit is too low for the configuration; empty when it is not."""
        if self.wanted <= self.limit:
            return ""
        found = [
            (f"{self.clients} clients", "max_connections") if self.clients else None,
            (f"{self.rpc} RPC connections", "max_rpc_connections") if self.rpc else None,
        ]
        let_in, keys = (" and ".join(texts) for texts in zip(*filter(None, found), strict=True))
        return (
            f"the limit of open files, {self.limit}, is below the {self.wanted} that the configuration needs:"
            f" only {let_in} are let in{self.where}; raise the limit (LimitNOFILE, ulimit -Hn)"
            f" or lower websockets.limits.{keys}"
        )


def raise_limit() -> None:
    """Raise the soft limit, usually 1024, to the hard limit; when that is refused, the limit stays."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # ValueError: `fs.nr_open` was lowered below the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def share(loaded: Config, *, core: bool = True, clients: bool = True) -> FileLimits:
    """Divide the limit of open files between clients and RPC.

    RPC gets at most a quarter, so that a low limit shuts out neither publishers nor browsers. Clients get
    what is left, at most `max_connections`.

    Args:
        loaded: the configuration; of one of several processes that serve clients, its own.
        core: whether the process has RPC and the workers.
        clients: whether it serves clients.
    """
    section = loaded.settings
    limits = section.limits
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _UNLIMITED if soft == resource.RLIM_INFINITY else soft
    # A refusal with an answer tells a browser more than a connection that is not accepted.
    refusals = min(_MAX_REFUSALS, limit // 16) if clients else 0
    fixed = _FOR_PROCESS + refusals + (_FOR_WORKER * _workers(loaded) if core else 0)
    # With a limit that is far too low, one of each: the warning says what is wrong.
    left = max(1, limit - fixed)
    rpc = min(limits.max_rpc_connections, limit // 4 if clients else left) if core else 0
    wanted = fixed + (limits.max_rpc_connections if core else 0)
    if not clients:
        return FileLimits(limit, wanted, 0, 0, rpc, " by the core process")
    left = max(1, limit - fixed - rpc)
    # A client whose request is passed on takes two.
    passed_on = section.http.max_connections + section.http.max_tunnels if section.http.forward else 0
    left -= min(passed_on, left // 2)
    # Of several processes each gets about as many as the others.
    most = -(-limits.max_connections // (1 if core else section.processes))
    return FileLimits(
        limit=limit,
        wanted=wanted + passed_on + max(1, most),
        clients=min(limits.max_connections or left, left),
        refusals=refusals,
        rpc=rpc,
        where="" if core else " by each listener process",
    )


def _workers(loaded: Config) -> int:
    """Return how many PHP workers run at a time."""
    section, pages = (
        loaded.settings,
        loaded.http.pool.num_workers if loaded.http and loaded.serves_pages else 0,
    )
    # Without PHP no worker is started, whatever the section says.
    return pages + (section.pool.num_workers if loaded.asks_php else 0)
