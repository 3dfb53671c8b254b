"""RPC calls on goridge frames: requests, replies and error replies.

A request is a frame with two options, `[sequence, length of the method name]`, whose payload is the method
name (`service.Method`) followed by the encoded argument. The reply has the same options and repeats the name.
An error reply carries the ERROR bit, and plain text instead of a result. The client chooses the sequence
number; it is only echoed (roadrunner-server/goridge pkg/rpc/codec.go @v3.5.3).

When several codec bits are set, requests are decoded by one order of preference and replies are marked by
another; Go clients set GOB and PROTO together for every protobuf call.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.goridge import Flag, Frame, encode_frame

NO_CODEC = Flag(0)
MAX_NAME = 256
"""Bytes of the name of a method that an answer repeats; no plugin of RoadRunner has one that long."""
_MAX_ERROR = 1024
"""Characters of the text of an error reply."""
_ERROR = int(Flag.ERROR)
_new = tuple.__new__  # as in `goridge`: half the time of calling the class
_FIRST = 0x15  # version 1, five header words: two options
_PREFIX = Struct("<BBI")
_REPLY_HEADER = Struct("<BBIIBBII")
_BODY_ORDER = (Flag.PROTO, Flag.JSON, Flag.GOB, Flag.RAW, Flag.MSGPACK)
_REPLY_ORDER = (Flag.PROTO, Flag.JSON, Flag.RAW, Flag.MSGPACK, Flag.GOB)
_BODY_CODECS = tuple(
    next((codec for codec in _BODY_ORDER if flags & codec), NO_CODEC) for flags in range(256)
)
_REPLY_FLAGS = tuple(
    int(next((codec for codec in _REPLY_ORDER if flags & codec), Flag.GOB)) for flags in range(256)
)


class Request(NamedTuple):
    """One call.

    Attributes:
        sequence: the client's number of the call.
        method: the full name as it came; no UTF-8 is promised.
        body: the encoded argument.
        codec: what the body is encoded with; `NO_CODEC` when the frame does not say.
        reply_flag: the codec bit of the reply.
    """

    sequence: int
    method: bytes
    body: bytes
    codec: Flag
    reply_flag: int


def parse_request(frame: Frame) -> Request:
    """Read a frame as a call. Stream bits, CONTROL and ERROR are ignored, as in RoadRunner.

    Raises:
        ProtocolError: the frame is not an RPC frame; the connection should be closed.
    """
    flags, options, payload, _ = frame
    # A worker's frame, with one option or none, must not be taken for a call.
    if len(options) != 2:
        raise ProtocolError(f"RPC frame with {len(options)} options, 2 are needed")
    sequence, name_size = options
    if name_size > len(payload):
        raise ProtocolError(f"method name of {name_size} bytes in a payload of {len(payload)}")
    return _new(
        Request,
        (sequence, payload[:name_size], payload[name_size:], _BODY_CODECS[flags], _REPLY_FLAGS[flags]),
    )


def encode_request(sequence: int, method: str, body: bytes, codec: Flag) -> bytes:
    """Encode a call as a client sends it."""
    name = method.encode()
    return encode_frame(codec, (sequence, len(name)), name + body)


def encode_reply(request: Request, body: bytes, flags: int = 0) -> bytes:
    """Encode the answer to a call; `flags` are set besides the codec of the reply.

    The same as `encode_frame` in half its time: two options, no stream bits.
    """
    sequence, method, _, _, codec = request
    flags |= codec
    name_size = len(method)
    size = name_size + len(body)
    checksum = crc32(_PREFIX.pack(_FIRST, flags, size))
    return _REPLY_HEADER.pack(_FIRST, flags, size, checksum, 0, 0, sequence, name_size) + method + body


def encode_error(request: Request, text: str) -> bytes:
    """Encode the answer to a call that failed; surrogate escapes in the text become bytes again.

    A text may repeat what the caller has sent; it is cut, or a caller who does not read would fill memory.
    """
    if len(text) > _MAX_ERROR:
        text = f"{text[:_MAX_ERROR]} ..."
    return encode_reply(request, text.encode("utf-8", "surrogateescape"), _ERROR)


def parse_reply(frame: Frame) -> tuple[int, bytes, bool]:
    """Read a frame as an answer. The repeated method name is not compared, as in PHP's client.

    Returns:
        The number of the call, the encoded result or the error text, and whether it is an error text.

    Raises:
        ProtocolError: the frame is not an RPC frame.
    """
    request = parse_request(frame)  # a reply has the same layout
    return request.sequence, request.body, bool(frame.flags & _ERROR)
