"""One value of the file into one typed value: RoadRunner's weak decoding.

Every function takes what YAML, JSON, the environment or `-o` delivered, and raises `ValueError` with the text
that follows "found ...," in the error: what is accepted. The rules are those of viper and mapstructure with
weak typing, as RoadRunner 2.x uses them; sizes are our own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from ipaddress import ip_address, ip_network

_INT64 = 2**63 - 1
_LONGEST = 100  # characters of a number, a duration or a size; what is longer is none

_ENVIRONMENT = "accepted: a map of variables, or a list of such maps"

_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "no", "off", ""})

_DURATION = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)[^0-9.]*)+")
_DURATION_PART = re.compile(r"([0-9.]+)([^0-9.]*)")
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, micro sign
    "μs": 1_000,  # U+03BC, Greek letter
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}

_NONE = (-1, "-1", "-1ns")

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}


def shown(value: object) -> str:
    """Name what was found, in one line; maps and lists are not shown, for they may hold secrets."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    quoted = json.dumps(value, ensure_ascii=False, default=str)
    if not quoted.isprintable():
        quoted = json.dumps(value, default=str)
    return quoted if len(quoted) <= 80 else f"{quoted[:80]}..."


def text(value: object) -> str:
    """A string, number or bool as text, in Go's form: true is `1`, 1.0 is `1`."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return format(Decimal(repr(value)).normalize(), "f")
    raise ValueError("accepted: text")


def boolean(value: object) -> bool:
    """A bool, a number (0 is false), or one of Go's and YAML 1.1's words for it."""
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


def count(value: object) -> int:
    """A whole number that is not negative; numeric text is taken too, with Go's base prefixes."""
    try:
        if isinstance(value, str):
            number = int(value[:_LONGEST] or "0", 0)
        elif isinstance(value, int | float):
            number = int(value)
        else:
            raise ValueError
    except (ValueError, OverflowError):
        number = -1
    if not 0 <= number <= _INT64:
        raise ValueError("accepted: a whole number, 0 or more")
    return number


def file_mode(value: object) -> int:
    """Permissions in octal, as text: what a bare 0660 means depends on the version of YAML."""
    if isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value):
        return int(value, 8)
    raise ValueError('accepted: permissions in octal and in quotes, such as "0660"')


def mebibytes(value: object) -> int:
    """A whole number of MiB, as bytes."""
    return count(value) * 1024 * 1024


def positive_count(value: object) -> int:
    """A whole number of at least 1."""
    number = count(value)
    if number == 0:
        raise ValueError("accepted: a whole number, 1 or more")
    return number


def compression_level(value: object) -> int:
    """1 (fast) to 9 (small)."""
    number = count(value)
    if not 1 <= number <= 9:
        raise ValueError("accepted: a level from 1 (fast) to 9 (small)")
    return number


def parse_duration(value: str) -> float:
    """Go's `time.ParseDuration`, in seconds.

    Raises:
        ValueError: with Go's own text.
    """
    if value in ("0", "+0", "-0"):
        return 0.0
    if len(value) > _LONGEST or not _DURATION.fullmatch(value):
        raise ValueError(f"time: invalid duration {shown(value)}")
    nanoseconds = 0
    for number, unit in _DURATION_PART.findall(value):
        if not unit:
            raise ValueError(f"time: missing unit in duration {shown(value)}")
        if unit not in _NANOSECONDS:
            raise ValueError(f"time: unknown unit {shown(unit)} in duration {shown(value)}")
        if number.count(".") > 1:
            raise ValueError(f"time: invalid duration {shown(value)}")
        nanoseconds += int(Decimal(number) * _NANOSECONDS[unit])
    if nanoseconds > _INT64:
        raise ValueError(f"time: invalid duration {shown(value)}")
    return (-nanoseconds if value.startswith("-") else nanoseconds) / 1e9


def duration(value: object) -> float:
    """Seconds, 0 or more, from Go's syntax; a bare number is nanoseconds."""
    accepted = "accepted: a duration such as 30s, 1m30s or 500ms (a bare number is nanoseconds)"
    if isinstance(value, bool):
        raise ValueError(accepted)
    if isinstance(value, int | float):
        seconds = value / 1e9
    elif isinstance(value, str):
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            raise ValueError(f"{accepted}; {error}") from None
    else:
        raise ValueError(accepted)
    if not 0 <= seconds <= _INT64 / 1e9:
        raise ValueError(accepted)
    return seconds


def positive_duration(value: object) -> float:
    """Seconds, more than 0."""
    seconds = duration(value)
    if seconds == 0:
        raise ValueError("accepted: a duration above 0, such as 20s")
    return seconds


def timeout(value: object) -> float:
    """Seconds, as `duration`; go-redis' -1 is no limit."""
    return math.inf if value in _NONE else duration(value)


