"""Pages that PHP makes: requests go to workers exactly as RoadRunner's http plugin sends them.

The whole body is there before a worker is asked, so a slow client keeps nobody but itself. The answer is sent
as fast as the client takes it; a worker is free as soon as its answer is read, or, when it streams, when the
last part of it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from mmap import mmap
from typing import NamedTuple, cast

from starlette.types import Receive, Scope, Send

from rr_py_ws import logs
from rr_py_ws.adapters.http.body import BodyLimits, FormTurns, read_multipart, read_raw, read_urlencoded, skip
from rr_py_ws.adapters.http.memory import FormMemory, PageMemory
from rr_py_ws.adapters.http.spool import Spool
from rr_py_ws.adapters.http.uploads import UploadFiles
from rr_py_ws.address import TCPAddress, parse_ip
from rr_py_ws.config import HTTP, Limits
from rr_py_ws.core.ports import AnswerParts, QuestionPool
from rr_py_ws.errors import NoFreeWorkers, ProtocolError, WorkerError, WorkersDown
from rr_py_ws.metrics import Sample
from rr_py_ws.wire.content_type import detect_content_type
from rr_py_ws.wire.page import BodyKind, PageHead, body_kind, decode_page_head, encode_page_request
from rr_py_ws.wire.worker import MappedQuestion, Message, Question

_PIECE = 64 * 1024
"""Bytes of an answer that are written at once."""
_WITHOUT_BODY = (204, 304)
_FORM_METHODS = ("POST", "PUT", "PATCH")
_Header = tuple[bytes, bytes]

log = logs.get_limited("http")
access_log = logs.get_logger("http")


class _Page(NamedTuple):
    """What is answered."""

    head: PageHead
    body: bytes
    parts: AnswerParts | None = None


class _Held(NamedTuple):
    """What a request keeps until it is answered."""

    memory: FormMemory
    spool: Spool
    files: UploadFiles


class PHPPages:
    """The ASGI application.

    Args:
        pool: the workers of `http.pool`.
        section: the section `http`.
        limits: those of forms and `page_memory` are looked at.
        owner: user and group of the workers, who get the uploads; None when they run as this process does.
    """

    def __init__(
        self,
        pool: QuestionPool,
        section: HTTP,
        limits: Limits,
        owner: tuple[int, int] | None = None,
    ) -> None:
        self._pool = pool
        self._memory = PageMemory(limits.page_memory)
        self._turns = FormTurns()
        self._owner = owner
        self.reload(section, limits)

    def reload(self, section: HTTP, limits: Limits) -> None:
        """Answer requests from now on by other keys."""
        self._section = section
        self._limits = BodyLimits(section.max_request_size, limits.max_form, limits.max_form_fields)
        self._memory.limit = limits.page_memory

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        return self._memory.metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.monotonic()
        options = self._section.uploads
        held = _Held(self._memory.form(), Spool(options.dir), UploadFiles(options, self._owner))
        page: _Page | None = None
        try:
            try:
                page = await self._ask(scope, receive, held)
            except ProtocolError as error:
                page = _error(error.status, str(error).encode())
            except (WorkerError, OSError) as error:
                page = self._failure(scope, error)
            task = cast("asyncio.Task[None]", asyncio.current_task())
            self._memory.hold_answer(task, len(page.body))
            try:
                await _send_page(page, scope["method"], send)
            finally:
                self._memory.release_answer(task)
        except WorkerError as error:  # in the middle of its answer, which is cut off
            log.error("a page broke off", method=scope["method"], path=scope["path"], reason=error)
        finally:
            if page is not None and page.parts is not None:
                page.parts.stop()
            held.memory.release()
            held.spool.close()
            await held.files.close()
        if page is not None:
            self._log(scope, page.head.status, time.monotonic() - began)

    async def _ask(self, scope: Scope, receive: Receive, held: _Held) -> _Page:
        """Put the request to a worker.

        Raises:
            ProtocolError: the request is refused.
            WorkerError: there is no answer.
            OSError: the body cannot be kept.
        """
        method = scope["method"]
        if scope["target"] == b"*":  # for the server, not for any page; as in Go
            return _Page(PageHead(200, [], [], close=False), b"")
        question = await self._question(scope, receive, held)
        answer, parts = await self._pool.exec_streamed(question)
        del question  # it may be large, and the client may take its time
        try:
            head = decode_page_head(answer.context)
        except WorkerError:
            if parts is not None:
                parts.stop()
            raise
        if not 100 <= head.status <= 599 or head.status == 101:
            if parts is not None:
                parts.stop()
            return _error(500, b"unknown status code from worker: %d" % head.status)
        if head.status < 200:  # for Go this is no answer yet; what follows is one with 200
            head = head._replace(status=200)
        return _Page(head, b"" if method == "HEAD" and parts is None else answer.body, parts)

    async def _question(self, scope: Scope, receive: Receive, held: _Held) -> Question:
        fields = _first_values(scope["headers"])
        content_type = fields.get(b"content-type", b"").decode("latin-1")
        kind = body_kind(scope["method"], content_type, raw_forms=self._section.raw_body)
        if int(fields.get(b"content-length", 0)) > self._limits.max_size:
            raise ProtocolError(f"a body over the limit of {self._limits.max_size} bytes", 413)
        body: bytes | mmap = b""
        uploads = b"null"
        # Most requests have none.
        announced = b"content-length" in fields or b"transfer-encoding" in fields
        if kind is BodyKind.RAW and announced:
            body = await read_raw(receive, self._limits, held.spool)
        elif kind is BodyKind.NONE and announced:  # read as in Go, so that the connection stays usable
            await skip(receive, self._limits)
        elif kind is BodyKind.URLENCODED and scope["method"] not in _FORM_METHODS:  # as in Go
            await skip(receive, self._limits)
            body = b"{}"
        elif kind is BodyKind.URLENCODED:
            body = await read_urlencoded(receive, self._limits, held.memory, self._turns)
        elif kind is BodyKind.MULTIPART:
            body, uploads = await read_multipart(
                receive, self._limits, held.memory, self._turns, content_type, held.files
            )
        target = scope["target"].decode("utf-8", "surrogateescape")
        context = encode_page_request(
            remote_addr=scope["client"][0] if scope["client"] else "",
            protocol=f"HTTP/{scope['http_version']}",
            method=scope["method"],
            uri=f"{scope['scheme']}://{_host(scope, fields)}{target}",
            headers=scope["headers"],
            raw_query=target.partition("?")[2],
            parsed=kind.is_form,
            uploads=uploads,
        )
        if isinstance(body, bytes):
            return Message(context, body)
        return MappedQuestion(context, body, held.spool.descriptor)

    def _failure(self, scope: Scope, error: Exception) -> _Page:
        """What a client gets when no worker has answered: nothing of the reason."""
        log.error("a page failed", method=scope["method"], path=scope["path"], reason=error)
        # RoadRunner's mark, for its own middleware and for proxies.
        busy = isinstance(error, NoFreeWorkers | WorkersDown)
        headers = [(b"No-Workers", b"true")] if busy else []
        return _Page(PageHead(self._section.internal_error_code, headers, [], close=False), b"")

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        if not (self._section.access_logs or access_log.debugs):
            return
        client = scope["client"]
        fields = {
            "status": status,
            "method": scope["method"],
            "uri": scope["raw_path"].decode("utf-8", "replace"),
            "remote": client[0] if client else "",
            "elapsed": round(seconds, 6),
        }
        if not self._section.access_logs:
            access_log.debug("http log", **fields)
            return
        headers = _first_values(scope["headers"])
        access_log.info(
            "http access log",
            **fields,
            query=scope["query_string"].decode("utf-8", "replace"),
            content_len=int(headers.get(b"content-length", 0)),
            host=headers.get(b"host", b"").decode("latin-1"),
            user_agent=headers.get(b"user-agent", b"").decode("latin-1"),
            referer=headers.get(b"referer", b"").decode("latin-1"),
        )


async def _send_page(page: _Page, method: str, send: Send) -> None:
    """Send an answer; waits while the client takes nothing."""
    head, body, parts = page
    has_body = head.status not in _WITHOUT_BODY
    if not has_body:
        body = b""
    headers = _headers(page, method)
    trailers = bool(head.trailers) and has_body
    await send(
        {"type": "http.response.start", "status": head.status, "headers": headers, "trailers": trailers}
    )
    view = memoryview(body)
    more = parts is not None or trailers
    for at in range(0, len(view), _PIECE):
        last = at + _PIECE >= len(view) and not more
        piece = bytes(view[at : at + _PIECE])
        await send({"type": "http.response.body", "body": piece, "more_body": not last})
    while parts is not None and (part := await parts.next_part()) is not None:
        # Clients have to see the parts as they come, so none waits for the next.
        for at in range(0, len(part.body), _PIECE):
            piece = part.body[at : at + _PIECE] if has_body else b""
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    if more or not view:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    if trailers:
        await send({"type": "http.response.trailers", "headers": head.trailers})


def _headers(page: _Page, method: str) -> list[_Header]:
    """Add what Go's net/http adds: the length, and the type when PHP has not said it."""
    head, body, parts = page
    # The length of an answer that is there is known, whatever PHP says; that of a streamed one is not.
    # Of an answer to HEAD only PHP knows it.
    keep_length = method == "HEAD"
    headers = [pair for pair in head.headers if keep_length or pair[0] != b"Content-Length"]
    names = {name for name, _ in headers}
    if head.status not in _WITHOUT_BODY and method != "HEAD":
        if parts is None and not head.trailers:
            headers.append((b"Content-Length", b"%d" % len(body)))
        if body and b"Content-Type" not in names and b"Content-Encoding" not in names:
            headers.append((b"Content-Type", detect_content_type(bytes(body[:512])).encode()))
    if head.close:
        headers.append((b"Connection", b"close"))
    return headers


def _error(status: int, text: bytes) -> _Page:
    headers = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"X-Content-Type-Options", b"nosniff"),
    ]
    return _Page(PageHead(status, headers, [], close=False), text)


def _host(scope: Scope, fields: dict[bytes, bytes]) -> str:
    """The host of the URI: PHP's libraries throw at a URI without one, which HTTP/1.0 may leave out."""
    if host := fields.get(b"host"):
        return host.decode("latin-1")
    if scope["server"] is None:
        return "localhost"
    address, port = scope["server"]
    return str(TCPAddress(str(parse_ip(address.partition("%")[0])), port))  # no URI has a zone


def _first_values(headers: Iterable[_Header]) -> dict[bytes, bytes]:
    """The first value of each header."""
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        values.setdefault(name, value)
    return values
