"""The protocol of one connection: that of `websockets`, with messages made of fragments and their limit.

The protocol reads frames, answers pings and does the close handshake. Its own limit of sizes would also hold
for control frames inside a message, of which RFC 6455 section 5.4 says that they may come anywhere.
"""

from __future__ import annotations

import codecs
import logging
from typing import Any, cast

from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

from rr_py_ws.adapters.ws.protocol.deflate import PerMessageDeflate, frame_limit

_LONGEST_HEAD = 14
_CONTROL_SIZE = 125
"""The longest control frame, in bytes of its payload (RFC 6455 section 5.5)."""

_utf8_decoder = codecs.getincrementaldecoder("utf-8")

_silent = logging.Logger("rr_py_ws.websockets", logging.CRITICAL)
"""`websockets` logs each connection's end at info; our own log lines say it better."""


def frame_size(head: bytes) -> int | None:
    """Return how many bytes a frame has, head included (RFC 6455 section 5.2).

    Args:
        head: its first bytes, 14 of them or all that there are.

    Returns:
        None when the length is not among them.
    """
    if len(head) < 2:
        return None
    length = head[1] & 0x7F
    end = {126: 4, 127: 10}.get(length, 2)
    if len(head) < end:
        return None
    if end > 2:
        length = int.from_bytes(head[2:end], "big")
    return end + (4 if head[1] & 0x80 else 0) + length


class WebSocketProtocol(Protocol):
    """Reads what a client sends, from the first frame on that the fast path does not know.

    Args:
        limit: bytes that a message may have.
        deflated: whether messages may be compressed.

    """

    def __init__(self, limit: int, *, deflated: bool) -> None:
        self._limit = limit
        self._frame_limit = frame_limit(limit) if deflated else limit
        self._assembly: tuple[bytearray, codecs.IncrementalDecoder | None] | None = None
        self._head = b""
        self._left = 0
        super().__init__(SERVER, state=State.OPEN, logger=_silent)
        self._deflate = PerMessageDeflate(limit) if deflated else None
        if self._deflate is not None:
            self.extensions = [self._deflate]

    @property
    def max_message_size(self) -> int:
        """What `websockets` subtracts `current_size` from: there is always room for a control frame."""
        if self.current_size is None:
            return self._frame_limit
        return max(self._frame_limit, self.current_size + _CONTROL_SIZE)

    @max_message_size.setter
    def max_message_size(self, _: Any) -> None:
        """Ignore the default that `websockets` sets."""

    def read_frame(self, data: bytes, at: int) -> tuple[int, bytes | None]:
        """Take one frame of the client, or what is there of it.

        One at a time, because `websockets` would read, unmask and decompress all that it is given: a few
        kilobytes may be megabytes. Text is checked as it comes, not when its message is complete, and nothing
        is looked at after bad text (RFC 6455 section 8.1).

        Args:
            data: what has arrived.
            at: where to begin in it.

        Returns:
            How many bytes were taken, and the message that is complete with them, if one is: whole, text in
            UTF-8.
        """
        size = self._size_here(data, at)
        self.receive_data(data[at : at + size])
        try:
            for frame in self.events_received():
                message = self._assemble(cast(Frame, frame))
                if message is not None:
                    return size, message
        except UnicodeDecodeError:
            self.fail(CloseCode.INVALID_DATA, "text is not UTF-8")
        except PayloadTooBig as error:
            self.fail(CloseCode.MESSAGE_TOO_BIG, str(error))
        return size, None

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame; a close frame may come between the fragments of a message (RFC 6455 section 5.4)."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)

    def send_close(self, code: int | None = None, reason: str = "") -> None:
        """Say goodbye. What still comes before the other side does is read by nobody, so not decompressed."""
        super().send_close(code, reason)
        if self._deflate is not None:
            self._deflate.skipping = True

    def _size_here(self, data: bytes, at: int) -> int:
        """Return how many of the bytes belong to the frame that begins, or goes on, with them."""
        here = len(data) - at
        if self.close_rcvd is not None or self.parser_exc is not None:
            return here  # what follows is a frame to nobody
        if not self._left:
            head = self._head + data[at : at + _LONGEST_HEAD]
            size = frame_size(head)
            if size is None:  # not even its length is here
                self._head = head
                return here
            self._left = size - len(self._head)
            self._head = b""
        here = min(here, self._left)
        self._left -= here
        return here

    def forget(self) -> None:
        """Give everything up, at the end of the connection.

        The parser of `websockets` refers to its protocol. Without that cycle the memory is free now, not at
        the next full garbage collection, which a server with many connections wants to be rare.
        """
        vars(self).clear()

    def _assemble(self, frame: Frame) -> bytes | None:
        """Return the message that ends with a frame, if one does.

        Raises:
            UnicodeDecodeError: it is bad text.
            PayloadTooBig: the message is over the limit.
        """
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return None  # `websockets` has dealt with control frames already
        data = cast(bytearray, frame.data)
        if frame.opcode is not Opcode.CONT:
            if frame.fin:
                if frame.opcode is Opcode.TEXT:
                    data.decode()
                return bytes(data)
            self._assembly = bytearray(), _utf8_decoder() if frame.opcode is Opcode.TEXT else None
        assert self._assembly is not None  # `websockets` refuses a continuation of nothing
        message, decoder = self._assembly
        if len(message) + len(data) > self._limit:
            raise PayloadTooBig(len(data), self._limit - len(message), len(message))
        if decoder is not None:
            decoder.decode(data, frame.fin)
        message += data
        if not frame.fin:
            return None
        self._assembly = None
        return bytes(message)
