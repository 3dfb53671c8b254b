"""What replaces values of the file: dotenv files and `RR_*` variables, `$NAME` in values, `-o` flags."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from rr_py_ws.config.yaml_file import merge
from rr_py_ws.errors import ConfigError

# Go's os.Expand: `${...}`, an unclosed `${`, one special character, or a name.
_VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|\{|([*#$@!?0-9-])|([A-Za-z0-9_]+))")


def load_dotenv(path: Path, environ: MutableMapping[str, str]) -> None:
    """Add a dotenv file's variables to the environment; variables that exist stay as they are.

    Raises:
        ConfigError: the file, or a line of it, cannot be read.
    """
    try:
        content = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(str(path), f"the dotenv file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), "the dotenv file is not UTF-8 text") from None
    # dotenv_values() only warns of a line that cannot be read.
    for binding in parse_stream(io.StringIO(content)):
        name, value = binding.key, binding.value
        if binding.error or (name and (value is None or "=" in name or "\0" in name + value)):
            statement = binding.original.string  # It begins with the blank lines before it.
            blank_lines = statement[: -len(statement.lstrip())].count("\n")
            raise ConfigError(f"{path}:{binding.original.line + blank_lines}", "accepted: NAME=value")
    for name, value in dotenv_values(stream=io.StringIO(content)).items():
        # As godotenv.Load: what the process was started with wins.
        environ.setdefault(name, value or "")


def with_environment(
    tree: Mapping[str, Any],
    environ: Mapping[str, str],
    empty: dict[str, str] | None = None,
    path: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the tree with the values of `RR_<KEY>` variables, and with variables in texts expanded.

    Only keys that the file has can be replaced; an empty variable replaces nothing. In lists, the texts that
    are direct elements are expanded, as in RoadRunner 2.11.3.

    Args:
        tree: the file, or a section of it.
        environ: the variables.
        empty: gets the dotted key of each value that has a variable without a value, and the variable.
        path: the keys that lead to the tree.
    """
    replaced: dict[str, Any] = {}
    for key, value in tree.items():
        here = (*path, key)
        if isinstance(value, dict):
            replaced[key] = with_environment(value, environ, empty, here)
            continue
        # viper takes an empty variable for one that is not set (AllowEmptyEnv is off).
        value = environ.get("_".join(("RR", *here)).upper()) or value
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
        missing: gets the variables, as they are written, that become nothing: they are unset or empty, and
            have no default or an empty one.
    """

    def value(found: re.Match[str]) -> str:
        name, _, default = (found[1] or found[2] or found[3] or "").partition(":-")
        known = environ.get(name) or default
        if not known and missing is not None:
            missing.append(found[0])
        return known

    return _VARIABLE.sub(value, text)


def override(tree: dict[str, Any], flags: Iterable[str]) -> list[str]:
    """Set the keys that `-o key=value` flags name, new ones too; a value is a text and is not expanded.

    Returns:
        The keys, in lower case.

    Raises:
        ConfigError: a flag is malformed; the texts are RoadRunner's.
    """
    keys = []
    for flag in flags:
        key, separator, value = flag.partition("=")
        key, value = key.strip(), value.strip()
        if not separator:
            raise ConfigError("-o", f"invalid flag `{flag}`")
        if not key:
            raise ConfigError("-o", "key should not be empty")
        if not value:
            raise ConfigError("-o", "value should not be empty")
        # RoadRunner takes quotes away that the shell has left.
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'`":
            value = value[1:-1]
        # As above, where RoadRunner takes it: to many keys, nothing means everything.
        if not value:
            raise ConfigError("-o", f"value should not be empty, found `{flag}`")
        keys.append(key.lower())
        merge(tree, keys[-1].split("."), value)
    return keys
