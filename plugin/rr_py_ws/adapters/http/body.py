"""The body of a request, read for PHP: as it is, or as the tree of a form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from mmap import mmap
from typing import NamedTuple, TypeVar

from starlette.types import Receive

from rr_py_ws.adapters.http.memory import FormMemory
from rr_py_ws.adapters.http.spool import Spool
from rr_py_ws.adapters.http.uploads import Upload, UploadFiles
from rr_py_ws.adapters.net.turns import Turns
from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.forms import FieldLimit, Work, encode_tree, make_tree, parse_urlencoded
from rr_py_ws.wire.multipart import MultipartDecoder, PartBegin

T = TypeVar("T")

_PIECE = 8 * 1024
"""Bytes of a form with files that are parsed in one turn of the event loop,"""
_DENSE_PIECE = 1024
"""or so many where there are more than `_SPARSE` of `_MARKS`: a part takes 9 bytes, and 10 us."""
_MARKS = (b"\n", b";")
_SPARSE = 128
_TURN = 1024
"""Units of all forms together in a turn of the event loop: about a millisecond."""
_UNIT = 64
"""Bytes that are a unit; a mark is four."""
_MAX_FILES = 1000
"""Files of a form, as in Go."""


class BodyLimits(NamedTuple):
    """How large a body may be.

    Attributes:
        max_size: bytes of all of it.
        max_form: bytes of the names and values of a form, without files.
        max_fields: fields of a form.
    """

    max_size: int
    max_form: int
    max_fields: int


class FormBody(NamedTuple):
    """A form as PHP gets it.

    Attributes:
        fields: JSON tree.
        uploads: JSON tree of the files.
    """

    fields: bytes
    uploads: bytes


async def read_raw(receive: Receive, limits: BodyLimits, spool: Spool) -> bytes | mmap:
    """Read a body that PHP gets as it is.

    Raises:
        ProtocolError: it is too large.
        OSError: it cannot be kept.
    """
    async for data in _parts(receive, limits.max_size):
        await spool.write(data)
    return await spool.content()


async def skip(receive: Receive, limits: BodyLimits) -> None:
    """Read a body that nobody wants.

    Raises:
        ProtocolError: it is too large.
    """
    async for _ in _parts(receive, limits.max_size):
        pass


class FormTurns(Turns):
    """The turns of all forms together."""

    def __init__(self) -> None:
        super().__init__(_TURN)

    async def carry_out(self, work: Work[T]) -> T:
        """Do work, each piece in a turn of its own."""
        while True:
            await self.piece(_TURN)
            try:
                next(work)
            except StopIteration as end:
                result: T = end.value
                return result


async def read_urlencoded(
    receive: Receive, limits: BodyLimits, memory: FormMemory, turns: FormTurns
) -> bytes:
    """Read an urlencoded form; returns the JSON tree.

    Raises:
        ProtocolError: it is too large, or cannot be decoded.
    """
    body = bytearray()
    async for data in _parts(receive, limits.max_size):
        body += data
        _check_form_size(len(body), limits)
        memory.grow(len(data))
    fields = await turns.carry_out(parse_urlencoded(body, FieldLimit(limits.max_fields, memory.grow)))
    tree = await turns.carry_out(make_tree(fields))
    return encode_tree(tree)


async def read_multipart(
    receive: Receive,
    limits: BodyLimits,
    memory: FormMemory,
    turns: FormTurns,
    content_type: str,
    files: UploadFiles,
) -> FormBody:
    """Read a form with files.

    Raises:
        ProtocolError: it is too large, or cannot be decoded.
    """
    form = _MultipartForm(limits, memory, files)
    decoder = MultipartDecoder(content_type)
    async for data in _parts(receive, limits.max_size):
        for piece, units in _pieces(data):
            await turns.piece(units)
            for event in decoder.feed(piece):
                if isinstance(event, PartBegin):
                    await form.begin(event)
                elif isinstance(event, bytes):
                    await form.take(event)
                else:
                    await form.end()
    if not decoder.complete:
        raise ProtocolError("a form that ends too early")
    fields = await turns.carry_out(make_tree(form.fields))
    uploads = await turns.carry_out(make_tree(form.uploads, last=False))
    return FormBody(encode_tree(fields), encode_tree(uploads))


def _pieces(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Cut a part of a form into pieces; yields each, and how many units it takes to parse it."""
    at = 0
    while at < len(data):
        piece = data[at : at + _PIECE]
        marks = sum(map(piece.count, _MARKS))
        if marks > _SPARSE:
            piece = piece[:_DENSE_PIECE]
        yield piece, len(piece) // _UNIT + 4 * marks
        at += len(piece)


class _MultipartForm:
    """Collects the parts of a form.

    Attributes:
        fields: name -> values.
        uploads: name -> files.
    """

    def __init__(self, limits: BodyLimits, memory: FormMemory, files: UploadFiles) -> None:
        self._limits = limits
        self._memory = memory
        self._files = files
        self._field_limit = FieldLimit(limits.max_fields, memory.grow)
        self.fields: dict[str, list[str]] = {}
        self.uploads: dict[str, list[Upload]] = {}
        self._files_begun = 0
        self._size = 0
        self._part = PartBegin("", None, "")
        self._value = bytearray()

    async def begin(self, part: PartBegin) -> None:
        self._part = part
        self._count(len(part.name))
        self._field_limit.count(part.name)
        if part.file is None:
            return
        self._files_begun += 1
        if self._files_begun > _MAX_FILES:
            raise ProtocolError(f"a form with more than {_MAX_FILES} files", 413)
        self._count(len(part.file) + len(part.mime))
        upload = await self._files.begin(part.file, part.mime)
        self.uploads.setdefault(part.name, []).append(upload)

    async def take(self, data: bytes) -> None:
        if self._part.file is not None:
            await self._files.write(data)
        else:
            self._count(len(data))
            self._value += data

    async def end(self) -> None:
        if self._part.file is not None:
            await self._files.end()
        else:
            self.fields.setdefault(self._part.name, []).append(self._value.decode("utf-8", "replace"))
            self._value.clear()

    def _count(self, size: int) -> None:
        self._size += size
        _check_form_size(self._size, self._limits)
        self._memory.grow(size)


def _check_form_size(size: int, limits: BodyLimits) -> None:
    if size > limits.max_form:
        raise ProtocolError(f"a form over the limit of {limits.max_form} bytes", 413)


async def _parts(receive: Receive, max_size: int) -> AsyncIterator[bytes]:
    """Yield the body as it arrives."""
    size, more = 0, True
    while more:
        message = await receive()
        # The client has gone: this is cancelled in a moment.
        if message["type"] == "http.disconnect":
            raise ProtocolError("the client has gone")
        data: bytes = message.get("body", b"")
        size += len(data)
        if size > max_size:
            raise ProtocolError(f"a body over the limit of {max_size} bytes", 413)
        if data:
            yield data
        more = message.get("more_body", False)
