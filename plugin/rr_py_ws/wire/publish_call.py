"""The call that PHP makes nearly always: publish one payload to one topic, in protobuf.

Such calls are cut out of the bytes of a connection in one pass, without a frame, a request or a message in
between: that takes a third of the time. What is read here, and no more::

    15 80 length CRC-32 .. .. sequence length-of-name    header of a frame: two options, codec protobuf
    broadcast.Publish                                    or `broadcast.PublishAsync`
    0A length                                            the only message, up to the end of the frame
      0A length command                                  if there is one; it means nothing
      12 length topic                                    the only one
      1A length payload                                  up to the end

Everything else, and all that is wrong in any way, is left to `goridge`, `rpc` and `publish`, which decide
what it means. What is read here has the same meaning there.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from zlib import crc32

from rr_py_ws.native import twin
from rr_py_ws.wire import publish
from rr_py_ws.wire.goridge import HEADER_SIZE, Flag
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.rpc import Request, encode_reply

PublishCall = tuple[bytes, bytes, Publication, int]
"""Name of the method, the reply that says `ok`, what is published, and where the next frame begins.

A plain tuple, because there is one for each message."""
Reply = tuple[bytes, bytes]
"""What stands before and behind the sequence number of a reply."""

PUBLISH, PUBLISH_ASYNC = b"broadcast.Publish", b"broadcast.PublishAsync"

_HEADER = Struct("<HII2x4sI")
_SIZE, _unpack = _HEADER.size, _HEADER.unpack_from
_PREFIX = Struct("<HI")
_FIRST = 0x8015  # five words, codec protobuf; little-endian
_MESSAGE, _TOPICS, _PAYLOAD = 0x0A, 0x12, 0x1A
_COMMAND = _MESSAGE
_LONGEST_VARINT = 5
_MOST_CHECKSUMS = 4096

_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class


def _ok(method: bytes) -> Reply:
    reply = encode_reply(Request(0, method, b"", Flag.PROTO, int(Flag.PROTO)), publish.encode_ok(Flag.PROTO))
    return reply[:HEADER_SIZE], reply[HEADER_SIZE + 4 :]


OKS = {method: _ok(method) for method in (PUBLISH, PUBLISH_ASYNC)}
"""Of each method the reply that says `ok`."""
_checksums: dict[int, int] = {}


@twin
def read_calls(
    data: bytes, at: int, oks: Mapping[bytes, Reply], most: int, units: int, price: int, longest: int
) -> list[PublishCall]:
    """Read the calls at the beginning of some bytes, up to the first that is another or is not all there.

    Args:
        data: what has arrived.
        at: where a frame begins in it.
        oks: those of `OKS` whose methods are read.
        most: how many calls.
        units: what they may cost together; the last one may exceed it.
        price: of a call, beside one for each of its bytes.
        longest: bytes that the payload of a frame may have.
    """
    calls: list[PublishCall] = []
    last, stop = len(data) - _SIZE, at + units
    try:
        while at < stop and at < last and len(calls) < most:
            first, length, checksum, sequence, name_size = _unpack(data, at)
            start = at + _SIZE
            end, place = start + length, start + name_size
            method = data[start:place]
            if (
                first != _FIRST
                or (ok := oks.get(method)) is None
                or checksum != (_checksums.get(length) or _checksum(length))
                or length > longest
                or data[place] != _MESSAGE
            ):
                break
            count = data[place + 1]
            place += 2
            if count > 0x7F:
                count, place = _varint(data, place - 1)
            if place + count != end:
                break
            if data[place] == _COMMAND:
                count = data[place + 1]
                place += 2 + count
                if count > 0x7F or not data[place - count : place].isascii():
                    break
            count = data[place + 1]
            if data[place] != _TOPICS or not 0 < count < 0x80:
                break
            behind = place + 2 + count
            topic = str(data[place + 2 : behind], "utf-8")
            if data[behind] != _PAYLOAD:
                break
            count = data[behind + 1]
            place = behind + 2
            if count > 0x7F:
                count, place = _varint(data, behind + 1)
            if place + count != end or end > len(data):
                break
            publication = _new(Publication, (topic, data[place:end], None, 0.0, ()))
            calls.append((method, ok[0] + sequence + ok[1], publication, end))
            at = end
            stop -= price
    except (IndexError, ValueError):  # there is less than it says, or it is no UTF-8
        pass
    return calls


def sequence_of(call: PublishCall) -> int:
    """Return the sequence number of a call."""
    return int.from_bytes(call[1][HEADER_SIZE : HEADER_SIZE + 4], "little")


def _checksum(length: int) -> int:
    """The checksum of a header whose payload has so many bytes; publishers have few lengths."""
    if len(_checksums) >= _MOST_CHECKSUMS:
        _checksums.clear()
    checksum = _checksums[length] = crc32(_PREFIX.pack(_FIRST, length))
    return checksum


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of two bytes or more; return it, and where the next thing begins.

    Raises:
        ValueError: it has more bytes than any length that a frame can have.
    """
    low, high = data[at], data[at + 1]
    if high < 0x80:
        return low & 0x7F | high << 7, at + 2
    value = low & 0x7F
    for place in range(1, _LONGEST_VARINT):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("not the length of anything here")
