"""Forms, as RoadRunner's http plugin makes a JSON tree of them (roadrunner-server/http handler/parse.go).

`a` is the last of its values, `a[]` all of them, `a[b][c]` is nested; spaces in names do not count. Values of
urlencoded forms are decoded by the rules of Go's net/url. All of it is done in pieces of a millisecond at
most: whoever drives the generators can do something else in between.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import orjson

from rr_py_ws.errors import ProtocolError

T = TypeVar("T")
Tree = dict[str, Any]
"""Keys -> a value, a list of values, or another tree."""
Work = Generator[None, None, T]
"""Yields after each piece, and returns what was made."""

_MAX_LEVELS = 127
"""Keys of a name; a field with more is left out."""
_MAX_NAME = 16 * 1024
"""Bytes of a name, also of the undecoded one."""
_KEYS_PER_FIELD = 4
"""Keys in brackets that names may have together, for each field that a form may have: each may become a map,
which takes a hundred times its bytes."""
_NAME_PARTS = re.compile(r"\[+|\]+|[^\[\]]+")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PIECE = 16 * 1024
"""Bytes that are decoded or encoded in one go: a millisecond at most."""
_FIELD = 64
"""Bytes that a field, and each of its keys, counts for besides its own."""
_MADE = 320
"""Bytes that Python takes for a field, and for the map of a key, besides those of the texts."""
_decoder = codecs.getincrementaldecoder("utf-8")


class FieldLimit:
    """Counts the fields of a form, and the keys that are in their names.

    Args:
        most: fields.
        grown: is told how many bytes more each field takes, besides those of its texts.
    """

    def __init__(self, most: int, grown: Callable[[int], object]) -> None:
        self._most = most
        self._grown = grown
        self._fields = self._keys = 0

    def count(self, name: str) -> None:
        """Count a field.

        Raises:
            ProtocolError: there are too many, or the name is too long.
        """
        self._fields += 1
        if self._fields > self._most:
            raise ProtocolError(f"a form with more than {self._most} fields", 413)
        if len(name) > _MAX_NAME:
            raise _long_name()
        keys = max(name.count("["), name.count("]"))
        self._keys += keys
        if self._keys > (most := self._most * _KEYS_PER_FIELD):
            raise ProtocolError(f"a form with more than {most} keys in brackets", 413)
        self._grown((1 + keys) * _MADE)


def parse_urlencoded(body: bytes | bytearray, limit: FieldLimit) -> Work[dict[str, list[str]]]:
    """Parse an urlencoded form; returns name -> values.

    Args:
        body: the form.
        limit: counts its fields.

    Raises:
        ProtocolError: it cannot be decoded, or it has too many fields.
    """
    fields: dict[str, list[str]] = {}
    at = work = 0
    while at < len(body):
        if work > _PIECE:
            work = 0
            yield
        # Between two fields there may be very many separators.
        blank = body[at : at + _PIECE]
        if skipped := len(blank) - len(blank.lstrip(b"&")):
            at += skipped
            work += skipped
            continue
        end = body.find(b"&", at)
        end = end if end >= 0 else len(body)
        name_end = body.find(b"=", at, end)
        name_end = name_end if name_end >= 0 else end
        if name_end - at > _MAX_NAME:
            raise _long_name()
        if body.find(b";", at, end) >= 0:  # Go takes it for no separator, others may
            raise ProtocolError("invalid semicolon separator in a form")
        name = yield from _unescape(body, at, name_end)
        limit.count(name)
        fields.setdefault(name, []).append((yield from _unescape(body, name_end + 1, end)))
        work += end - at + _FIELD
        at = end + 1
    return fields


def _unescape(body: bytes | bytearray, start: int, end: int) -> Work[str]:
    decoder = _decoder("replace")
    pieces = []
    while start < end:
        stop = min(start + _PIECE, end)
        # An escape must not be cut in two.
        if stop < end and (mark := body.find(b"%", stop - 2, stop)) >= 0:
            stop = mark
        piece = bytes(body[start:stop]).replace(b"+", b" ")
        if b"%" in piece:
            if _BAD_ESCAPE.search(piece):
                raise ProtocolError("invalid URL escape in a form")
            piece = unquote_to_bytes(piece)
        pieces.append(decoder.decode(piece, stop == end))
        start = stop
        if start < end:
            yield
    return "".join(pieces)


def _long_name() -> ProtocolError:
    return ProtocolError(f"a form with a name over {_MAX_NAME} bytes", 413)


def split_name(name: str) -> list[str]:
    """Split the name of a field into its keys; one more than the most that count means too many."""
    keys, inside, opened = [""], True, False
    for found in _NAME_PARTS.finditer(name.replace(" ", "")):
        part = found[0]
        if part[0] == "[":
            inside, opened = False, True
        elif part[0] == "]":
            if opened:
                keys.append("")
            inside = opened = False
        else:
            if inside:
                keys[-1] += part
            else:
                keys.append(part)
            inside, opened = True, False
        if len(keys) > _MAX_LEVELS:
            break
    return keys


def make_tree(fields: Mapping[str, Sequence[Any]], *, last: bool = True) -> Work[Tree]:
    """Make a tree of fields; for `encode_tree`, long values are JSON already.

    Args:
        fields: name -> values, at least one.
        last: of several values under a name without `[]` the last counts, else the first, as for files.

    Raises:
        ProtocolError: a name is a value and a tree. RoadRunner 2 breaks such a connection off.
    """
    tree: Tree = {}
    work = 0
    for name, values in fields.items():
        *path, key = split_name(name)
        work += len(name) + (len(path) + 2) * _FIELD
        if len(path) >= _MAX_LEVELS:
            continue
        value: Any = values[-1 if last else 0]
        if path and not key:  # `a[]`
            key, value = path.pop(), [*values]
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
            if not isinstance(branch, dict):
                raise ProtocolError(f"invalid multiple values to key {step!r} in a form")
        branch[key] = yield from _encode_long(value)
        if work > _PIECE:
            work = 0
            yield
    return tree


def _encode_long(value: Any) -> Work[Any]:
    """Return JSON for a long text, also in a list, and everything else as it is."""
    if isinstance(value, list) and any(isinstance(one, str) and len(one) > _PIECE for one in value):
        for at, one in enumerate(value):
            value[at] = yield from _encode_long(one)
        return value
    if not isinstance(value, str) or len(value) <= _PIECE:
        return value
    pieces = []
    for start in range(0, len(value), _PIECE):
        pieces.append(orjson.dumps(value[start : start + _PIECE])[1:-1])
        yield
    return orjson.Fragment(b'"%b"' % b"".join(pieces))


def encode_tree(tree: Tree) -> bytes:
    """Encode a tree as JSON; keys in order, as Go writes maps."""
    return orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)
