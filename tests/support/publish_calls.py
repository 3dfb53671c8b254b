"""The calls in a stream of bytes, as `wire.publish_call` reads them or as the general decoders do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rr_py_ws.errors import ProtocolError, RPCError
from rr_py_ws.wire.goridge import Frame, FrameDecoder
from rr_py_ws.wire.publish import Message, decode_broadcast
from rr_py_ws.wire.publish_call import OKS, PUBLISH, PUBLISH_ASYNC, read_calls, sequence_of
from rr_py_ws.wire.rpc import parse_request

Call = tuple[int, bytes, list[Message] | bytes]
"""Sequence number, method, and what is published; of what is no publish the body."""

METHODS = (PUBLISH, PUBLISH_ASYNC)
MAX_PAYLOAD = 8192


def read_stream(chunks: Iterable[bytes], *, fast: bool) -> tuple[list[Call], int, bool]:
    """Read all calls.

    Returns:
        The calls, how many of them were read the fast way, and whether the stream is sound.
    """
    decoder, calls, fast_ones = FrameDecoder(MAX_PAYLOAD), [], 0
    try:
        for chunk in chunks:
            decoder.receive_data(chunk)
            while True:
                found = list(_read_fast(decoder)) if fast else []
                calls += found
                fast_ones += len(found)
                frame = decoder.next_frame()
                if frame is None:
                    break
                calls.append(_read_general(frame))
        decoder.receive_eof()
    except ProtocolError:
        return calls, fast_ones, False
    return calls, fast_ones, True


def _read_fast(decoder: FrameDecoder) -> Iterator[Call]:
    data, at = decoder.peek()
    found = read_calls(data, at, OKS, 100, 1 << 30, 1, MAX_PAYLOAD)
    if found:
        decoder.pass_over(found[-1][-1])
    for call in found:
        method, _, publication, _ = call
        yield sequence_of(call), method, [Message("", [publication.topic], publication.payload)]


def _read_general(frame: Frame) -> Call:
    request = parse_request(frame)
    if request.method not in METHODS:
        return request.sequence, request.method, request.body
    try:
        messages = decode_broadcast(request.codec, request.body)
    except RPCError as error:
        return request.sequence, request.method, str(error).encode()
    return request.sequence, request.method, messages
