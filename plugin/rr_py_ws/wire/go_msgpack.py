"""msgpack arguments of RPC calls as RoadRunner's decoder reads them: the same values, and the same errors.

RoadRunner decodes them with vmihailenco/msgpack 5.3.5 into Go structs: fields by their names or in their
order as a list, texts and binary alike, and what follows the argument is not looked at. It knows `Messages`
only; `messages` is understood here, too. This walk is slow, so it is taken only for what the fast decoder
refuses or what has another type, and only for `MOST` bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rr_py_ws.errors import RPCError

MOST = 16 * 1024
"""Bytes, at most, of what is read in this way; about 20 milliseconds."""
_NIL = 0xC0
_TEXTS = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}
"""Text and binary with a length of so many bytes."""
_LISTS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_FIXED = {
    **dict.fromkeys((0xC0, 0xC2, 0xC3), 0),
    **dict(zip(range(0xCA, 0xD4), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True)),
    **dict(zip(range(0xD4, 0xD9), (2, 3, 5, 9, 17), strict=True)),
}

_Value = TypeVar("_Value")
_Read = Callable[["_Bytes"], _Value]


class _Bytes:
    """The argument, and how much of it is read."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._body[self._at : self._at + count]
        if len(taken) < count:
            raise RPCError("unexpected EOF" if taken else "EOF")
        self._at += count
        return taken

    def code(self) -> int:
        return self.take(1)[0]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")


def read_text(body: bytes) -> str:
    """Read an argument that is a string.

    Raises:
        RPCError: with the text of RoadRunner.
    """
    return _checked(body, _text)


def read_bool(body: bytes) -> bool:
    """Read an argument that is a bool.

    Raises:
        RPCError: with the text of RoadRunner.
    """
    return _checked(body, _bool)


def read_messages(body: bytes, *, has_broker: bool) -> list[Any]:
    """Read the messages that are the argument of `Publish`, in the newer schema or the older one.

    Raises:
        RPCError: with the text of RoadRunner.
    """
    messages = _checked(body, _OLD_REQUEST if has_broker else _REQUEST).get("messages")
    return messages or []


def _checked(body: bytes, read: _Read[_Value]) -> _Value:
    if len(body) > MOST:
        raise RPCError(f"msgpack: the {len(body)} bytes of the argument cannot be decoded")
    return read(_Bytes(body))


def _bool(source: _Bytes) -> bool:
    code = source.code()
    if code not in (_NIL, 0xC2, 0xC3):
        raise RPCError(f"msgpack: invalid code={code:x} decoding bool")
    return code == 0xC3


def _text(source: _Bytes) -> str:
    return _text_bytes(source).decode("utf-8", "surrogateescape")


def _text_bytes(source: _Bytes) -> bytes:
    code = source.code()
    if code == _NIL:
        return b""
    if 0xA0 <= code < 0xC0:
        length = code & 0x1F
    elif code in _TEXTS:
        length = source.number(_TEXTS[code])
    else:
        raise RPCError(f"msgpack: invalid code={code:x} decoding string/bytes length")
    return source.take(length) if length else b""


def _list_length(source: _Bytes, code: int) -> int:
    if code == _NIL:
        return 0
    if 0x90 <= code < 0xA0:
        return code & 0x0F
    if code in _LISTS:
        return source.number(_LISTS[code])
    raise RPCError(f"msgpack: invalid code={code:x} decoding array length")


def _list(read_item: _Read[_Value]) -> _Read[list[_Value]]:
    def read(source: _Bytes) -> list[_Value]:
        return [read_item(source) for _ in range(_list_length(source, source.code()))]

    return read


def _struct(fields: Mapping[str, _Read[Any]]) -> _Read[dict[str, Any]]:
    """Read a map of fields, or a list that has them all in order."""

    def read(source: _Bytes) -> dict[str, Any]:
        code = source.code()
        if 0x90 <= code < 0xA0 or code in _LISTS:
            try:
                length = _list_length(source, code)
            except RPCError:  # its own error is not the one that is told
                raise _no_map(code) from None
            if length not in (0, len(fields)):
                raise RPCError("msgpack: number of fields in array-encoded struct has changed")
            return {name: read_field(source) for name, read_field in fields.items()} if length else {}
        values = {}
        for _ in range(_map_length(source, code)):
            name = _text(source).lower()
            if name in fields:
                values[name] = fields[name](source)
            else:
                _skip(source)
        return values

    return read


def _map_length(source: _Bytes, code: int) -> int:
    if code == _NIL:
        return 0
    if 0x80 <= code < 0x90:
        return code & 0x0F
    if code in _MAPS:
        return source.number(_MAPS[code])
    raise _no_map(code)


def _no_map(code: int) -> RPCError:
    return RPCError(f"msgpack: unexpected code={code:x} decoding map length")


def _skip(source: _Bytes) -> None:
    """Step over a value, and all that is in it."""
    values = 1
    while values:
        values -= 1
        code = source.code()
        if code < 0x80 or code >= 0xE0:
            continue
        if code < 0x90 or code in _MAPS:
            values += 2 * _map_length(source, code)
        elif code < 0xA0 or code in _LISTS:
            values += _list_length(source, code)
        elif code < 0xC0:
            source.take(code & 0x1F)
        elif code in _TEXTS:
            source.take(source.number(_TEXTS[code]))
        elif code in _EXTENSIONS:
            source.take(source.number(_EXTENSIONS[code]) + 1)
        elif code in _FIXED:
            source.take(_FIXED[code])
        else:
            raise RPCError(f"msgpack: unknown code {code:x}")


_REST = {"topics": _list(_text), "payload": _text_bytes}
_REQUEST = _struct({"messages": _list(_struct({"command": _text, **_REST}))})
_OLD_REQUEST = _struct({"messages": _list(_struct({"command": _text, "broker": _text, **_REST}))})