def pause(value: object) -> float:
    """Seconds, as `duration`; go-redis' -1 is none, which is a millisecond here."""
    return 0.001 if value in _NONE else duration(value)


def size(value: object) -> int:
    """Bytes, at least 1: a plain number, or a number with B, KB, MB, GB (powers of 1000), KiB, MiB, GiB."""
    if isinstance(value, bool | float) or not isinstance(value, int | str):
        number = 0
    elif isinstance(value, int):
        number = value
    else:
        found = _SIZE.fullmatch(value.strip().lower()) if len(value) <= _LONGEST else None
        number = int(Decimal(found[1]) * _BYTES.get(found[2], 0)) if found else 0
    if not 1 <= number <= _INT64:
        raise ValueError("accepted: a size such as 64KiB, 1MiB, 1MB, or a number of bytes, 1 or more")
    return number


def text_list(value: object) -> tuple[str, ...]:
    """A list of texts; one text is split at its commas."""
    if isinstance(value, str):
        return tuple(value.split(",")) if value else ()
    if isinstance(value, int | float):
        return (text(value),)
    if isinstance(value, list | tuple):
        with suppress(ValueError):
            return tuple(text(item) for item in value)
    raise ValueError("accepted: a list of texts, or one text with commas")


def environment(value: object) -> dict[str, str]:
    """A map of variables, or a list of maps, which are merged; names come out in upper case."""
    merged: dict[object, object] = {}
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            raise ValueError(_ENVIRONMENT)
        merged |= item
    try:
        return {str(name).upper(): "" if entry is None else text(entry) for name, entry in merged.items()}
    except ValueError:
        raise ValueError(_ENVIRONMENT) from None


def sections(value: object) -> dict[str, object]:
    """A map of sections, of which those without a value are absent."""
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
    """`host:port` or `:port`; empty is none."""
    found = text(value)
    if found and not _is_address(found):
        raise ValueError("accepted: host:port or :port")
    return found


def _is_address(found: str) -> bool:
    host, colon, port = found.rpartition(":")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        return False  # an IPv6 address needs brackets
    return bool(colon) and port.isascii() and port.isdigit() and int(port[:_LONGEST]) <= 65535


def redis_addresses(value: object) -> tuple[str, ...]:
    """Addresses of Redis servers; an empty one is go-redis' default."""
    found = tuple(item.strip() or "localhost:6379" for item in text_list(value))
    if all((item.startswith("/") and "\0" not in item) or _is_address(item) for item in found):
        return found
    raise ValueError("accepted: host:port or the path of a unix socket, or a list of them")


def listen_dsn(value: object) -> str:
    """`tcp://host:port` or `unix://path`."""
    found = text(value)
    scheme, _, rest = found.partition("://")
    valid = _is_address(rest) if scheme == "tcp" else scheme == "unix" and rest
    if valid and "://" not in rest and "\0" not in rest:
        return found
    raise ValueError("accepted: tcp://host:port or unix://path")


def is_local(dsn: str) -> bool:
    """Whether only this machine can reach what listens there; a host name is looked up by nobody here."""
    scheme, _, address = dsn.partition("://")
    host = address.rpartition(":")[0].strip("[]")
    if scheme == "unix" or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def dsn(value: object) -> str:
    """As `listen_dsn`; empty is the default."""
    return "" if value == "" else listen_dsn(value)


def relay(value: object) -> str:
    """`pipes`, or a DSN."""
    try:
        return "pipes" if value == "pipes" else dsn(value)
    except ValueError:
        raise ValueError("accepted: pipes, tcp://host:port or unix://path") from None


def error_status(value: object) -> int:
    """An HTTP status that tells of an error; 0 is the default."""
    number = count(value)
    if number and not 400 <= number <= 599:
        raise ValueError("accepted: an HTTP status from 400 to 599")
    return number


def url_path(value: object) -> str:
    """A path of a URL; empty is the default."""
    found = text(value)
    if found and not found.startswith("/"):
        raise ValueError("accepted: a path that starts with /")
    return found


def origins(value: object) -> tuple[str, ...]:
    """Origins, of which an empty one means any, as in RoadRunner; an empty list is a mistake."""
    found = tuple(origin.strip() or "*" for origin in text_list(value)) or ("*",)
    if isinstance(value, list) and not value:
        raise ValueError('accepted: an origin or a list of origins, "*" for any')
    return found


def networks(value: object) -> tuple[str, ...]:
    """IP networks in CIDR notation; an address is a network of one."""
    try:
        return tuple(str(ip_network(item.strip(), strict=False)) for item in text_list(value))
    except ValueError:
        raise ValueError("accepted: a list of networks such as 10.0.0.0/8") from None
