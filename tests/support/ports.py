"""Ports for the servers that tests start."""

from __future__ import annotations

import os
import random
import socket

import pytest

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_BUS = 10_000
"""From the port of a Redis Cluster node to that of its bus."""

_random = random.SystemRandom()  # tests, and Hypothesis, seed the usual one
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody uses, with the port for a cluster bus that belongs to it.

    It is never given twice, also not to tests that run at the same time; and it is below the range from which
    the system gives ports to outgoing connections, so that none of those takes it before the server is there.
    """
    while True:
        port = _random.randrange(10_000 + _WORKER, 20_000, _WORKERS)
        if port not in _given and _is_free(port) and _is_free(port + _BUS):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    return _can_bind(socket.AF_INET, "127.0.0.1", port)


def _can_bind(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.bind((host, port))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(
    not _can_bind(socket.AF_INET6, "::1", 0), reason="this machine has no IPv6, as some containers"
)
