"""Other servers, from registries; they are installed below the cache directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.generator import CACHE, HOST
from bench.servers import Server, free_port

_HERE = Path(__file__).parent
_PYTHON = CACHE / "python"
_GO = CACHE / "go"
_NATS = "github.com/nats-io/nats-server/v2@v2.15.2"
_CENTRIFUGO = "github.com/centrifugal/centrifugo/v6@v6.9.1"

StartPeer = Callable[[Path], Server]
"""Starts a server with its log in a directory."""


class Missing(Exception):
    """A peer cannot be had here; says why."""


def find_bun() -> StartPeer:
    """Bun's server, the first peer.

    Raises:
        Missing: neither it nor npm is there.
    """
    bun = shutil.which("bun") or _from_npm("bun@^1.2", ".bin/bun")
    return partial(_start, "bun", [bun, str(_HERE / "bun.ts")])


def _find_python(library: str) -> StartPeer:
    path = os.environ.get("PYTHONPATH", "")
    if library != "websockets":  # which we need anyway
        path = os.pathsep.join([_from_pypi(library), path])
    command = [sys.executable, "-m", "bench.peers.python", library]
    return partial(_start, library, command, PYTHONPATH=path)


def _find_node(name: str, package: str, script: str, protocol: str | None = None) -> StartPeer:
    node = shutil.which("node")
    if node is None:
        raise Missing("node is not there")
    _from_npm(package, f"{name}/package.json")
    command = [node, str(_HERE / script)]
    return partial(_start, name, command, directory=CACHE.absolute(), protocol=protocol)


def _find_nats() -> StartPeer:
    program = _from_go(_NATS, "nats-server")
    return lambda logs: _start_at_one_port("nats", logs, lambda port: [program, "-a", HOST, "-p", str(port)])


def _find_centrifugo() -> StartPeer:
    program = _from_go(_CENTRIFUGO, "centrifugo")

    def start(logs: Path) -> Server:
        file = logs / "centrifugo.json"

        def command(port: int) -> list[str]:
            file.write_text(json.dumps(_centrifugo(port)))
            return [program, "-c", str(file)]

        return _start_at_one_port("centrifugo", logs, command)

    return start


def _centrifugo(port: int) -> dict[str, object]:
    """Its configuration: nobody is asked who they are, as at the others; no ping falls into a measurement."""
    return {
        "http_server": {"address": HOST, "port": port},
        "http_api": {"key": "bench"},
        "client": {"insecure": True, "ping_interval": "10m", "allowed_origins": ["*"]},
        "channel": {"without_namespace": {"allow_subscribe_for_anonymous": True}},
        "log": {"level": "warn"},
    }


_SAME: dict[str, Callable[[], StartPeer]] = {
    "websockets": partial(_find_python, "websockets"),
    "picows": partial(_find_python, "picows"),
    "ws": partial(_find_node, "ws", "ws@^8", "ws.mjs"),
}
_OWN: dict[str, Callable[[], StartPeer]] = {
    "socket.io": partial(_find_node, "socket.io", "socket.io@^4", "socketio.mjs", "socket.io"),
    "nats": _find_nats,
    "centrifugo": _find_centrifugo,
}


def find_same(say: Callable[[str], None]) -> Iterator[tuple[str, StartPeer]]:
    """Those besides Bun that do the same job, by name; `say` is told of those that cannot be had."""
    return _find(_SAME, say)


def find_own(say: Callable[[str], None]) -> Iterator[tuple[str, StartPeer]]:
    """Those that have a protocol of their own, for fan-outs only."""
    return _find(_OWN, say)


def _find(
    finders: dict[str, Callable[[], StartPeer]], say: Callable[[str], None]
) -> Iterator[tuple[str, StartPeer]]:
    for name, find in finders.items():
        try:
            yield name, find()
        except Missing as error:
            say(f"Without {name}: {error}.")


def _start(name: str, command: Sequence[str], logs: Path, **options: str | Path | None) -> Server:
    ws_port, rpc_port = free_port(), free_port()
    ports = [str(ws_port), str(rpc_port)]
    return Server(name, [*command, *ports], ws_port, rpc_port, logs / f"{name}.log", **options)  # type: ignore[arg-type]


def _start_at_one_port(name: str, logs: Path, command: Callable[[int], Sequence[str]]) -> Server:
    """Start a server whose publishers connect where its clients do."""
    port = free_port()
    return Server(name, command(port), port, port, logs / f"{name}.log", protocol=name)


def _from_npm(package: str, what: str) -> str:
    """The path of something in a package, which is installed first if it is not there yet."""
    installed = CACHE.absolute() / "node_modules" / what
    if not installed.exists():
        _install("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(CACHE), package)
    if not installed.exists():
        raise Missing(f"{package} has no {what}")
    return str(installed)


def _from_pypi(package: str) -> str:
    """The directory of a package."""
    if not (_PYTHON / package).exists():
        pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(_PYTHON)]
        _install(sys.executable, *pip, package)
    return str(_PYTHON.absolute())


def _from_go(module: str, program: str) -> str:
    """The path of a program that is built from its module, in some minutes, if it is not there yet."""
    built = _GO.absolute() / program
    if not built.exists():
        _install("go", "install", module, GOBIN=str(_GO.absolute()), CGO_ENABLED="0")
    return str(built)


def _install(*command: str, **environment: str) -> None:
    CACHE.mkdir(exist_ok=True)
    try:
        subprocess.run(
            command,
            env=os.environ | environment,
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except OSError:
        raise Missing(f"{command[0]} is not there") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().rpartition("\n")[2]
        raise Missing(f"{command[0]} cannot install {command[-1]}: {reason}") from None
