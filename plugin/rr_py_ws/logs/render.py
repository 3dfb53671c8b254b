"""Lines of the log: one event becomes one line.

Whatever the values hold, a line has no control characters but its separators: a peer can neither forge a line
nor send commands to the terminal of the person who reads the log. In JSON they are JSON's own escapes, from
which a program gets the original value.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

_MAX_DEPTH = 5

# C0, DEL, C1, line and paragraph separators, direction marks, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_HI_RED, _HI_GREEN, _HI_YELLOW, _HI_CYAN, _HI_WHITE = 91, 92, 93, 96, 97
_LEVEL_COLOURS = {"debug": _HI_WHITE, "info": _HI_CYAN, "warn": _HI_YELLOW, "error": _HI_RED}
_NAME_WIDTH = 12


Limits = tuple[int, int]
"""How much of a value is written: characters of each text, items of each list and map."""

FULL: Limits = (16 * 1024, 100)
BRIEF: Limits = (512, 10)
"""For events of which a peer decides how often they happen."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """Makes lines in one of RoadRunner's formats.

    Attributes:
        mode: `development`, `production` or `raw`: what a line has besides message and fields.
        json: an object instead of text.
        colour: colour level and channel, for a terminal.
        line_ending: closes each line.
        clock: Unix time in seconds.
    """

    mode: str
    json: bool
    colour: bool = False
    line_ending: str = "\n"
    clock: Callable[[], float] = time.time

    def __call__(
        self, channel: str, level: str, event: str, fields: Mapping[str, object], limits: Limits = FULL
    ) -> str:
        """Make the line of an event; never fails, whatever the values are.

        Args:
            channel: where the event belongs.
            level: `debug`, `info`, `warn` or `error`.
            event: the message.
            fields: name -> value; `exc_info` becomes a traceback with the name `exception`.
            limits: what is longer is cut, and the line says so.
        """
        message = _text(event, limits[0])
        plain = {key: _plain(value, limits) for key, value in fields.items() if key != "exc_info"}
        if trace := _traceback(fields.get("exc_info")):
            plain["exception"] = _text(trace, limits[0])
        head = self._head(channel, level)
        if self.json:
            record = head | {"msg" if head else "message": message}
            for key, value in plain.items():  # a field must not replace level, ts, logger or msg
                record[f"{key}_" if key in record else key] = value
            return _dump(record, compact=True) + self.line_ending
        parts = [str(head["ts"]), head["level"], head["logger"]] if head else []
        parts.append(escape(message))
        if plain:
            parts.append(_dump(plain, compact=False))
        return "\t".join(parts) + self.line_ending

    def _head(self, channel: str, level: str) -> dict[str, Any]:
        """Make what a line has before the message, as zap's encoders for these modes do."""
        now = self.clock()
        if self.mode == "raw":
            return {}
        if self.mode == "production":
            return {"level": level, "ts": round(now, 6), "logger": channel}
        moment = time.localtime(now)
        zone = "Z" if moment.tm_gmtoff == 0 else time.strftime("%z", moment)
        # strftime has no milliseconds.
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{int(now % 1 * 1000):03d}{zone}"
        # Escape sequences for colours would be part of the values in JSON; columns are for people only.
        colour = self.colour and not self.json
        name = channel if self.json else channel.ljust(_NAME_WIDTH)
        return {
            "level": _paint(level.upper(), _LEVEL_COLOURS[level], colour),
            "ts": stamp,
            "logger": _paint(name, _HI_GREEN, colour),
        }


def _dump(value: dict[str, Any], *, compact: bool) -> str:
    separators = (",", ":") if compact else (", ", ": ")
    text = json.dumps(value, ensure_ascii=False, separators=separators)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escape(text: str) -> str:
    """Show control and direction characters as escapes, so that text fits into one line of a terminal."""

    def visible(match: re.Match[str]) -> str:
        code = ord(match[0])
        return _SHORT.get(match[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")

    return _UNSAFE.sub(visible, text)


def _plain(value: object, limits: Limits, depth: int = 0) -> Any:
    """Make a value that JSON can carry; what is nested too deep or of another type becomes text."""
    most_text, most_items = limits
    match value:
        case None | bool():
            return value
        case int():  # larger ones are no numbers for most programs that read JSON
            return value if -(2**63) <= value < 2**64 else _text(value, most_text)
        case float():  # JSON has no NaN and no infinity
            return value if math.isfinite(value) else str(value)
        case timedelta():
            return value.total_seconds()
        case dict() if depth < _MAX_DEPTH:
            items = islice(value.items(), most_items)
            shown = {_text(key, most_text): _plain(item, limits, depth + 1) for key, item in items}
            more = len(value) - most_items
            return shown | {"...": f"{more} more"} if more > 0 else shown
        case list() | tuple() | set() | frozenset() if depth < _MAX_DEPTH:
            listed = [_plain(item, limits, depth + 1) for item in islice(value, most_items)]
            more = len(value) - most_items
            return [*listed, f"... ({more} more)"] if more > 0 else listed
        case _:
            return _text(value, most_text)


def _text(value: object, limit: int) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, bytes | bytearray):
        # No character has more than four bytes: of a huge value the rest is not looked at.
        text = value[: 4 * limit + 4].decode("utf-8", "backslashreplace")
        if len(text) > limit:
            return f"{text[:limit]}... ({len(value)} bytes in all)"
    else:
        try:
            text = str(value) or type(value).__name__
        except Exception:  # a broken __str__, an int with more digits than str() converts
            text = type(value).__name__
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} more characters)"


def _traceback(exc_info: object) -> str:
    """Show an exception: the value itself, that of a `sys.exc_info()`, or for True the one being handled."""
    error = sys.exception() if exc_info is True else exc_info
    if isinstance(error, tuple):
        error = error[1]
    return "".join(traceback.format_exception(error)).rstrip("\n") if isinstance(error, BaseException) else ""


def _paint(text: str, colour: int, on: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if on else text
