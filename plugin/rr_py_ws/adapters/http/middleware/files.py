"""Files as answers: opened, read in pieces, sent as fast as the client takes them.

What the kernel has in memory is read at once; for what it has to fetch there are threads, so that a slow disk
holds up nobody else. A file that fits into one piece is closed before it is sent; small ones may be `Kept`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from typing import Self

from starlette.types import Scope, Send

from rr_py_ws import logs
from rr_py_ws.adapters.http.middleware.response import RawHeaders, send_text
from rr_py_ws.adapters.net.threads import in_thread
from rr_py_ws.wire.answer_headers import AnswerHeaders
from rr_py_ws.wire.content_type import SNIFFED, detect_content_type
from rr_py_ws.wire.file_answer import FileAnswer, Part, answer_conditions, answer_content, conditions

PIECE = 65_536
"""Bytes of a file that are in memory for one client, besides what its socket takes."""
Version = tuple[int, int, int, int, int]
"""See `version_of`."""
_CACHED_ONLY = getattr(os, "RWF_NOWAIT", 0)

log = logs.get_limited("http")


class File:
    """An open regular file.

    Attributes:
        path: as it was opened.
        size: bytes when it was opened.
        modified: whole seconds since 1970 when it was changed.
        changed: nanoseconds since 1970 when it was written, or got other rights.
        version: changes when the file is another, was written, or got other rights.
    """

    def __init__(self, path: bytes, descriptor: int, status: os.stat_result) -> None:
        self.path = path
        self.size = status.st_size
        self.modified = int(status.st_mtime)
        self.changed = max(status.st_mtime_ns, status.st_ctime_ns)
        self.version = version_of(status)
        self._descriptor = descriptor

    async def read(self, offset: int, size: int) -> bytes:
        """Read some bytes, at most `size`; none: the file ends there, or cannot be read."""
        data = self.read_cached(offset, size)
        return data if data is not None else await in_thread(self._read_from_disk, offset, size)

    def read_cached(self, offset: int, size: int) -> bytes | None:
        """The same, if no disk is needed for it, as far as the kernel can tell; None: it is, or may be."""
        if not _CACHED_ONLY:
            return None
        buffer = bytearray(size)
        try:
            count = os.preadv(self._descriptor, [buffer], offset, _CACHED_ONLY)
        except OSError:  # Not in memory, or a file system that cannot tell.
            return None
        return bytes(buffer) if count == size else bytes(buffer[:count])

    def _read_from_disk(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError:  # A broken disk is no different from a file that has become shorter.
            return b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def again(self) -> File:
        """Open it once more, for somebody who may need it for longer.

        Raises:
            OSError: it is not there any more.
        """
        return open_file(self.path)

    def close(self) -> None:
        """Close it; more than once is nothing more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def version_of(status: os.stat_result) -> Version:
    """What changes when a file is another, was written, or may be read by others."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def open_file(path: bytes) -> File:
    """Open a file.

    Raises:
        OSError: there is none, it cannot be read, it is no regular file, or descriptors ran out.
    """
    if b"\0" in path:
        raise FileNotFoundError(errno.ENOENT, "a path with NUL")
    # Nonblocking: a FIFO would wait for somebody who writes.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a regular file")
    return File(path, descriptor, status)


async def send_file(file: File, content_type: str, headers: RawHeaders, scope: Scope, send: Send) -> None:
    """Answer a request with a file, or with what its conditions and ranges ask for.

    Args:
        file: what is sent.
        content_type: empty: by the first bytes; a `Content-Type` among the headers is kept.
        headers: of the answer; changed.
        scope: of the request.
        send: where the answer goes.
    """
    asked, known = conditions(scope["headers"]), AnswerHeaders(headers)
    method = scope["method"]
    answer = answer_conditions(method, asked, known, file.modified)
    if answer is None:
        if b"content-type" not in known:
            known.put(b"content-type", content_type or detect_content_type(await file.read(0, SNIFFED)))
        answer = answer_content(method, asked, known, file.modified, file.size)
    body = () if method == "HEAD" else answer.parts
    if sum(len(part.before) + part.length for part in body) <= PIECE:
        await _send_at_once(file, answer, body, headers, send)
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await _send_in_pieces(file, body, send)


async def _send_at_once(
    file: File, answer: FileAnswer, parts: tuple[Part, ...], headers: RawHeaders, send: Send
) -> None:
    body = b"".join([part.before + await _read_part(file, part) for part in parts])
    file.close()
    if len(body) < sum(len(part.before) + part.length for part in parts):
        _report_shorter(file)
        await send_text(send, 500, [], "the file has just changed")
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _read_part(file: File, part: Part) -> bytes:
    data = b""
    while len(data) < part.length:
        piece = await file.read(part.start + len(data), part.length - len(data))
        if not piece:
            break
        data += piece
    return data


async def _send_in_pieces(file: File, parts: tuple[Part, ...], send: Send) -> None:
    for part in parts:
        before, offset, end = part.before, part.start, part.start + part.length
        while before or offset < end:
            piece = await file.read(offset, min(PIECE, end - offset)) if offset < end else b""
            # Without the last message the server closes the connection: the client learns of it.
            if not piece and offset < end:
                _report_shorter(file)
                return
            await send({"type": "http.response.body", "body": before + piece, "more_body": True})
            before, offset = b"", offset + len(piece)
            # A client that takes everything would not let anybody else have a turn. And this is where the
            # server cancels the answer to one that has gone, which takes everything, too.
            await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})


def _report_shorter(file: File) -> None:
    log.warning("a file became shorter, or cannot be read, while it was sent", path=os.fsdecode(file.path))
