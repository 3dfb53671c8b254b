"""RoadRunner's middleware `gzip`: that of klauspost/compress as it is (gzhttp compress.go @v1.15.11).

An answer is compressed when the client takes gzip, it is not encoded and no range, it has 1,024 bytes or
nobody knows yet how many, and it is neither sound, video, JPEG nor an archive.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rr_py_ws.adapters.http.middleware.response import RawHeaders, preset_headers
from rr_py_ws.adapters.net.threads import in_thread
from rr_py_ws.wire.answer_headers import AnswerHeaders
from rr_py_ws.wire.content_type import detect_content_type

_MIN_SIZE = 1024
_LEVEL = 6
_UNCOMPRESSED = b"no-gzip-compression"
_COMPRESSED_TYPES = ("compress", "zip", "snappy", "lzma", "xz", "zstd", "brotli", "stuffit")
_LOSSY_TYPES = ("video/", "audio/", "image/jp")
_IN_LOOP = 16_384
"""Bytes that are compressed in a turn of the loop, in less than a millisecond; more are for a thread."""
_PIECE = 262_144
"""Bytes that are compressed before the client has to take what they became."""


class GZip:
    """Compresses what the application answers.

    Args:
        app: who answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer."""
        preset_headers(scope).append((b"vary", b"Accept-Encoding"))
        # HEAD is left alone: a length would be that of another body.
        if scope["method"] == "HEAD" or not _accepts_gzip(scope["headers"]):
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _Answer(send).send)


class _Answer:
    """One answer: looked at, and then compressed or passed on.

    Args:
        send: where it goes.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message = {}
        self._pass_on = False
        self._compressor: _Compressor | None = None

    async def send(self, message: Message) -> None:
        """Take a message of the application."""
        if message["type"] == "http.response.start":
            self._start = {**message, "headers": list(message.get("headers", ()))}
        elif self._pass_on or message["type"] != "http.response.body":
            await self._send(message)
        else:
            await self._take(message.get("body", b""), more=message.get("more_body", False))

    async def _take(self, body: bytes, *, more: bool) -> None:
        if self._compressor is None:
            if more and not body:
                return  # There is nothing to decide by.
            headers: RawHeaders = self._start["headers"]
            if not _is_worth_it(headers, body, more=more):
                self._pass_on = True
                await self._send(self._start)
                await self._send({"type": "http.response.body", "body": body, "more_body": more})
                return
            self._compressor = _Compressor(whole=not more)
            if not more and len(body) <= _PIECE and not self._start.get("trailers"):  # they need chunks
                await self._send_whole(headers, await self._compressor.compress(body, more=False))
                return
            await self._send(self._start)
        for start in range(0, len(body) or 1, _PIECE):
            follows = more or start + _PIECE < len(body)
            data = await self._compressor.compress(body[start : start + _PIECE], more=follows)
            await self._send({"type": "http.response.body", "body": data, "more_body": follows})

    async def _send_whole(self, headers: RawHeaders, data: bytes) -> None:
        headers.append((b"content-length", b"%d" % len(data)))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": data})


class _Compressor:
    """A gzip stream.

    Args:
        whole: whether there is only one piece. If not, the stream may be there as long as a slow client, and
            gets a smaller window: 64 KiB of memory instead of 256.
    """

    def __init__(self, *, whole: bool) -> None:
        window, memory = (15, 8) if whole else (13, 6)
        self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + window, memory)

    async def compress(self, data: bytes, *, more: bool) -> bytes:
        """Compress a piece, so that the client can read all of it."""
        if len(data) <= _IN_LOOP:
            return self._compress(data, more)
        return await in_thread(self._compress, data, more)

    def _compress(self, data: bytes, more: bool) -> bytes:
        compressed = self._stream.compress(data)
        return compressed + self._stream.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)


def _is_worth_it(raw: RawHeaders, body: bytes, *, more: bool) -> bool:
    """Decide about an answer by its headers and the beginning of its body; prepare the headers."""
    headers = AnswerHeaders(raw)
    if _UNCOMPRESSED in headers:
        headers.drop(_UNCOMPRESSED)
        return False
    if not body or headers.get(b"content-encoding") or headers.get(b"content-range"):
        return False
    length = headers.get(b"content-length")
    size = int(length) if length.isdecimal() else 0
    if (size or (_MIN_SIZE if more else len(body))) < _MIN_SIZE:
        return False
    content_type = headers.get(b"content-type") or detect_content_type(body)
    if b"content-type" not in headers:
        headers.put(b"content-type", content_type)
    if not _is_compressible(content_type):
        return False
    headers.put(b"content-encoding", "gzip")
    headers.drop(b"content-length", b"accept-ranges")
    return True


def _is_compressible(content_type: str) -> bool:
    name = content_type.strip().lower()
    return not name.startswith(_LOSSY_TYPES) and not any(part in name for part in _COMPRESSED_TYPES)


def _accepts_gzip(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the first `Accept-Encoding` names gzip, with a quality above 0; a star does not count."""
    value = next((value for name, value in headers if name == b"accept-encoding"), b"").decode("latin-1")
    for coding in value.split(","):
        name, *parameters = (word.strip() for word in coding.split(";"))
        if name.lower() == "gzip":
            return not parameters or _quality(parameters[-1]) > 0
    return False


def _quality(parameter: str) -> float:
    """Read `q=0.5`; for another parameter it is 1, and for what is no number 0, as in Go."""
    if not parameter.startswith("q="):
        return 1.0
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0
