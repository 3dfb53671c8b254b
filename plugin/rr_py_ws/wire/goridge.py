"""Goridge frames: bytes to values and back, without I/O.

A frame is a 12-byte header, up to ten 32-bit options and a payload; all numbers are little-endian::

    0         1      2..5            6..9            10      11      12..
    ver|words flags  payload length  CRC-32 of 0..5  stream  unused  options, payload

The low half of byte 0 counts header words of four bytes (3 = no options). The checksum covers only
bytes 0 to 5. The version is written as 1 and never checked, as in goridge itself
(roadrunner-server/goridge pkg/frame/frame.go, internal/receive.go).

The decoder takes any chunking and refuses an oversized frame when its header arrives, before any of its
payload is kept; when told so, it skips the rest of it. Whole frames, the usual case, are cut out of
the chunk they came in; the chunks of an unfinished one are kept, and joined when it is complete, which copies
what is large only once.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntFlag
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from rr_py_ws.errors import PayloadTooBig, ProtocolError

HEADER_SIZE = 12
MAX_OPTIONS = 10
_LONGEST_HEADER = HEADER_SIZE + 4 * MAX_OPTIONS
DEFAULT_MAX_PAYLOAD = 64 * 1024 * 1024

_LARGE_CHUNK = 4096
"""Bytes of a chunk that is kept as it came, in an unfinished frame."""
_LARGE_FRAME = 256 * 1024
"""Bytes of a frame whose payload is made of its chunks at once: that is one copy less."""

STREAM = 0x01
"""Bit of byte 10 of a header: the worker sends its answer in several frames, and this is not the last."""
STREAM_STOP = 0x02
"""The server wants no more of them."""
STREAM_PING = 0x04
"""The worker wants to know whether somebody is there."""
STREAM_PONG = 0x08
"""Somebody is there."""

_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class; every frame is one
_PREFIX = Struct("<BBI")
_HEADER = Struct("<BBIIBB")
_OPTIONS = tuple(Struct(f"<{count}I") for count in range(MAX_OPTIONS + 1))
_WHOLE_HEADERS = tuple(Struct(f"<BBIIBB{count}I") for count in range(MAX_OPTIONS + 1))


class Flag(IntFlag):
    """Byte 1 of a header: codec of the body, and what kind of frame it is."""

    CONTROL = 0x01
    RAW = 0x04
    JSON = 0x08
    MSGPACK = 0x10
    GOB = 0x20
    ERROR = 0x40
    PROTO = 0x80


class Frame(NamedTuple):
    """One decoded frame.

    Attributes:
        flags: byte 1, a combination of `Flag` values and perhaps unknown bits.
        options: up to ten unsigned 32-bit numbers.
        payload: the bytes after the header.
        stream: byte 10, a combination of the `STREAM` bits.
    """

    flags: int
    options: tuple[int, ...]
    payload: bytes
    stream: int = 0


def encode_frame(flags: int, options: tuple[int, ...], payload: bytes, stream: int = 0) -> bytes:
    """Encode one frame.

    Args:
        flags: byte 1.
        options: at most ten numbers, each 0 to 2**32 - 1.
        payload: at most 2**32 - 1 bytes.
        stream: byte 10.
    """
    return encode_header(flags, options, len(payload), stream) + payload


def encode_header(flags: int, options: tuple[int, ...], size: int, stream: int = 0) -> bytes:
    """Encode what precedes the payload of a frame, which has `size` bytes; see `encode_frame`."""
    count = len(options)
    checksum = crc32(_PREFIX.pack(0x13 + count, flags, size))
    return _WHOLE_HEADERS[count].pack(0x13 + count, flags, size, checksum, stream, 0, *options)


class FrameDecoder:
    """Turns a byte stream into frames.

    Call `receive_data` with what arrived, then `next_frame` until it returns None. After an exception the
    stream has no next frame boundary and the decoder must not be used again, unless it skips a payload that
    is too big.

    Args:
        max_payload: bytes in the payload of one frame.
        keep: None: a payload over the limit is the end. Otherwise the decoder can be used further after
            `PayloadTooBig`, and throws the payload away as it comes, but for so many bytes at its beginning.
        limit_of: returns how many bytes the payload of a frame over the limit may have after all, by its
            options and what is kept of the payload; with `keep`. None: no more than others.

    Attributes:
        inside: whether a frame has begun that was not returned yet, also one whose payload is skipped.
        oversized: after `PayloadTooBig`: the frame, with what is kept of its payload.
    """

    __slots__ = (
        "_buffer",
        "_keep",
        "_later",
        "_later_size",
        "_limit_of",
        "_max_payload",
        "_needed",
        "_offset",
        "_skipping",
        "inside",
        "oversized",
    )

    def __init__(
        self,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        keep: int | None = None,
        limit_of: Callable[[tuple[int, ...], bytes], int] | None = None,
    ) -> None:
        self._buffer = b""
        self._offset = 0
        # What came behind the buffer, which is joined when it makes a frame complete.
        self._later: list[bytes | bytearray] = []
        self._later_size = 0
        self._needed = HEADER_SIZE
        self._max_payload = max_payload
        self._keep = keep
        self._limit_of = limit_of
        self._skipping = 0
        self.inside = False
        self.oversized: Frame | None = None

    @property
    def pending(self) -> bytes:
        """What arrived and is not part of a returned frame (for the log line about noise)."""
        return b"".join((self._buffer[self._offset :], *self._later))

    @property
    def kept(self) -> int:
        """How many bytes arrived that are not part of a returned frame."""
        return len(self._buffer) - self._offset + self._later_size

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrived from the peer."""
        # The rest of a payload over the limit is counted and never kept.
        if self._skipping:
            skipping = self._skipping
            self._skipping = max(0, skipping - len(data))
            data = data[skipping:]
        if not self._buffer:
            # The usual case: the chunk begins with a frame. It is used as it is, without a copy.
            self._buffer = data
            self.inside = bool(data) or self._skipping > 0
            return
        later = self._later
        self._later_size += len(data)
        if len(data) >= _LARGE_CHUNK:
            later.append(data)
        elif later and isinstance(later[-1], bytearray):
            later[-1] += data
        else:  # small ones share a buffer: objects of their own would take many times their bytes
            later.append(bytearray(data))

    def receive_eof(self) -> None:
        """Take the end of the stream.

        Raises:
            ProtocolError: the stream ended inside a frame.
        """
        if self._skipping:
            raise ProtocolError(f"the peer closed inside a frame, {self._skipping} bytes before its end")
        if self.inside:
            raise ProtocolError(f"the peer closed inside a frame, after {self.kept} bytes of it")

    def next_frame(self) -> Frame | None:
        """Return the next whole frame, or None when more bytes are needed.

        Raises:
            ProtocolError: the header length is below 3 or above 13 words, or the checksum is wrong.
            PayloadTooBig: the announced payload is over the limit; with `keep`, raised when so much of it is
                there.
        """
        if self._later:
            # What was found out at the last call is not computed again with each chunk of a large frame.
            if self.kept < self._needed:
                return None
            if self._needed >= _LARGE_FRAME and len(self._buffer) - self._offset >= _LONGEST_HEADER:
                return self._join_payload()
            self._join()
        buffer, start = self._buffer, self._offset
        available = len(buffer) - start
        if not available:
            return None
        # Looked at before the header is complete: what a worker prints instead of a frame is often shorter.
        count = (buffer[start] & 0x0F) - 3
        if not 0 <= count <= MAX_OPTIONS:
            raise ProtocolError(f"header of {count + 3} words, 3 to {3 + MAX_OPTIONS} are legal")
        if available < HEADER_SIZE:
            self._wait_for(HEADER_SIZE)
            return None
        # The version (the high half of byte 0) is not looked at, as in goridge.
        _, flags, length, checksum, stream, _ = _HEADER.unpack_from(buffer, start)
        if checksum != crc32(buffer[start : start + 6]):
            raise ProtocolError("checksum of the header is wrong")
        if length > self._max_payload:
            return self._next_oversized()
        body = start + HEADER_SIZE + 4 * count
        end = body + length
        if end > len(buffer):
            self._wait_for(end - start)
            return None
        options = _OPTIONS[count].unpack_from(buffer, start + HEADER_SIZE)
        payload = buffer[body:end]
        self.pass_over(end)
        return _new(Frame, (flags, options, payload, stream))

    def _next_oversized(self) -> Frame | None:
        """Do what `next_frame` does with a frame over the limit, whose header is sound."""
        buffer, start = self._buffer, self._offset
        count, flags, length, stream = _read_header(buffer, start)
        limit = self._max_payload
        if self._keep is None:
            raise _too_big(length, limit)
        body = start + HEADER_SIZE + 4 * count
        end = body + min(length, self._keep)
        if end > len(buffer):
            self._wait_for(end - start)
            return None
        options = _OPTIONS[count].unpack_from(buffer, start + HEADER_SIZE)
        payload = buffer[body:end]
        if self._limit_of is not None:
            limit = self._limit_of(options, payload)
        whole = body + length
        if length > limit:
            self.pass_over(whole)
            self.oversized = Frame(flags, options, payload, stream)
            raise _too_big(length, limit)
        if whole > len(buffer):
            self._wait_for(whole - start)
            return None
        payload = buffer[body:whole]
        self.pass_over(whole)
        return Frame(flags, options, payload, stream)

    def _join_payload(self) -> Frame:
        """Return the next frame, which is large, whole and sound; its header is in the buffer."""
        buffer, start = self._buffer, self._offset
        count, flags, length, stream = _read_header(buffer, start)
        options = _OPTIONS[count].unpack_from(buffer, start + HEADER_SIZE)
        parts: list[memoryview] = []
        chunks = [memoryview(chunk) for chunk in (buffer, *self._later)]
        chunks[0] = chunks[0][start + HEADER_SIZE + 4 * count :]
        while length:
            parts.append(chunks[0][:length])
            length -= len(parts[-1])
            chunks[0] = chunks[0][len(parts[-1]) :]
            if length:
                del chunks[0]
        payload = b"".join(parts)
        self._buffer = b"".join(chunks)  # the beginning of the next one
        self._offset = self._later_size = 0
        self._later.clear()
        self._needed = HEADER_SIZE
        self.inside = bool(self._buffer)
        return Frame(flags, options, payload, stream)

    def peek(self) -> tuple[bytes, int]:
        """Return what is here, and where the next frame begins in it; of a large frame only a part."""
        if self._later and self._needed < _LARGE_FRAME and self.kept >= self._needed:
            self._join()
        return self._buffer, self._offset

    def pass_over(self, end: int) -> None:
        """Go on at this place of what `peek` has returned: somebody else has read the frames before it."""
        if end >= len(self._buffer):
            # Nothing is left, or less than nothing: of an oversized payload the rest is still to come. The
            # chunk is let go, an idle connection must not hold on to its last, perhaps huge, request.
            self._skipping = end - len(self._buffer)
            self._buffer, end = b"", 0
            self.inside = self._skipping > 0
        self._offset = end
        self._needed = HEADER_SIZE

    def _join(self) -> None:
        """Make one buffer of all that is here."""
        self._buffer = b"".join((memoryview(self._buffer)[self._offset :], *self._later))
        self._offset = 0
        self._later.clear()
        self._later_size = 0

    def _wait_for(self, needed: int) -> None:
        """Do nothing until so many bytes are there; a large chunk is not kept for its last bytes."""
        self._needed = needed
        if self._offset > len(self._buffer) - self._offset:
            self._buffer, self._offset = self._buffer[self._offset :], 0


def _read_header(buffer: bytes, start: int) -> tuple[int, int, int, int]:
    """Return how many options a frame has, its flags, the length of its payload, and the stream bits."""
    first, flags, length, _, stream, _ = _HEADER.unpack_from(buffer, start)
    return (first & 0x0F) - 3, flags, length, stream


def _too_big(length: int, limit: int) -> PayloadTooBig:
    return PayloadTooBig(f"payload of {length} bytes, the limit is {limit}")
