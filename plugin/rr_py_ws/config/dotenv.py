"""Files of environment variables, as godotenv 1.4 reads them, which RoadRunner 2.x uses.

It reads line by line: a value never goes on in the next one. Variables in values are those of lines above, in
capitals, and never those of the process. A `#` begins a comment unless it stands between quotes.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path

from rr_py_ws.errors import ConfigError

_SPACE = " \t\n\v\f\r\x85\xa0"
_NAME = re.compile(r"[\t\n\f\r ]*(?:export[\t\n\f\r ]+)?(.*?)[\t\n\f\r ]*")
_ESCAPE = re.compile(r"\\(.)")
_UNESCAPE = re.compile(r"\\([^$])")
_VARIABLE = re.compile(r"(\\)?\$\(?\{?([A-Z0-9_]+)?\}?")
_MAX_LINE = 64 * 1024


def load_dotenv(path: Path, environ: MutableMapping[str, str]) -> None:
    """Add a dotenv file's variables to the environment; variables that exist stay as they are.

    Raises:
        ConfigError: the file, or a line of it, cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"the dotenv file cannot be read: {error.strerror}") from None
    found: dict[str, str] = {}
    for number, raw in enumerate(content.split(b"\n"), 1):
        # Bytes that are not UTF-8 stay what they are, as the environment of a process has them.
        line = raw.removesuffix(b"\r").decode("utf-8", "surrogateescape")
        if not line.strip(_SPACE) or line.strip(_SPACE).startswith("#"):
            continue
        name, separator, value = _split(_without_comment(line))
        if not separator or len(raw) >= _MAX_LINE:
            raise ConfigError(f"{path}:{number}", "accepted: NAME=value")
        found[name] = _value(value, found)
    for name, value in found.items():
        # What the process was started with wins. A name or value that no process can have is left out.
        if name and "=" not in name and "\0" not in name + value:
            environ.setdefault(name, value)


def _without_comment(line: str) -> str:
    """Cut a line at its comment; a `#` between a quote and the next one is none."""
    first, *others = line.split("#")
    kept, quoted = [first], _opens(first)
    for part in others:
        if _opens(part):
            if quoted:
                kept.append(part)
            quoted = not quoted
        if quoted:
            kept.append(part)
    return "#".join(kept)


def _opens(part: str) -> bool:
    """Whether a quote in it has no partner."""
    return part.count('"') == 1 or part.count("'") == 1


def _split(line: str) -> tuple[str, str, str]:
    """Split at the first `=`; or at a `:` that comes before it."""
    equals, colon = line.find("="), line.find(":")
    separator = ":" if colon >= 0 and (colon < equals or equals < 0) else "="
    name, found, value = line.partition(separator)
    match = _NAME.fullmatch(name)
    return (match[1] if match else name), found, value


def _value(text: str, known: dict[str, str]) -> str:
    value = text.strip(" ")
    if len(value) < 2:
        return value
    quote = value[0] if value[0] == value[-1] and value[0] in "\"'" else ""
    if quote:
        value = value[1:-1]
    if quote == '"':
        value = _ESCAPE.sub(lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[0]), value)
        value = _UNESCAPE.sub(r"\1", value)
    return value if quote == "'" else _expand(value, known)


def _expand(value: str, known: dict[str, str]) -> str:
    def variable(found: re.Match[str]) -> str:
        if found[1]:
            return found[0][1:]
        return known.get(found[2], "") if found[2] else found[0]

    return _VARIABLE.sub(variable, value)
