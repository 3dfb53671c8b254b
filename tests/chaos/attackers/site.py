"""The server that stands beside an attacker of one kind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from chaos.attackers.kinds import KINDS
from support.ports import free_port
from support.process import Server, configuration
from support.tls import make_certificate

GRACE = 5
"""Seconds that a stop may take."""


def tls(directory: Path) -> dict[str, Any]:
    """A section `http` with TLS beside plain HTTP."""
    certificate = str(make_certificate(directory))
    return {"ssl": {"address": f"127.0.0.1:{free_port()}", "cert": certificate, "key": certificate}}


def start_server(directory: Path, *kinds: str, log: IO[bytes] | None = None) -> Server:
    """Start a server for attackers of these kinds, with the limits that it has by default.

    It has compression, which is for those who ask for it, and TLS beside plain HTTP.

    Args:
        directory: for its files.
        kinds: names; with none of them about workers it has no workers.
        log: where its log goes; None: to us.
    """
    worker = "attacked.php" if any(KINDS[kind].workers for kind in kinds) else None
    return Server(
        directory,
        configuration(
            worker,
            http=tls(directory),
            websockets={"compression": "on"},
            endure={"grace_period": f"{GRACE}s"},
        ),
        log=log,
    )


@contextmanager
def stuck_pipe() -> Iterator[IO[bytes]]:
    """A pipe that nobody reads, as small as the kernel makes one."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    with open(read, "rb"), open(write, "wb") as pipe:
        yield pipe
