"""The values of a YAML document as Go's yaml.v3 makes them, of the first document of a file.

Compared with YAML 1.2: an octal number may begin with a bare 0, numbers may have underscores, a tag that
nobody knows changes nothing. `yes` and `on` are text, too; who wants a bool takes them for one.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from rr_py_ws.config.yaml_scanner import GoReader, GoResolver, GoScanner

_WORDS: dict[str, object] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TAG_PREFIX = "tag:yaml.org,2002:"
_TYPES = {"bool": bool, "int": int, "float": float, "null": type(None)}
_LONGEST_PATH = 500  # characters; keys that anybody reads are shorter
_MOST_PLACES = 100_000
_MAX_NUMBER = 400  # characters; no number in the range of Go's types is longer, but for zeros


class _Values:
    """Makes values of the events of a document, and tells the lines of its keys.

    The path of a key has dots and lower case, and `[0]` for an item of a list; None: too long to be told.

    Raises:
        MarkedYAMLError: what yaml.v3 refuses, too.
    """

    def __init__(self, events: Iterator[Any], lines: dict[str, int]) -> None:
        self._events = events
        self._anchors: dict[str, Any] = {}
        self._lines = lines
        # Every place as it was found; where what an anchor names begins and ends in this list; whether it is
        # being merged, so that keys which are written there count.
        self._noted: list[tuple[str, int]] = []
        self._named: dict[str, tuple[str, int, int]] = {}
        self._merging = 0

    def first(self) -> Any:
        """Return the first document; None when there is none."""
        value = None
        for event in self._events:
            if isinstance(event, MappingStartEvent):
                value = self._map("", top=True)
            elif isinstance(event, AliasEvent | ScalarEvent | SequenceStartEvent):
                value = self._value(event, "")
            elif isinstance(event, DocumentEndEvent):  # what comes next need not be YAML
                break
        return value

    def _value(self, event: NodeEvent, path: str | None) -> Any:
        if isinstance(event, AliasEvent):
            if event.anchor not in self._anchors:
                raise _problem(event, f"found undefined alias {event.anchor!r}")
            self._note_again(event.anchor, path)
            return self._anchors[event.anchor]
        value: Any
        begun = len(self._noted)
        if isinstance(event, ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, SequenceStartEvent):
            value = []
            while not isinstance(entry := next(self._events), SequenceEndEvent):
                value.append(self._value(entry, self._at(path, f"[{len(value)}]", entry)))
        else:
            value = self._map(path)
        if event.anchor:
            # Only now: an alias inside of what it stands for has no end.
            self._anchors[event.anchor] = value
            if path is not None:
                self._named[event.anchor] = path, begun, len(self._noted)
            else:
                self._named.pop(event.anchor, None)
        return value

    def _at(self, path: str | None, step: str, event: Event) -> str | None:
        """Note the line of a key or item; returns where it is."""
        if path is None or len(path) + len(step) > _LONGEST_PATH:
            return None
        path += step
        self._note(path, event.start_mark.line + 1)
        return path

    def _note(self, path: str, line: int) -> None:
        if self._merging:
            self._lines.setdefault(path, line)
        else:
            self._lines[path] = line
        self._noted.append((path, line))

    def _note_again(self, anchor: str, path: str | None) -> None:
        """Note the places in what an alias stands for as places in what it is in, too."""
        if path is None or anchor not in self._named:
            return
        there, begun, ended = self._named[anchor]
        # Aliases of aliases make a small file a huge tree; beyond this nobody is told lines of them.
        if len(self._noted) + ended - begun > _MOST_PLACES:
            return
        for found, line in self._noted[begun:ended]:
            step = found[len(there) :]
            if len(path) + len(step) <= _LONGEST_PATH:
                self._note(path + (step if path or not there else step.lstrip(".")), line)

    def _map(self, path: str | None, *, top: bool = False) -> dict[Any, Any]:
        """Make a map; at the top the keys are text as it is written, below they are values."""
        found: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        seen: set[str] = set()
        while not isinstance(event := next(self._events), MappingEndEvent):
            # yaml.v3 compares what is written, whatever it means: `1` and `"1"` are one key.
            if isinstance(event, ScalarEvent):
                if event.value in seen:
                    raise _problem(event, f'found duplicate key "{event.value}"')
                seen.add(event.value)
            is_merge = isinstance(event, ScalarEvent) and event.value == "<<" and _is_merge(event)
            key = self._value(event, None)
            if top and isinstance(event, ScalarEvent):
                key = event.value
            below = None
            if isinstance(event, ScalarEvent):
                below = self._at(path, f"{'.' if path else ''}{event.value.lower()}", event)
            if is_merge:
                merged = _merged(event, self._merge(path))
                continue
            value = self._value(next(self._events), below)
            if isinstance(key, dict | list):
                raise _problem(event, "found a key that is not text")
            found[key] = value
        return merged | found if merged else found

    def _merge(self, path: str | None) -> Any:
        """Make the value of a merge, a map or a list of maps, whose keys are those of the map at a path."""
        self._merging += 1
        event = next(self._events)
        if isinstance(event, SequenceStartEvent) and not event.anchor:
            value = []
            while not isinstance(entry := next(self._events), SequenceEndEvent):
                value.append(self._value(entry, path))
        else:
            value = self._value(event, path)
        self._merging -= 1
        return value


def read_first_document(content: str, lines: dict[str, int] | None = None) -> Any:
    """Return the first document of a YAML text as dicts, lists and scalars; None when there is none.

    Args:
        content: the text.
        lines: gets the line of each key, by its dotted path in lower case, and of the items of lists
            (`a.b[0]`); of what an alias stands for, or a merge brings, the line where it is written.

    Raises:
        YAMLError: the text is not YAML; the error quotes nothing of it but keys and names of anchors.
        RecursionError: it nests too deeply.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Reader, yaml.Scanner, yaml.Resolver = GoReader, GoScanner, GoResolver
    return _Values(iter(yaml.parse(content)), {} if lines is None else lines).first()


