"""The file as a tree of plain values, with RoadRunner's keys: lower case, dots are levels."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from ruamel.yaml.error import MarkedYAMLError, YAMLError

from rr_py_ws.config.values import shown, text
from rr_py_ws.config.yaml_values import read_first_document
from rr_py_ws.errors import ConfigError, Place

_MAX_DEPTH = 64
_MAX_VALUES = 100_000  # aliases of aliases make a small file a huge tree

_HINTS = {
    "mapping values are not allowed": "; check the indentation, and put texts with `: ` in quotes",
    "expected <block end>": "; check the indentation",
    r"found character '\t'": "; indent with spaces",
    "end of stream": "; a quote that begins here has no end",
    "<stream end>": "; a bracket or brace has no end",
}
"""What to do about the problems that YAML's own words say little of."""


def read_tree(path: Path, places: dict[str, Place] | None = None) -> dict[str, Any]:
    """Read a YAML file, or a JSON file when its name ends with `.json`.

    Args:
        path: the file.
        places: gets the place of each key, by its dotted path, and of the items of lists (`a.b[0]`).

    Raises:
        ConfigError: the file cannot be read, its syntax is wrong, or a value is not a plain value.
    """
    lines: dict[str, int] = {}
    tree = parse_tree(path, read_text(path), lines)
    if places is not None:
        places |= {key: Place(str(path), line) for key, line in lines.items()}
    return tree


def read_text(path: Path) -> str:
    """Read a file as its byte order mark says, without the mark.

    Raises:
        ConfigError: it cannot be read, or is no text.
    """
    try:
        return _decode(path.read_bytes())
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(str(path), "is neither UTF-8 nor UTF-16 text") from None


def parse_tree(path: Path, content: str, lines: dict[str, int]) -> dict[str, Any]:
    """Make the tree of a file's content.

    Args:
        path: the file.
        content: what it holds.
        lines: gets the line of each key and item, by its dotted path.

    Raises:
        ConfigError: its syntax is wrong, or a value is not a plain value.
    """
    parse = _parse_json if path.suffix.lower() == ".json" else _parse_yaml
    loaded = parse(path, content, lines)
    # An empty file, or one of comments only.
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(str(path), f"holds {shown(loaded)}, accepted: a map of sections")
    try:
        return _plain_map(loaded, 0, count(1))
    except ValueError as error:
        raise ConfigError(str(path), str(error)) from None


def _decode(content: bytes) -> str:
    """Decode as its byte order mark says; without one it is UTF-8, as for yaml.v3."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig")


def lookup(tree: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key; None when there is none."""
    found: Any = tree
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def place_of(places: Mapping[str, Place], key: str) -> Place | None:
    """Return where a key was written: of one that was not, the section around it, or a key below it."""
    around = key = key.lower()
    while around and around not in places:
        around = around[: max(around.rfind("."), around.rfind("["), 0)]
    below = (place for at, place in places.items() if at.startswith(f"{key}."))
    return places[around] if around else next(below, None)


def without_section(places: Mapping[str, Place], key: str) -> dict[str, Place]:
    """Return the places but those of a key and of what is below it."""
    return {
        at: place for at, place in places.items() if at != key and not at.startswith((f"{key}.", f"{key}["))
    }


def without_item(key: str) -> str:
    """Return the key of the list, when a key names one of its items, or something in one."""
    return re.sub(r"\[[0-9]+\].*$", "", key)


def remove(tree: object, key: str) -> bool:
    """Remove the value at a dotted key; for an item (`a.b[0]`), the list.

    Returns:
        Whether there was one.
    """
    *parents, last = without_item(key).split(".")
    for name in parents:
        tree = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or last not in tree:
        return False
    del tree[last]
    return True


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


def _parse_yaml(path: Path, content: str, lines: dict[str, int]) -> Any:
    try:
        return read_first_document(content, lines)
    # Texts of errors must not quote the file: it may have passwords in it.
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # A duplicate key's problem goes on with both values, which may be secrets.
        problem = (error.problem or error.context or "wrong syntax").split(" with value", 1)[0]
        if "end of stream" in problem or "<stream end>" in problem:  # where it begins helps more
            mark = error.context_mark or mark
        hint = next((hint for part, hint in _HINTS.items() if part in problem), "")
        # `{a: ${NAME}}` is a map in a map.
        line = "".join(content.split("\n")[mark.line : mark.line + 1]) if mark else ""
        if problem.startswith("expected ',' or") and "${" in line:
            hint = "; inside of braces and brackets, ${NAME} needs quotes"
        raise _syntax_error(path, mark.line + 1 if mark else None, problem + hint) from None
    except YAMLError:
        raise _syntax_error(path, None, "a character that YAML does not allow") from None
    except RecursionError:
        raise _syntax_error(path, None, "nested too deeply") from None
    except ValueError:  # an escape that stands for no character
        raise _syntax_error(path, None, "an escape that is not a Unicode character") from None


def _parse_json(path: Path, content: str, lines: dict[str, int]) -> Any:
    try:
        tree = json.loads(content)
    except json.JSONDecodeError as error:
        raise _syntax_error(path, error.lineno, error.msg) from None
    except RecursionError:
        raise _syntax_error(path, None, "nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise _syntax_error(path, None, f"a value cannot be read: {error}") from None
    # Nearly all JSON is YAML, whose reader knows the lines.
    with suppress(YAMLError, RecursionError, ValueError):
        read_first_document(content, lines)
    return tree


def _syntax_error(path: Path, line: int | None, problem: str) -> ConfigError:
    place = Place(str(path), line)
    return ConfigError(str(place), " ".join(problem.split()), place)


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
    # Integers of JSON have no limit; for Go they are floats.
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
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
    # None of ours is like this, and it will stand in lines for people.
    return name if name.isprintable() else shown(name)[1:-1]
