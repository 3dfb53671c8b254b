"""What a file needs so that this program runs beside the RoadRunner that it is written for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from rr_py_ws.config.values import shown, text_list
from rr_py_ws.config.yaml_file import lookup
from rr_py_ws.errors import ConfigError

FreePort = Callable[[int], int]
"""Returns a port that nobody has, from the given one on."""
_EVERY = ("", "0.0.0.0", "[::]", "*")
_MEMORY = {"default": {"driver": "memory", "config": {}}}


def minimal_file(free_port: FreePort) -> dict[str, Any]:
    """Return the sections of a file that can be served, without RoadRunner and PHP."""
    return {
        "version": "3",
        "websockets": {
            "address": f"127.0.0.1:{free_port(8080)}",
            "path": "/ws",
            "broker": "default",
            "authorize": "none",
            "rpc": {"listen": f"tcp://127.0.0.1:{free_port(6001)}"},
        },
        "broadcast": _MEMORY,
    }


def missing_keys(tree: Mapping[str, Any], free_port: FreePort) -> dict[str, Any]:
    """Return what a file lacks: addresses of our own, and RoadRunner's, where we pass on what is not ours.

    Args:
        tree: the file, with variables as they are written.
        free_port: finds a port.

    Raises:
        ConfigError: both would listen where their workers come, which no key of ours changes.
    """
    relay = str(lookup(tree, "server.relay") or "pipes")
    asks = lookup(tree, "server.command") is not None and lookup(tree, "websockets.authorize") != "none"
    if asks and relay != "pipes":
        raise ConfigError(
            "server.relay", f"found {shown(relay)}, where RoadRunner listens; accepted beside it: pipes"
        )
    websockets: dict[str, Any] = {}
    broadcast = tree.get("broadcast")
    if tree.get("websockets") is None:
        name = next(iter(broadcast), "default") if isinstance(broadcast, dict) else "default"
        websockets = {"broker": name, "path": "/ws"}
        if lookup(tree, "server.command") is None:  # so nobody can be asked
            websockets["authorize"] = "none"
    ours: dict[str, str] = {}
    # What is reachable at an address that the file has stays as it is.
    if lookup(tree, "websockets.address") is None:
        ours["address"] = f"127.0.0.1:{free_port(8081)}"
        # Such a file has pages and WebSockets on one port; of any other, the pages stay where they are.
        if (address := lookup(tree, "http.address")) and "websockets" in _middleware(tree):
            ours["http.forward"] = f"http://{_reached(str(address))}"
    if lookup(tree, "websockets.rpc.listen") is None:
        listen = str(lookup(tree, "rpc.listen") or "tcp://127.0.0.1:6001")
        ours["rpc.listen"] = _beside(listen, free_port)
        if tree.get("rpc") is not None:
            ours["rpc.forward"] = _reached(listen)
    # RoadRunner listens there.
    for section, port in (("metrics", 2113), ("status", 2115)):
        if tree.get(section) is not None:
            ours[f"{section}.address"] = f"127.0.0.1:{free_port(port)}"
    for key, value in ours.items():
        if lookup(tree, f"websockets.{key}") is None:
            section, _, name = key.rpartition(".")
            (websockets.setdefault(section, {}) if section else websockets)[name] = value
    keys: dict[str, Any] = {"websockets": websockets} if websockets else {}
    if "broker" in websockets and not broadcast:
        keys["broadcast"] = _MEMORY
    return keys


def _middleware(tree: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return text_list(lookup(tree, "http.middleware") or "")
    except ValueError:
        return ()


def _beside(listen: str, free_port: FreePort) -> str:
    """Return where RPC is listened for beside RoadRunner's; a socket, which not all can open, stays one."""
    if listen.startswith("unix://"):
        return f"{listen.rpartition('/')[0]}/rr-py-ws.sock" if "/" in listen[7:] else "unix://rr-py-ws.sock"
    return f"tcp://127.0.0.1:{free_port(6002)}"


def _reached(address: str) -> str:
    """Return where a listener is reached from the same machine; `${NAME}` may be a part of the address."""
    found = re.fullmatch(r"(tcp://)?([^{}]*|[^{}]*\$\{[^{}]*\}[^{}]*)(:[^:{}]+|:\$\{[^{}]*\})", address)
    if found and found[2] in _EVERY:
        return f"{found[1] or ''}127.0.0.1{found[3]}"
    return address
