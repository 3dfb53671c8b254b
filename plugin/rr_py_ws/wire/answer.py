"""The answer to a request for a page, as HTTP/1.1: where it ends, and what applications need not say.

An application says status and headers, and then the body in parts. Where the body ends is said by
`Content-Length`; without one by chunks, or, to a client that knows none (HTTP/1.0), by the end of the
connection.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

Header = tuple[bytes, bytes]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HARMLESS = bytes({*range(0x20, 0x7F), *range(0x80, 0x100), 0x09})
"""What lines of a head consist of."""
_WITHOUT_BODY = (204, 304)
_LAST_CHUNK = b"0\r\n"


class AnswerEncoder:
    """One answer, from its status to its end. Its head goes with the first part of its body, as one piece.

    What an application does wrong is a ValueError, after which nothing more can be encoded.

    Args:
        method: of the request.
        version: of the request's protocol.
        keep_alive: whether the connection may be used for another request.

    Attributes:
        keep_alive: the same; False also when the answer says so, or must.
        started: whether `begin` has been called.
        complete: whether the end was encoded.
    """

    __slots__ = (
        "_bare",
        "_chunked",
        "_head",
        "_left",
        "_old",
        "_trailers",
        "complete",
        "keep_alive",
        "started",
    )

    def __init__(self, method: str, version: str, *, keep_alive: bool) -> None:
        self._bare = method == "HEAD"
        self._old = version != "1.1"
        self._chunked = False
        self._left: int | None = 0
        self._head = b""
        self._trailers = False
        self.keep_alive = keep_alive
        self.started = False
        self.complete = False

    def begin(self, status: int, headers: Iterable[Header], *, trailers: bool = False) -> None:
        """Take the head, which is written with what follows it.

        Args:
            status: of the answer.
            headers: a date is added.
            trailers: whether `end` will be called with some.
        """
        lines = [_status_line(status)]
        length = coding = b""
        dated = said_close = False
        for name, value in headers:
            known, matters = _known_name(name)
            if matters:
                if known == b"date":
                    dated = True
                elif known == b"content-length":
                    length = length or value
                elif known == b"transfer-encoding":
                    coding = value.lower()
                elif b"close" in value.lower().replace(b" ", b"").split(b","):  # connection
                    self.keep_alive, said_close = False, True
            lines.append(b"%b: %b\r\n" % (known, value))
        if not dated:
            lines.append(_date_line(int(time.time())))
        if not (self.keep_alive or said_close):
            lines.append(b"connection: close\r\n")
        self._choose_end(status, length, coding, lines)
        head = b"".join(lines)
        if head.translate(None, _HARMLESS) != b"\r\n" * len(lines):
            raise ValueError("a control character in a header")
        self._trailers = trailers and self._chunked
        self._head = head + b"\r\n"
        self.started = True

    def body(self, data: bytes, *, more: bool) -> bytes:
        """Encode a part of the body.

        Args:
            data: may be empty.
            more: whether another part follows.
        """
        if not self.started or self.complete:
            raise ValueError("a part of a body before the head, or behind the end")
        head, self._head = self._head, b""
        if self._bare:
            data = b""
        elif self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if not (more or self._trailers):
                data += _LAST_CHUNK + b"\r\n"
        elif self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                raise ValueError("a body that is longer or shorter than its length")
        self.complete = not (more or self._trailers)
        return head + data if head else data

    def end(self, trailers: Sequence[Header]) -> bytes:
        """Encode the trailers of an answer, behind its body; nothing if it cannot have any."""
        if not self._trailers:
            return b""
        self._trailers, self.complete = False, True
        lines = b"".join([b"%b: %b\r\n" % pair for pair in trailers])
        if lines.translate(None, _HARMLESS) != b"\r\n" * len(trailers):
            raise ValueError("a control character in a trailer")
        return _LAST_CHUNK + lines + b"\r\n"

    def _choose_end(self, status: int, length: bytes, coding: bytes, lines: list[bytes]) -> None:
        """Decide how the client learns where the body ends."""
        if coding == b"chunked":
            self._chunked = True
        elif length:
            if not length.isdigit():
                raise ValueError("a Content-Length that is no number")
            self._left = int(length)
        elif not self._bare and status not in _WITHOUT_BODY:
            if self._old:
                self._left = None
            else:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")


@lru_cache(maxsize=256)
def _known_name(name: bytes) -> tuple[bytes, bool]:
    """A header name as it is sent, in lower case, and whether it says something about the answer's end."""
    if not _TOKEN.fullmatch(name):
        raise ValueError("a header with a name that is no token")
    known = name.lower()
    return known, known in (b"date", b"content-length", b"transfer-encoding", b"connection")


@lru_cache(maxsize=256)
def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


@lru_cache(maxsize=1)
def _date_line(second: int) -> bytes:
    return f"date: {formatdate(second, usegmt=True)}\r\n".encode()
