"""Where the body of a request ends.

Chunks are read here and not by llhttp, which does not say how much of its input belongs to the message: what
follows is the next request, and its head has to be read by the same rules as the first. The rules are those
of RFC 9112 section 7.1, without what two parsers may understand differently: a line ends with CRLF.
"""

from __future__ import annotations

import re
from enum import Enum

from rr_py_ws.errors import ProtocolError

CHUNKED = -1
"""Stands for the size of a body in chunks."""

_MAX_LINE = 256
"""Bytes of the line before a chunk: its size, and extensions, which nobody uses."""
_MAX_TRAILERS = 8 * 1024
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t \x21-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t \x21-\x7e\x80-\xff]*")
_CRLF = b"\r\n"


class _Part(Enum):
    """What of a body in chunks comes next."""

    SIZE = 0
    CONTENT = 1
    END = 2
    """The end of the line behind the content of a chunk."""
    TRAILERS = 3


class BodyDecoder:
    """Cuts one body out of what arrives behind a request head.

    Args:
        size: bytes of the body, or `CHUNKED`.

    Attributes:
        complete: whether the end of the body has come.
    """

    __slots__ = ("_chunked", "_left", "_line", "_next", "_trailers", "complete")

    def __init__(self, size: int) -> None:
        self._chunked = size == CHUNKED
        self._left = size
        self._line = b""
        self._next = _Part.SIZE
        self._trailers = 0
        self.complete = size == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take what arrived.

        Returns:
            What is content, and what follows the body; the latter is empty until `complete`.

        Raises:
            ProtocolError: the body is not in chunks as it should be.
        """
        if self.complete:
            return b"", data
        if self._chunked:
            return self._feed_chunks(data)
        content = data[: self._left]
        self._left -= len(content)
        self.complete = self._left == 0
        return content, data[len(content) :]

    def _feed_chunks(self, data: bytes) -> tuple[bytes, bytes]:
        content, at = [], 0
        if self._line:
            data, self._line = self._line + data, b""
        while not self.complete and at < len(data):
            if self._next is _Part.CONTENT:
                piece = data[at : at + self._left]
                content.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._next = _Part.END
                continue
            limit = _MAX_TRAILERS if self._next is _Part.TRAILERS else _MAX_LINE
            end = data.find(_CRLF, at, at + limit)
            if end < 0:
                if len(data) - at >= limit:
                    raise ProtocolError("a chunk with a line that is too long")
                self._line = data[at:]
                return b"".join(content), b""
            self._take_line(data[at:end])
            at = end + len(_CRLF)
        return b"".join(content), data[at:]

    def _take_line(self, line: bytes) -> None:
        if self._next is _Part.END:
            if line:
                raise ProtocolError("a chunk that is longer than its size")
            self._next = _Part.SIZE
        elif self._next is _Part.SIZE:
            found = _SIZE.fullmatch(line)
            if found is None:
                raise ProtocolError("bad size of a chunk")
            self._left = int(found[1], 16)
            self._next = _Part.CONTENT if self._left else _Part.TRAILERS
        else:  # as in RoadRunner, PHP does not get the trailers
            self._trailers += len(line) + len(_CRLF)
            if self._trailers > _MAX_TRAILERS:
                raise ProtocolError("trailers that are too long")
            if line and not _TRAILER.fullmatch(line):
                raise ProtocolError("a bad trailer")
            self.complete = not line
