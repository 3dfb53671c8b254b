"""One value of the file into one typed value: RoadRunner's weak decoding.

Every function takes what YAML, JSON, the environment or `-o` delivered, and raises `ValueError` with the text
that follows "found ...," in the error: what is accepted. The rules are those of viper and mapstructure with
weak typing, as RoadRunner 2.x uses them. Numbers with a unit are in `quantities`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from ipaddress import ip_network

from rr_py_ws.address import parse_dsn, parse_host_port

_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "no", "off", ""})


def shown(value: object) -> str:
    """Describe a value in one line of an error; the contents of maps and lists may be secret."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    quoted = json.dumps(value, ensure_ascii=False, default=str)
    if not quoted.isprintable():  # A control character or a line separator would change the line.
        quoted = json.dumps(value, default=str)
    return quoted if len(quoted) <= 80 else f"{quoted[:80]}..."


def text(value: object) -> str:
    """A string, number or bool as text, in Go's form: true is `1`, 1.0 is `1`."""
    if isinstance(value, str):
        return value
    # bool is an int for Python, and mapstructure makes true a `1`, too.
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        # repr() may have an exponent; mapstructure formats a float without one.
        return format(Decimal(repr(value)).normalize(), "f")
    raise ValueError("accepted: text")


def boolean(value: object) -> bool:
    """A bool, a number (0 is false), or one of Go's and YAML 1.1's words for it."""
    # mapstructure's weak decoding: any number but 0 is true.
    if isinstance(value, bool | int | float):
        return bool(value)
    if isinstance(value, str):
        if value.lower() in _TRUE:
            return True
        if value.lower() in _FALSE:
            return False
    raise ValueError("accepted: true or false")


def switch(value: object) -> object:
    """A section, or a word that switches it on or off."""
    if isinstance(value, dict):
        return value
    try:
        return {"enabled": boolean(value)}
    except ValueError:
        raise ValueError("accepted: on, off, or a map of keys") from None


def file_mode(value: object) -> int:
    """Permissions as octal text. A bare 0660 is refused: YAML 1.1 reads it as octal, YAML 1.2 as decimal."""
    if isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value):
        return int(value, 8)
    raise ValueError('accepted: permissions in octal and in quotes, such as "0660"')


def text_list(value: object) -> tuple[str, ...]:
    """A list of texts; one text is split at its commas."""
    if isinstance(value, str):
        # mapstructure's StringToSlice hook: no list of one empty text.
        return tuple(value.split(",")) if value else ()
    if isinstance(value, int | float):
        return (text(value),)
    if isinstance(value, list | tuple):
        with suppress(ValueError):
            return tuple(text(item) for item in value)
    raise ValueError("accepted: a list of texts, or one text with commas")


def environment(value: object) -> dict[str, str]:
    """A map of variables, or a list of maps, which are merged; names come out in upper case."""
    accepted = "accepted: a map of variables, or a list of such maps"
    merged: dict[object, object] = {}
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            raise ValueError(accepted)
        # mapstructure merges the maps of a list; a later one wins.
        merged |= item
    try:
        # viper has lost the case of the names, so RoadRunner makes all of them upper case.
        return {str(name).upper(): "" if entry is None else text(entry) for name, entry in merged.items()}
    except ValueError:
        raise ValueError(accepted) from None


def sections(value: object) -> dict[str, object]:
    """A map of sections; a section without a value is an absent section."""
    if not isinstance(value, dict):
        raise ValueError("accepted: a map of sections; check the indentation")
    return {str(name): section for name, section in value.items() if section is not None}


def one_of(*words: str) -> Callable[[object], str]:
    """A decoder that accepts these words in any case, and nothing else."""

    def decode(value: object) -> str:
        if isinstance(value, str) and value.lower() in words:
            return value.lower()
        raise ValueError(f"accepted: {', '.join(words)}")

    return decode


def address(value: object) -> str:
    """`host:port` or `:port`; an empty text stays empty."""
    found = text(value)
    return _checked(found, parse_host_port, "accepted: host:port or :port") if found else ""


def redis_addresses(value: object) -> tuple[str, ...]:
    """Addresses of Redis servers, `host:port` or the path of a socket; an empty one is go-redis' default."""
    accepted = "accepted: host:port or the path of a unix socket, or a list of them"
    found = tuple(item.strip() or "localhost:6379" for item in text_list(value))
    for item in found:
        # A path is not parsed, but a NUL would end it for the kernel.
        if not item.startswith("/") or "\0" in item:
            _checked(item, parse_host_port, accepted)
    return found


def listen_dsn(value: object) -> str:
    """`tcp://host:port` or `unix://path`."""
    return _checked(value, parse_dsn, "accepted: tcp://host:port or unix://path")


def dsn(value: object) -> str:
    """`tcp://host:port` or `unix://path`; empty text is the default."""
    return "" if value == "" else listen_dsn(value)


def relay(value: object) -> str:
    """`pipes`, `tcp://host:port` or `unix://path`; empty text is the default."""
    # Pipes are no address.
    if isinstance(value, str) and value in ("", "pipes"):
        return value
    return _checked(value, parse_dsn, "accepted: pipes, tcp://host:port or unix://path")


def _checked(value: object, parse: Callable[[str], object], accepted: str) -> str:
    """Return a text as it is when it can be parsed: the models keep addresses as people write them."""
    try:
        found = text(value)
        parse(found)
    except ValueError:
        raise ValueError(accepted) from None
    return found


def url_path(value: object) -> str:
    """The path of a URL; empty text is the default."""
    found = text(value)
    if found and not found.startswith("/"):
        raise ValueError("accepted: a path that starts with /")
    return found


def origins(value: object) -> tuple[str, ...]:
    """Origins. As in RoadRunner, an empty text means any origin; nothing in or as a list is a mistake."""
    if value == "":
        return ("*",)
    found = tuple(origin.strip() for origin in text_list(value))
    if not all(found) or not found:
        raise ValueError('accepted: an origin or a list of origins, "*" for any')
    return found


def networks(value: object) -> tuple[str, ...]:
    """IP networks in CIDR notation; an address is a network of one address."""
    try:
        return tuple(str(ip_network(item.strip(), strict=False)) for item in text_list(value))
    except ValueError:
        raise ValueError("accepted: a list of networks such as 10.0.0.0/8") from None
