"""Counts, durations and sizes: how the file writes numbers, with their units.

As in `values`, every function takes what YAML, JSON, the environment or `-o` delivered, and raises
`ValueError` with the text that says what is accepted. Durations have Go's form; RoadRunner has no sizes.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from rr_py_ws.config.values import shown

_INT64 = 2**63 - 1
_MAX_LENGTH = 100  # characters of a number, a duration or a size: int() of a long text takes quadratic time

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

_SHORTEST = 0.1
"""Seconds; what is to be done more often would take a core, and 25 without a unit is 25 nanoseconds."""

_MINUS_ONE = (-1, "-1", "-1ns")  # how go-redis writes "none"

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


def count(
    value: object, least: int = 0, most: int = _INT64, accepted: str = "a whole number, 0 or more"
) -> int:
    """A whole number; numeric text is taken too, with Go's base prefixes."""
    try:
        if isinstance(value, str):
            # Base 0: with Go's prefixes 0x, 0o and 0b.
            number = int(value[:_MAX_LENGTH] or "0", 0)
        elif isinstance(value, int | float):
            number = int(value)
        else:
            number = -1
    except (ValueError, OverflowError):  # OverflowError: infinity
        number = -1
    if not least <= number <= most:
        raise ValueError(f"accepted: {accepted}")
    return number


def positive_count(value: object) -> int:
    """A whole number of at least 1."""
    return count(value, 1, accepted="a whole number, 1 or more")


def compression_level(value: object) -> int:
    """A level of zlib: 1 (fast) to 9 (small)."""
    return count(value, 1, 9, "a level from 1 (fast) to 9 (small)")


def error_status(value: object) -> int:
    """An HTTP status of an error, 400 to 599; 0 is the default."""
    return count(value) and count(value, 400, 599, "an HTTP status from 400 to 599")


def mebibytes(value: object) -> int:
    """A whole number of MiB, as bytes."""
    return count(value) * 1024 * 1024


def parse_duration(value: str) -> float:
    """Go's `time.ParseDuration`, in seconds.

    Raises:
        ValueError: with Go's own text.
    """
    # The only durations without a unit that Go takes.
    if value in ("0", "+0", "-0"):
        return 0.0
    if len(value) > _MAX_LENGTH or not _DURATION.fullmatch(value):
        raise ValueError(f"time: invalid duration {shown(value)}")
    nanoseconds = 0
    for number, unit in _DURATION_PART.findall(value):
        if not unit:
            raise ValueError(f"time: missing unit in duration {shown(value)}")
        if unit not in _NANOSECONDS:
            raise ValueError(f"time: unknown unit {shown(unit)} in duration {shown(value)}")
        # `1.2.3s` comes so far: for _DURATION it is 1.2 and .3s, one after the other.
        if number.count(".") > 1:
            raise ValueError(f"time: invalid duration {shown(value)}")
        nanoseconds += int(Decimal(number) * _NANOSECONDS[unit])
    # Go keeps a duration in an int64.
    if nanoseconds > _INT64:
        raise ValueError(f"time: invalid duration {shown(value)}")
    return (-nanoseconds if value.startswith("-") else nanoseconds) / 1e9


def duration(value: object) -> float:
    """Seconds, 0 or more, from Go's syntax; a bare number is nanoseconds."""
    accepted = "accepted: a duration such as 30s, 1m30s or 500ms (a bare number is nanoseconds)"
    seconds = -1.0
    if isinstance(value, str):
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            raise ValueError(f"{accepted}; {error}") from None
    # A bool is an int for Python; `true` as a duration is a mistake.
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1e9
    if not 0 <= seconds <= _INT64 / 1e9:  # false for NaN too
        raise ValueError(accepted)
    return seconds


def positive_duration(value: object) -> float:
    """Seconds, more than 0."""
    seconds = duration(value)
    if seconds == 0:
        raise ValueError("accepted: a duration above 0, such as 20s")
    return seconds


def interval(value: object) -> float:
    """Seconds after which something is done again: 0, which is never, or 0.1 and more."""
    seconds = duration(value)
    if 0 < seconds < _SHORTEST:
        raise ValueError(
            "accepted: 0 for never, or a duration of 100ms or more; a bare number is nanoseconds"
        )
    return seconds


def patience(value: object) -> float:
    """Seconds that somebody has to react, 0.1 or more."""
    seconds = duration(value)
    if seconds < _SHORTEST:
        raise ValueError("accepted: a duration of 100ms or more; a bare number is nanoseconds")
    return seconds


def timeout(value: object) -> float:
    """A `duration`, or -1, which means no limit, as for go-redis: infinity."""
    return math.inf if value in _MINUS_ONE else duration(value)


def pause(value: object) -> float:
    """A `duration`, or -1, which means no pause for go-redis; here it is a millisecond, never a busy loop."""
    return 0.001 if value in _MINUS_ONE else duration(value)


def size(value: object) -> int:
    """Bytes, at least 1: a plain number, or a number with B, KB, MB, GB (powers of 1000), KiB, MiB, GiB."""
    number = 0
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        found = _SIZE.fullmatch(value.strip().lower()) if len(value) <= _MAX_LENGTH else None
        number = int(Decimal(found[1]) * _BYTES.get(found[2], 0)) if found else 0  # 0: refused below
    if not 1 <= number <= _INT64:
        raise ValueError("accepted: a size such as 64KiB, 1MiB, 1MB, or a number of bytes, 1 or more")
    return number
