"""Other servers that do the same job, from registries; they are installed below the cache directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.generator import CACHE
from bench.servers import Server, free_port

_HERE = Path(__file__).parent
_PYTHON = CACHE / "python"

StartPeer = Callable[[Path], Server]
"""Starts a server with its log in a directory."""


def find_bun() -> StartPeer | None:
    """Bun's server, the first peer; None where neither it nor npm is."""
    bun = shutil.which("bun") or _from_npm("bun@^1.2", ".bin/bun")
    return None if bun is None else partial(_start, "bun", [bun, str(_HERE / "bun.ts")])


def find_others() -> Iterator[tuple[str, StartPeer]]:
    """The others that can be had, by name."""
    python = [sys.executable, "-m", "bench.peers.python"]
    yield "websockets", partial(_start, "websockets", [*python, "websockets"])
    if _from_pypi("picows"):
        path = os.pathsep.join([str(_PYTHON.absolute()), os.environ.get("PYTHONPATH", "")])
        yield "picows", partial(_start, "picows", [*python, "picows"], PYTHONPATH=path)
    node = shutil.which("node")
    if node and _from_npm("ws@^8", "ws/package.json"):
        yield "ws", partial(_start, "ws", [node, str(_HERE / "ws.mjs")], directory=CACHE.absolute())


def _start(name: str, command: Sequence[str], logs: Path, **options: str | Path) -> Server:
    ws_port, rpc_port = free_port(), free_port()
    ports = [str(ws_port), str(rpc_port)]
    return Server(name, [*command, *ports], ws_port, rpc_port, logs / f"{name}.log", **options)  # type: ignore[arg-type]


def _from_npm(package: str, what: str) -> str | None:
    """The path of something in a package, which is installed first if it is not there yet."""
    installed = CACHE.absolute() / "node_modules" / what
    if not installed.exists() and shutil.which("npm"):
        CACHE.mkdir(exist_ok=True)
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(CACHE)]
        subprocess.run([*npm, package], check=False)
    return str(installed) if installed.exists() else None


def _from_pypi(package: str) -> bool:
    if not (_PYTHON / package).exists():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--target",
            str(_PYTHON),
        ]
        subprocess.run([*pip, package], check=False)
    return (_PYTHON / package).exists()
