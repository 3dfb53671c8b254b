"""Files that are not, or not only, RoadRunner 2.x's: of RoadRunner 1, or shared with a newer one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rr_py_ws.config.models import WebSockets
from rr_py_ws.config.overrides import expand
from rr_py_ws.config.values import text_list
from rr_py_ws.config.yaml_file import lookup
from rr_py_ws.errors import ConfigError

_ONLY_IN_1 = (
    *("http.workers", "http.ws", "grpc.workers", "jobs.workers", "jobs.dispatch"),
    *("rpc.enable", "limit", "health", "ws", "env"),
)
"""Keys of RoadRunner 1. A file of 2.x may have one of them by chance, beside a section that only 2.x has."""
_ONLY_IN_2 = ("version", "server", "websockets", "broadcast.default", "logs", "endure", "status")


def refuse_roadrunner_1(path: Path, tree: Mapping[str, Any]) -> None:
    """Name a file of RoadRunner 1 as such: hardly a key of it means anything in 2.x.

    Raises:
        ConfigError: it is one.
    """
    if any(lookup(tree, key) is not None for key in _ONLY_IN_2):
        return
    for key in _ONLY_IN_1:
        if lookup(tree, key) is not None:
            raise ConfigError(
                str(path), f"is a file of RoadRunner 1 ({key}), accepted: one of RoadRunner 2.3 or later"
            )


def included_files(tree: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files of `include` (RoadRunner 2023.3): their sections replace those of the file.

    Raises:
        ConfigError: it is neither a text nor a list of texts.
    """
    found = tree.get("include")
    try:
        names = text_list(found) if found is not None else ()
    except ValueError as error:
        raise ConfigError("include", str(error)) from None
    return tuple(expand(name, environ) for name in names)


def without_replaced(tree: Mapping[str, Any], websockets: WebSockets | None) -> dict[str, Any]:
    """Leave out what keys of ours replace: a newer RoadRunner may write it in a form that nobody here knows.

    Args:
        tree: the whole file.
        websockets: its section.
    """
    needed = dict(tree)
    if websockets is None:
        return needed
    if websockets.address:
        needed["http"] = _only(tree.get("http"), "middleware", "trusted_subnets")
    if websockets.rpc and websockets.rpc.listen:
        needed["rpc"] = _only(tree.get("rpc"))
    if websockets.metrics:
        needed["metrics"] = _only(tree.get("metrics"))
    if websockets.status:
        needed["status"] = _only(tree.get("status"), "unavailable_status_code")
    if websockets.authorize == "none" and websockets.address:
        needed["server"] = _only(tree.get("server"))
    return needed


def _only(section: Any, *keys: str) -> dict[str, Any] | None:
    if section is None:
        return None
    found = section if isinstance(section, dict) else {}
    return {key: value for key, value in found.items() if key in keys}
