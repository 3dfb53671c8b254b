"""What the environment does to the configuration: dotenv files, `RR_*` overrides, `$NAME` in values."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from rr_py_ws.errors import ConfigError

# Go's os.Expand: `${...}`, an unclosed `${`, one special character, or a name.
_VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|\{|([*#$@!?0-9-])|([A-Za-z0-9_]+))")


def load_dotenv(path: Path, environ: MutableMapping[str, str]) -> None:
    """Add a dotenv file's variables to the environment; those that exist stay as they are.

    Raises:
        ConfigError: the file cannot be read, or a line of it.
    """
    try:
        content = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(str(path), f"the dotenv file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), "the dotenv file is not UTF-8 text") from None
    for binding in parse_stream(io.StringIO(content)):
        if binding.error or (binding.key and not _is_variable(binding.key, binding.value)):
            statement = binding.original.string
            blank_lines = statement[: -len(statement.lstrip())].count("\n")
            raise ConfigError(f"{path}:{binding.original.line + blank_lines}", "accepted: NAME=value")
    for name, value in dotenv_values(stream=io.StringIO(content)).items():
        environ.setdefault(name, value or "")


def _is_variable(name: str, value: str | None) -> bool:
    return "=" not in name and value is not None and "\0" not in name + value


def with_environment(tree: Mapping[str, Any], environ: Mapping[str, str], path: str = "RR") -> dict[str, Any]:
    """Return the tree with `RR_<KEY>` variables in place of the values they name, and variables expanded.

    Only keys that the file has can be replaced; an empty variable replaces nothing. Of lists, the texts that
    are direct elements are expanded, as in RoadRunner 2.11.3.
    """
    replaced: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{path}_{key.upper()}"
        if isinstance(value, dict):
            replaced[key] = with_environment(value, environ, name)
            continue
        value = environ.get(name) or value
        if isinstance(value, list):
            replaced[key] = [expand(item, environ) if isinstance(item, str) else item for item in value]
        else:
            replaced[key] = expand(value, environ) if isinstance(value, str) else value
    return replaced


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace `$NAME`, `${NAME}` and `${NAME:-default}`; what is not set becomes empty.

    The rules of Go's `os.Expand` (a `$` before nothing it knows stays, `${` without an end is dropped); the
    default, for a variable that is unset or empty, is RoadRunner 2023's.
    """

    def value(found: re.Match[str]) -> str:
        name, _, default = (found[1] or found[2] or found[3] or "").partition(":-")
        return environ.get(name) or default

    return _VARIABLE.sub(value, text)
