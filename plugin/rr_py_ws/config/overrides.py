"""What replaces values of the file: `RR_*` variables, `$NAME` in values, `-o` flags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rr_py_ws.config.yaml_file import merge
from rr_py_ws.errors import ConfigError, Place, all_of
from rr_py_ws.masking import mask_text

# Go's os.Expand: `${...}`, an unclosed `${`, one special character, or a name.
_VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|\{|([*#$@!?0-9-])|([A-Za-z0-9_]+))")


def with_environment(
    tree: Mapping[str, Any],
    environ: Mapping[str, str],
    empty: dict[str, str] | None = None,
    path: tuple[str, ...] = (),
    places: dict[str, Place] | None = None,
) -> dict[str, Any]:
    """Return the tree with the values of `RR_<KEY>` variables, and with variables in texts expanded.

    Only keys that the file has can be replaced; an empty variable replaces nothing. In lists, the texts that
    are direct elements are expanded, as in RoadRunner 2.11.3.

    Args:
        tree: the file, or a section of it.
        environ: the variables.
        empty: gets the dotted key of each value that has a variable without a value, and what to say of it.
        path: the keys that lead to the tree.
        places: gets the variable as the place of each value that it replaces.
    """
    replaced: dict[str, Any] = {}
    for key, value in tree.items():
        here = (*path, key)
        if isinstance(value, dict):
            replaced[key] = with_environment(value, environ, empty, here, places)
            continue
        # viper takes an empty variable for one that is not set (AllowEmptyEnv is off).
        variable = "_".join(("RR", *here)).upper()
        if environ.get(variable):
            value = environ[variable]
            if places is not None:
                places[".".join(here)] = Place(variable)
        missing: list[str] = []
        if isinstance(value, list):
            replaced[key] = [
                expand(item, environ, missing) if isinstance(item, str) else item for item in value
            ]
        else:
            replaced[key] = expand(value, environ, missing) if isinstance(value, str) else value
        if missing and empty is not None:
            empty[".".join(here)] = missing[0]
    return replaced


def expand(text: str, environ: Mapping[str, str], missing: list[str] | None = None) -> str:
    """Replace `$NAME`, `${NAME}` and `${NAME:-default}`; a variable that is not set becomes empty.

    The rules are those of Go's `os.Expand`: a `$` that starts no variable stays, `${` without an end is
    dropped. The default, for a variable that is unset or empty, came with RoadRunner 2023.

    Args:
        text: the text.
        environ: the variables.
        missing: gets what to say of the variables that become nothing, such as `${NAME} is not set`: they
            are unset or empty, and have no default or an empty one.
    """

    def value(found: re.Match[str]) -> str:
        name, _, default = (found[1] or found[2] or found[3] or "").partition(":-")
        known = environ.get(name) or default
        if not known and missing is not None:
            missing.append(f"{found[0]} is {'empty' if name in environ else 'not set'}")
        return known

    return _VARIABLE.sub(value, text)


def override(tree: dict[str, Any], flags: Iterable[str]) -> list[str]:
    """Set the keys that `-o key=value` flags name, new ones too; a value is a text and is not expanded.

    Returns:
        The keys, in lower case.

    Raises:
        ConfigError: a flag is malformed; the texts are RoadRunner's.
    """
    keys, errors = [], []
    for flag in flags:
        key, separator, value = flag.partition("=")
        key, value = key.strip(), value.strip()
        # RoadRunner takes quotes away that the shell has left.
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'`":
            value = value[1:-1]
        if problem := _flag_problem(key, separator, value):
            errors.append(ConfigError("-o", f"{problem} `{mask_text(flag)}`"))
            continue
        keys.append(key.lower())
        merge(tree, keys[-1].split("."), value)
    if errors:
        raise all_of(errors)
    return keys


def _flag_problem(key: str, separator: str, value: str) -> str:
    if not separator:
        return "invalid flag"
    if not key:
        return "key should not be empty, found"
    # Also between quotes, where RoadRunner takes it: to many keys, nothing means everything.
    return "" if value else "value should not be empty, found"
