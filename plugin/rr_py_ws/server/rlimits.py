"""The limit of open files, and how many connections it allows: each connection takes one file descriptor."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass

from rr_py_ws.config import WebSockets

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
    """

    limit: int
    wanted: int
    clients: int
    refusals: int
    rpc: int

    @property
    def warning(self) -> str:
        """Text for the log when the limit is too low for the configuration; empty when it is not."""
        if self.wanted <= self.limit:
            return ""
        return (
            f"the limit of open files, {self.limit}, is below the {self.wanted} that the configuration needs:"
            f" only {self.clients} clients and {self.rpc} RPC connections are let in; raise the limit"
            " (LimitNOFILE, ulimit -Hn) or lower websockets.limits.max_connections and max_rpc_connections"
        )


def raise_limit() -> None:
    """Raise the soft limit, usually 1024, to the hard limit; when that is refused, the limit stays."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # ValueError: `fs.nr_open` was lowered below the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def share(section: WebSockets, page_workers: int = 0) -> FileLimits:
    """Divide the limit of open files between clients and RPC.

    RPC gets at most a quarter, so that a low limit shuts out neither publishers nor browsers. Clients get
    what is left, at most `max_connections`.

    Args:
        section: the section.
        page_workers: workers of `http.pool`.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _UNLIMITED if soft == resource.RLIM_INFINITY else soft
    # Without PHP no worker is started, whatever the section says.
    workers = page_workers + (section.pool.num_workers if section.authorize == "php" else 0)
    # A refusal with an answer tells a browser more than a connection that is not accepted.
    refusals = min(_MAX_REFUSALS, limit // 16)
    fixed = _FOR_PROCESS + _FOR_WORKER * workers + refusals
    limits = section.limits
    rpc = min(limits.max_rpc_connections, limit // 4)
    # With a limit that is far too low, one client: the warning says what is wrong.
    left = max(1, limit - fixed - rpc)
    # A client whose request is passed on takes two.
    passed_on = section.http.max_connections + section.http.max_tunnels if section.http.forward else 0
    left -= min(passed_on, left // 2)
    return FileLimits(
        limit=limit,
        wanted=fixed + passed_on + limits.max_rpc_connections + max(1, limits.max_connections),
        clients=min(limits.max_connections or left, left),
        refusals=refusals,
        rpc=rpc,
    )
