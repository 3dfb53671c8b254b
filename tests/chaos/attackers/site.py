"""The server that stands beside an attacker of one kind."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO, Any, Self

from chaos.attackers.kinds import KINDS
from chaos.attackers.pages import FILE, FILE_SIZE
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

    It has compression, which is for those who ask for it, TLS beside plain HTTP, files, and monitoring. With
    workers, those for pages are hostile ones.

    Args:
        directory: for its files.
        kinds: names; with none of them about workers it has no workers.
        log: where its log goes; None: to us.
    """
    worker = "attacked.php" if any(KINDS[kind].workers for kind in kinds) else None
    http = tls(directory) | {"middleware": ["static", "websockets"], "static": {"dir": "files"}}
    if worker:
        path = os.pathsep.join(filter(None, sys.path))
        hostile = ["env", f"PYTHONPATH={path}", sys.executable, "workers/hostile.py"]
        http["pool"] = {"num_workers": 1, "command": hostile}
    (directory / "files").mkdir()
    (directory / "files" / FILE).write_bytes(bytes(FILE_SIZE))
    server = Server(
        directory,
        configuration(
            worker,
            http=http,
            websockets={
                "compression": "on",
                "history": [{"topics": "kept.*", "size": 100, "ttl": "1m"}],
            },
            endure={"grace_period": f"{GRACE}s"},
            metrics={"address": f"127.0.0.1:{free_port()}"},
            status={"address": f"127.0.0.1:{free_port()}"},
        ),
        log=log,
    )
    # What workers for pages answer is too much, and others are killed.
    server.tolerated += ["a page failed", "PHP workers are down", "cannot replace a worker"]
    return server


class StuckPipe:
    """A pipe that nobody reads, for the log of a server.

    Attributes:
        file: the end that the server gets.
    """

    def __init__(self) -> None:
        read, write = os.pipe()
        self._read, self.file = os.fdopen(read, "rb"), os.fdopen(write, "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._read.close()

    def fill(self) -> None:
        """Leave no room in it: from now on a write waits."""
        # Opened again, so that it is we alone who do not wait.
        path = f"/proc/self/fd/{self.file.fileno()}"
        with open(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb", buffering=0) as pipe:
            while pipe.write(bytes(4096)):
                pass
