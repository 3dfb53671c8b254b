"""`-o key=value`: applied last, always text, never expanded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rr_py_ws.config.yaml_file import merge
from rr_py_ws.errors import ConfigError


def override(tree: dict[str, Any], flags: Iterable[str]) -> None:
    """Set the keys that the flags name, new ones too.

    Raises:
        ConfigError: a flag is malformed; the texts are RoadRunner's.
    """
    for flag in flags:
        key, value = _parse(flag)
        merge(tree, key.lower().split("."), value)


def _parse(flag: str) -> tuple[str, str]:
    key, separator, value = flag.partition("=")
    key, value = key.strip(), value.strip()
    if not separator:
        raise ConfigError("-o", f"invalid flag `{flag}`")
    if not key:
        raise ConfigError("-o", "key should not be empty")
    if not value:
        raise ConfigError("-o", "value should not be empty")
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'`":
        value = value[1:-1]
    return key, value