def _scalar(event: ScalarEvent) -> Any:
    tag = (event.tag or "").removeprefix("!!").removeprefix(_TAG_PREFIX)
    text: str = event.value
    if tag in ("", "!"):
        return text if event.style else _resolve(text)
    if tag == "binary":
        try:
            return base64.b64decode("".join(text.split()), validate=True).decode("utf-8", "backslashreplace")
        except binascii.Error:
            raise _problem(event, "found invalid base64 data") from None
    if tag not in _TYPES:  # text, by its tag or because nobody knows the tag
        return text
    value = _resolve(text)
    if tag == "float" and type(value) is int:
        return float(value)
    if type(value) is not _TYPES[tag]:
        raise _problem(event, f"found a value that is no {tag}, as its tag says")
    return value


def _resolve(text: str) -> Any:
    """Return what a text without quotes and tag means; dates stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if not text.isascii() or text[0] not in "+-.0123456789" or len(text) > _MAX_NUMBER:
        return text
    plain = text.replace("_", "")
    if found := _INTEGER.fullmatch(plain):
        number = _integer(found[2])
        number = -number if found[1] == "-" else number
        if -(2**63) <= number < (2**63 if found[1] else 2**64):
            return number
    if _FLOAT.fullmatch(plain) and math.isfinite(real := float(plain)):
        return real
    return text


def _integer(digits: str) -> int:
    prefix = digits[:2].lower()
    if prefix in ("0x", "0b", "0o"):
        return int(digits[2:], {"0x": 16, "0b": 2, "0o": 8}[prefix])
    return int(digits, 8 if digits[0] == "0" else 10)


def _is_merge(event: ScalarEvent) -> bool:
    """Whether a `<<` is one that merges: with another tag, or between quotes, it is a key like others."""
    return event.style is None and event.tag in (None, "", "!", f"{_TAG_PREFIX}merge")


def _merged(event: Event, value: Any) -> dict[Any, Any]:
    maps = value if isinstance(value, list) else [value]
    merged: dict[Any, Any] = {}
    # Of two maps that have a key, the first counts.
    for one in reversed(maps):
        if not isinstance(one, dict):
            raise _problem(event, "a merge (<<) takes a map or a list of maps")
        merged |= one
    return merged


def _problem(event: Event, text: str) -> MarkedYAMLError:
    return MarkedYAMLError(None, None, text, event.start_mark)
