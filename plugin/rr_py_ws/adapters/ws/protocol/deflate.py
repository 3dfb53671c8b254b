"""Compression agreed on in the handshake, and messages that clients compress (RFC 7692).

The implementation of `websockets` is used for the agreement only. For what arrives it has no limit on
what follows the last block of a message, and counts compressed bytes against the limit of a message.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

from websockets.exceptions import InvalidHeader, NegotiationError, PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.typing import BytesLike

from rr_py_ws.wire.deflate import TAIL

_END = b"\x03\x00"
"""An empty last block: zlib takes it as one only if the block before it is complete."""
_CONTROL = (Opcode.CLOSE, Opcode.PING, Opcode.PONG)

_factory = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
_small_factory = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True, server_max_window_bits=9
)


@lru_cache(maxsize=64)  # browsers offer the same, all of them
def negotiate(offers: str) -> tuple[str, int] | None:
    """Accept the first offer of a client that can be accepted (RFC 7692 section 7.1).

    Neither side may use an earlier message to compress a later one, whether the client offers that or not:
    so nothing has to be kept for a connection. A client that asks for a window below 15 bits gets one of 9,
    which it has to take; otherwise a few clients could have each message compressed in seven ways.

    Args:
        offers: the header `Sec-WebSocket-Extensions`. An offer with a wrong parameter is passed over, as is a
            window of 8 bits for us, which zlib does not make; a header that cannot be read is none.

    Returns:
        the header of the response, and the window bits for what we send, 9 or 15; None without compression.
    """
    try:
        extensions = parse_extension(offers)
    except InvalidHeader:
        return None
    for name, parameters in extensions:
        if name == _factory.name:
            try:
                agreed, extension = _factory.process_request_params(parameters, [])
                if extension.local_max_window_bits < zlib.MAX_WBITS:
                    agreed, extension = _small_factory.process_request_params(parameters, [])
            except NegotiationError:
                continue
            return build_extension([(name, agreed)]), extension.local_max_window_bits
    return None


def frame_limit(limit: int) -> int:
    """How long a frame may be whose message may have `limit` bytes.

    What cannot be compressed becomes longer: by an eighth with the worst of zlib's settings, and by a few
    bytes for each flush. A control frame must fit behind a message of the limit, too.
    """
    return limit + limit // 8 + 128


class Inflater:
    """Decompresses one message, in as many parts as it comes in."""

    __slots__ = ("_zlib",)

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def inflate(self, data: BytesLike, limit: int, *, last: bool) -> bytes:
        """Decompress a part.

        Args:
            data: all that there is of it.
            limit: bytes that it may become; no more than one byte over it is ever decompressed.
            last: whether the message ends with it.

        Raises:
            PayloadTooBig: it is over the limit.
            ProtocolError: this is not DEFLATE data, or the message ends in the middle of it.
        """
        inflate = self._zlib
        try:
            message = inflate.decompress(data, limit + 1)
            if len(message) > limit:
                raise PayloadTooBig(None, limit)
            for end in (TAIL, _END) if last else ():
                if not inflate.eof and inflate.decompress(end, 1):
                    raise ProtocolError("compressed message is incomplete")
        except zlib.error as error:
            raise ProtocolError("compressed message is damaged") from error
        if last and not inflate.eof:
            raise ProtocolError("compressed message is incomplete")
        if inflate.unused_data not in (b"", b"\x00"):  # RFC 7692 section 7.2.3.4
            raise ProtocolError("compressed message goes on after its last block")
        return message


class PerMessageDeflate(Extension):
    """What the protocol of one connection reads frames through.

    It keeps the limit of messages, compressed or not; that of the protocol has to be `frame_limit`.

    Args:
        limit: bytes that a message may have.

    Attributes:
        skipping: whether messages are taken for empty ones.
    """

    name = _factory.name

    def __init__(self, limit: int) -> None:
        self.skipping = False
        self._limit = self._left = limit
        self._inflater: Inflater | None = None

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Decompress a frame, if its message is compressed.

        Raises:
            PayloadTooBig: the message is over the limit.
            ProtocolError: this is not DEFLATE data, or the message ends in the middle of it.
        """
        if frame.opcode in _CONTROL or (frame.opcode is Opcode.CONT and frame.rsv1):
            return frame  # the protocol refuses RSV1 there (RFC 7692 section 6)
        if self.skipping:
            return Frame(frame.opcode, b"", frame.fin, False, frame.rsv2, frame.rsv3)
        if frame.opcode is not Opcode.CONT:
            self._left = self._limit
            self._inflater = Inflater() if frame.rsv1 else None
        data = frame.data
        if self._inflater is not None:
            data = self._inflater.inflate(data, self._left, last=frame.fin)
        if len(data) > self._left:
            raise PayloadTooBig(None, self._left)
        self._left -= len(data)
        if frame.fin:
            self._inflater = None  # with its window of 32 KiB
        return Frame(frame.opcode, data, frame.fin, False, frame.rsv2, frame.rsv3)

    def encode(self, frame: Frame) -> Frame:
        """Leave a frame as it is: the protocol sends nothing but control frames."""
        return frame
