"""A request for a page, read and written down for PHP."""

from __future__ import annotations

from collections.abc import Iterable
from mmap import mmap
from typing import NamedTuple

from starlette.types import Receive, Scope

from rr_py_ws.adapters.http.body import BodyLimits, FormTurns, read_multipart, read_raw, read_urlencoded, skip
from rr_py_ws.adapters.http.memory import FormMemory
from rr_py_ws.adapters.http.spool import Spool
from rr_py_ws.adapters.http.uploads import UploadFiles
from rr_py_ws.address import TCPAddress, parse_ip
from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.page import BodyKind, body_kind, encode_page_request
from rr_py_ws.wire.worker import MappedQuestion, Message, Question

_FORM_METHODS = ("POST", "PUT", "PATCH")


class HeldBody(NamedTuple):
    """What the body of a request keeps until it is answered.

    Attributes:
        memory: of a form.
        spool: of any other body.
        files: the uploads.
    """

    memory: FormMemory
    spool: Spool
    files: UploadFiles

    async def release(self) -> None:
        """Let go of all."""
        self.memory.release()
        self.spool.close()
        await self.files.close()


class PageRequest:
    """A request, as far as it decides what PHP is asked.

    Args:
        scope: of ASGI.
        raw_forms: see `wire.page.body_kind`.
    """

    __slots__ = ("_content_type", "_fields", "_kind", "_scope")

    def __init__(self, scope: Scope, *, raw_forms: bool) -> None:
        self._scope = scope
        self._fields = fields = first_values(scope["headers"])
        self._content_type = fields.get(b"content-type", b"").decode("latin-1")
        self._kind = body_kind(scope["method"], self._content_type, raw_forms=raw_forms)

    @property
    def has_body(self) -> bool:
        """Whether there is anything to read; most requests have none."""
        return b"content-length" in self._fields or b"transfer-encoding" in self._fields or self._kind.is_form

    def question(self, body: bytes | mmap = b"", uploads: bytes = b"null", descriptor: int = -1) -> Question:
        """Make the question.

        Args:
            body: what `read` returned.
            uploads: the same.
            descriptor: of the file, of a body in one.
        """
        scope = self._scope
        target = scope["target"].decode("utf-8", "surrogateescape")
        context = encode_page_request(
            remote_addr=scope["client"][0] if scope["client"] else "",
            protocol="HTTP/" + scope["http_version"],
            method=scope["method"],
            uri=f"{scope['scheme']}://{self._host()}{target}",
            headers=scope["headers"],
            raw_query=target.partition("?")[2],
            parsed=self._kind.is_form,
            uploads=uploads,
        )
        if isinstance(body, bytes):
            return Message(context, body)
        return MappedQuestion(context, body, descriptor)

    async def read(
        self, receive: Receive, limits: BodyLimits, held: HeldBody, turns: FormTurns
    ) -> tuple[bytes | mmap, bytes]:
        """Read the body; returns it, and the uploads, as PHP gets them.

        Raises:
            ProtocolError: the request is refused.
            OSError: the body cannot be kept.
        """
        if int(self._fields.get(b"content-length", 0)) > limits.max_size:
            raise ProtocolError(f"a body over the limit of {limits.max_size} bytes", 413)
        match self._kind:
            case BodyKind.RAW:
                return await read_raw(receive, limits, held.spool), b"null"
            case BodyKind.NONE:  # read as in Go, so that the connection stays usable
                await skip(receive, limits)
                return b"", b"null"
            case BodyKind.URLENCODED if self._scope["method"] not in _FORM_METHODS:  # as in Go
                await skip(receive, limits)
                return b"{}", b"null"
            case BodyKind.URLENCODED:
                return await read_urlencoded(receive, limits, held.memory, turns), b"null"
        form = await read_multipart(receive, limits, held.memory, turns, self._content_type, held.files)
        return form.fields, form.uploads

    def _host(self) -> str:
        """The host of the URI: PHP's libraries throw at a URI without one, which HTTP/1.0 may leave out."""
        if host := self._fields.get(b"host"):
            return host.decode("latin-1")
        if self._scope["server"] is None:
            return "localhost"
        address, port = self._scope["server"]
        return str(TCPAddress(str(parse_ip(address.partition("%")[0])), port))  # no URI has a zone


def first_values(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the first value of each header."""
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in values:
            values[name] = value
    return values
