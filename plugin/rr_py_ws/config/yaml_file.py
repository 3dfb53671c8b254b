"""The file as a tree of plain values, with RoadRunner's keys: lower case, dots are levels."""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
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
    # An empty file, or one of comments only.
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(str(path), f"holds {shown(loaded)}, accepted: a map of sections")
    try:
        return _plain_map(loaded, 0, count(1))
    except ValueError as error:
        raise ConfigError(str(path), str(error)) from None


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
        # As viper: a deeper key replaces a plain value that is in its way.
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
            warnings.simplefilter("ignore")  # ruamel warns on stderr of what it reads all the same
            return YAML(typ="safe", pure=True).load(content)
    # Texts of errors must not quote the file: it may have passwords in it.
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


def _plain_map(
    found: dict[object, Any], depth: int, numbers: Iterator[int], in_list: bool = False
) -> dict[str, Any]:
    """Copy a map.

    Outside lists keys become lower case, and a dot is a level, as viper does; it leaves maps in lists alone.
    """
    if in_list:
        return {_key(key): _plain(value, depth, numbers, True) for key, value in found.items()}
    tree: dict[str, Any] = {}
    entries = [(_key(key).lower(), value) for key, value in found.items()]
    # Dotted keys come last: a dotted key wins over a nested one.
    for key, value in sorted(entries, key=lambda entry: "." in entry[0]):
        merge(tree, key.split("."), _plain(value, depth + key.count("."), numbers))
    return tree


def _plain(value: Any, depth: int, numbers: Iterator[int], in_list: bool = False) -> Any:
    """Copy a value, of which only plain types are accepted; `numbers` counts the values of the file."""
    if depth > _MAX_DEPTH or next(numbers) > _MAX_VALUES:
        raise ValueError("has too many values, or nests them too deeply")
    if isinstance(value, dict):
        return _plain_map(value, depth + 1, numbers, in_list)
    if isinstance(value, list):
        return [_plain(item, depth + 1, numbers, True) for item in value]
    if isinstance(value, datetime.date):  # YAML reads a bare 2024-05-01 as a date; for the models it is text
        return value.isoformat()
    # Integers of YAML and JSON have no limit; Go's end here.
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("has a number of more than 64 bits")
    # A lone surrogate, from an escape in JSON or YAML, cannot be encoded when it is printed or sent.
    if (
        isinstance(value, str)
        and not value.isascii()
        and any("\ud800" <= character <= "\udfff" for character in value)
    ):
        raise ValueError("has an escape that is not a Unicode character")
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"has a value of a type that is not supported: {type(value).__name__}")


def _key(key: object) -> str:
    if isinstance(key, bool):  # a bare `true:` of YAML; as a value, weak decoding would make it `1`
        return str(key).lower()
    try:
        name = "" if key is None else text(key)
    except ValueError:
        raise ValueError("has a key that is not text") from None
    if not name.isprintable():
        raise ValueError(f"has a key that cannot be printed: {shown(name)}")
    return name
