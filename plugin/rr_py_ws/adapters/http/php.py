"""Pages that PHP makes: requests go to workers exactly as RoadRunner's http plugin sends them.

The whole body is there before a worker is asked, so a slow client keeps nobody but itself. The answer is sent
as fast as the client takes it; a worker is free as soon as its answer is read, or, when it streams, when the
last part of it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from starlette.types import Receive, Scope, Send

from rr_py_ws import logs
from rr_py_ws.adapters.http.body import BodyLimits, FormTurns
from rr_py_ws.adapters.http.memory import PageMemory
from rr_py_ws.adapters.http.page_answer import Page, error_page, send_page
from rr_py_ws.adapters.http.page_question import HeldBody, PageRequest, first_values
from rr_py_ws.adapters.http.spool import Spool
from rr_py_ws.adapters.http.uploads import UploadFiles
from rr_py_ws.config import HTTP, Limits
from rr_py_ws.core.ports import QuestionPool
from rr_py_ws.errors import NoFreeWorkers, ProtocolError, WorkerError, WorkersDown
from rr_py_ws.metrics import Sample
from rr_py_ws.wire.page import PageHead, decode_page_head
from rr_py_ws.wire.worker import Question

log = logs.get_limited("http")
access_log = logs.get_logger("http")


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
        request = PageRequest(scope, raw_forms=self._section.raw_body)
        held = self._hold() if request.has_body else None
        page: Page | None = None
        try:
            try:
                page = await self._ask(scope, request, receive, held)
            except ProtocolError as error:
                page = error_page(error.status, str(error).encode())
            except (WorkerError, OSError) as error:
                page = self._failure(scope, error)
            with self._memory.hold_answer(len(page.body)):
                await send_page(page, scope["method"], send)
        except WorkerError as error:  # in the middle of its answer, which is cut off
            log.error("a page broke off", method=scope["method"], path=scope["path"], reason=error)
        finally:
            if page is not None and page.parts is not None:
                page.parts.stop()
            if held is not None:
                await held.release()
        if page is not None and (self._section.access_logs or access_log.debugs):
            self._log(scope, page.head.status, time.monotonic() - began)

    def _hold(self) -> HeldBody:
        options = self._section.uploads
        return HeldBody(self._memory.form(), Spool(options.dir), UploadFiles(options, self._owner))

    async def _ask(self, scope: Scope, request: PageRequest, receive: Receive, held: HeldBody | None) -> Page:
        """Put the request to a worker.

        Raises:
            ProtocolError: the request is refused.
            WorkerError: there is no answer.
            OSError: the body cannot be kept.
        """
        method = scope["method"]
        if scope["target"] == b"*":  # for the server, not for any page; as in Go
            return Page(PageHead(200, [], [], close=False), b"")
        question: Question
        if held is None:
            question = request.question()
        else:
            body, uploads = await request.read(receive, self._limits, held, self._turns)
            question = request.question(body, uploads, held.spool.descriptor)
            del body
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
            return error_page(500, b"unknown status code from worker: %d" % head.status)
        if head.status < 200:  # for Go this is no answer yet; what follows is one with 200
            head = head._replace(status=200)
        return Page(head, b"" if method == "HEAD" and parts is None else answer.body, parts)

    def _failure(self, scope: Scope, error: Exception) -> Page:
        """What a client gets when no worker has answered: nothing of the reason."""
        log.error("a page failed", method=scope["method"], path=scope["path"], reason=error)
        # RoadRunner's mark, for its own middleware and for proxies.
        busy = isinstance(error, NoFreeWorkers | WorkersDown)
        headers = [(b"no-workers", b"true")] if busy else []
        return Page(PageHead(self._section.internal_error_code, headers, [], close=False), b"")

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
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
        headers = first_values(scope["headers"])
        access_log.info(
            "http access log",
            **fields,
            query=scope["query_string"].decode("utf-8", "replace"),
            content_len=int(headers.get(b"content-length", 0)),
            host=headers.get(b"host", b"").decode("latin-1"),
            user_agent=headers.get(b"user-agent", b"").decode("latin-1"),
            referer=headers.get(b"referer", b"").decode("latin-1"),
        )
