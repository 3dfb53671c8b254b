"""The file as a tree of plain values, with RoadRunner's keys: lower case, dots are levels."""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from rr_py_ws.config.values import shown, text
from rr_py_ws.errors import ConfigError

_MAX_DEPTH = 64
_MAX_VALUES = 100_000  # aliases of aliases make a small file a huge tree


def read_tree(path: Path) -> dict[str, Any]:
    """Read a YAML file, or a JSON file when its name ends with `.json`.

    Raises:
        ConfigError: the file cannot be read, its syntax is wrong, or a value is not a plain value.
    """
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(str(path), "is not UTF-8 text") from None
    loaded = _parse_json(path, content) if path.suffix.lower() == ".json" else _parse_yaml(path, content)
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(str(path), f"holds {shown(loaded)}, accepted: a map of sections")
    tree: dict[str, Any] = _Normalizer(path).map(loaded, 0)
    return tree


def lookup(tree: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key; None when there is none."""
    found: Any = tree
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def merge(target: dict[str, Any], path: Iterable[str], value: Any) -> None:
    """Set the value at a path. Missing maps on the way are made; a map is merged into a map that is there."""
    *parents, last = path
    for name in parents:
        if not isinstance(target.get(name), dict):
            target[name] = {}
        target = target[name]
    if isinstance(value, dict) and isinstance(target.get(last), dict):
        for name, entry in value.items():
            merge(target[last], [name], entry)
    else:
        target[last] = value


def _parse_yaml(path: Path, content: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return YAML(typ="safe", pure=True).load(content)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # A duplicate key's problem goes on with both values, which may be secrets.
        problem = (error.problem or error.context or "wrong syntax").split(" with value", 1)[0]
        raise _syntax_error(path, mark.line + 1 if mark else None, problem) from None
    except YAMLError:
        raise _syntax_error(path, None, "a character that YAML does not allow") from None
    except RecursionError:
        raise _syntax_error(path, None, "nested too deeply") from None
    except Exception as error:  # ruamel's constructors let the errors of int(), date() and others through
        raise _syntax_error(path, None, f"a value cannot be read: {error}") from None


def _parse_json(path: Path, content: str) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise _syntax_error(path, error.lineno, error.msg) from None
    except RecursionError:
        raise _syntax_error(path, None, "nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise _syntax_error(path, None, f"a value cannot be read: {error}") from None


def _syntax_error(path: Path, line: int | None, problem: str) -> ConfigError:
    place = f"{path}:{line}" if line else str(path)
    return ConfigError(place, " ".join(problem.split()))


class _Normalizer:
    """Copies a loaded tree: plain values only, keys in RoadRunner's form, limits of depth and number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values = 0

    def map(self, found: dict[object, Any], depth: int) -> dict[str, Any]:
        """Keys outside lists: lower case, and a dot is a level. A dotted key wins over a nested one."""
        tree: dict[str, Any] = {}
        entries = [(self._key(key).lower(), value) for key, value in found.items()]
        # Dotted keys come last, so that they win.
        for key, value in sorted(entries, key=lambda entry: "." in entry[0]):
            merge(tree, key.split("."), self._value(value, depth + key.count("."), self.map))
        return tree

    def _map_in_list(self, found: dict[object, Any], depth: int) -> dict[str, Any]:
        return {self._key(key): self._value(value, depth, self._map_in_list) for key, value in found.items()}

    def _value(self, value: Any, depth: int, read_map: Any) -> Any:
        self._values += 1
        if depth > _MAX_DEPTH or self._values > _MAX_VALUES:
            raise ConfigError(str(self._path), "has too many values, or nests them too deeply")
        if isinstance(value, dict):
            return read_map(value, depth + 1)
        if isinstance(value, list):
            return [self._value(item, depth + 1, self._map_in_list) for item in value]
        if isinstance(value, datetime.date):
            return value.isoformat()
        # Integers of YAML and JSON have no limit; Go's end here.
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise ConfigError(str(self._path), "has a number of more than 64 bits")
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, int | float):
            return value
        raise ConfigError(
            str(self._path), f"has a value of a type that is not supported: {type(value).__name__}"
        )

    def _key(self, key: object) -> str:
        if isinstance(key, bool):
            return str(key).lower()
        try:
            name = "" if key is None else text(key)
        except ValueError:
            raise ConfigError(str(self._path), "has a key that is not text") from None
        if not name.isprintable():
            raise ConfigError(str(self._path), f"has a key that cannot be printed: {shown(name)}")
        return name

    def _text(self, value: str) -> str:
        # A lone surrogate, from an escape in JSON or YAML, cannot be encoded when it is printed or sent.
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigError(str(self._path), "has an escape that is not a Unicode character")
        return value
