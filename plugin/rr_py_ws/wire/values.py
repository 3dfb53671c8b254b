"""Arguments and results of RPC methods whose types are plain values: bool, string, bytes, list, map.

Go's rules: an empty body and null are the zero value, a raw body is ignored by a method that takes no bytes,
and a raw reply must be bytes. Protobuf is refused here: it needs a message type (`publish.py` has one). Keys
of maps are Go's JSON tags in JSON (`workers`) and its field names in msgpack (`Workers`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, TypeVar

import msgpack
import orjson

from rr_py_ws.errors import RPCError
from rr_py_ws.wire import go_json, go_msgpack
from rr_py_ws.wire.goridge import Flag

_BODY = "goridge_read_request_body: "
_UNPACK_ERRORS = (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException)
_MAX_ARGUMENT = go_json.MOST
"""Bytes of an encoded bool or name, so that no list of millions is decoded before it is refused."""
_Kind = TypeVar("_Kind", bool, str)
OnSlow = Callable[[int], object]
_WALKS: dict[tuple[Flag, type], Callable[[bytes], Any]] = {
    (Flag.JSON, bool): go_json.read_bool,
    (Flag.JSON, str): go_json.read_text,
    (Flag.MSGPACK, bool): go_msgpack.read_bool,
    (Flag.MSGPACK, str): go_msgpack.read_text,
}


def _skip(_code: int, _data: bytes) -> object:
    """Return what no argument has, whatever the extension is: to make one takes four times as long."""
    return NotImplemented


def ignore_slow(size: int) -> None:
    """Charge nobody for what was read slowly."""


class UndecodedError(Exception):
    """The fast decoders refuse a body, or it has another type; `go_json` or `go_msgpack` say what it is."""


def decode_value(codec: Flag, body: bytes, *, texts: bool = True) -> Any:
    """Decode an argument without looking at its type; None stands for the zero value.

    Args:
        codec: what it is encoded with.
        body: the encoded argument.
        texts: whether texts of msgpack become str, or stay bytes.

    Raises:
        UndecodedError: the body cannot be decoded.
        RPCError: not with this codec.
    """
    try:
        if codec is Flag.JSON:
            return orjson.loads(body) if body else None
        if codec is Flag.MSGPACK:
            if not body:
                return None
            # surrogateescape: PHP packs any string as text, whatever bytes are in it
            return msgpack.unpackb(body, raw=not texts, ext_hook=_skip, unicode_errors="surrogateescape")
    except _UNPACK_ERRORS as error:  # a JSONDecodeError is a ValueError
        raise UndecodedError from error
    if codec is Flag.RAW:
        return None
    if codec is Flag.PROTO:
        raise RPCError(_BODY + "message type is not a proto")
    if codec is Flag.GOB:
        raise RPCError(_BODY + "gob is not supported; protobuf, JSON, msgpack and raw are")
    raise RPCError(_BODY + "unknown decoder used in frame")


def decode_argument(codec: Flag, body: bytes, kind: type[_Kind], on_slow: OnSlow = ignore_slow) -> _Kind:
    """Decode an argument that must be a bool or a string.

    Args:
        codec: what it is encoded with.
        body: the encoded argument.
        kind: bool or str.
        on_slow: gets the number of bytes that were read slowly, with success.

    Raises:
        RPCError: the body cannot be decoded, or is something else.
    """
    if len(body) > _MAX_ARGUMENT:
        raise RPCError(f"the argument has {len(body)} bytes, {_MAX_ARGUMENT} are allowed")
    try:
        value = decode_value(codec, body)
        if value is None:
            return kind()
        if type(value) is kind:
            return value
    except UndecodedError:
        pass
    argument = _WALKS[codec, kind](body)
    on_slow(len(body))
    return argument  # type: ignore[no-any-return]


def encode_result(codec: Flag, result: Any) -> bytes:
    """Encode a result: None, bool, int, float, str, bytes, and lists and maps of these.

    Raises:
        RPCError: the codec has no form for it.
    """
    try:
        if codec is Flag.JSON:
            return orjson.dumps(result, default=_base64)
        if codec is Flag.MSGPACK:
            return bytes(msgpack.packb(_with_field_names(result)))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RPCError("the result has no form in this codec") from error
    if codec is Flag.RAW and isinstance(result, bytes):
        return result
    raise RPCError("unknown Raw payload type")


def _base64(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _with_field_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: _with_field_names(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_field_names(item) for item in value]
    return value
