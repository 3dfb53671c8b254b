"""A request for one file: preconditions and ranges, by the rules of Go's net/http (`ServeContent`).

RoadRunner's `static` answers with that function, whatever the method of the request is.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple

from rr_py_ws.wire.answer_headers import AnswerHeaders

_LOOKED_AT = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range"}
)
_ETAG = re.compile(r"(?:W/)?\"[\x21\x23-\x7e\x80-\xff]*\"")
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")
_MOST_RANGES = 100
"""Ranges of a request; of one with more the whole file is sent (RFC 9110 section 14.2)."""
_DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
"""The three forms of RFC 9110 section 5.6.7."""
_READS = ("GET", "HEAD")


class Part(NamedTuple):
    """A piece of an answer's body.

    Attributes:
        before: bytes that are sent first; of a part that has a length, the head of a MIME part.
        start: where the bytes of the file begin.
        length: how many there are.
    """

    before: bytes
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """What is answered, but for the headers, which are in the map that was given.

    Attributes:
        status: of the answer.
        parts: the body.
    """

    status: int
    parts: tuple[Part, ...] = ()


class _BadRange(ValueError):
    """The `Range` header cannot be obeyed; the text is for the client.

    Attributes:
        outside: whether there are ranges, and none begins in the file.
    """

    def __init__(self, *, outside: bool = False) -> None:
        super().__init__("invalid range: failed to overlap" if outside else "invalid range")
        self.outside = outside


def conditions(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """Pick what the answer depends on: name in lower case -> the first value, as in Go."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in _LOOKED_AT and value:
            found.setdefault(name, value.decode("latin-1"))
    return found


def answer_conditions(
    method: str, asked: Mapping[bytes, str], headers: AnswerHeaders, modified: int
) -> FileAnswer | None:
    """Decide whether the file is wanted; None: it is.

    Args:
        method: of the request.
        asked: the request's `conditions`.
        headers: of the answer, perhaps with an `ETag`; what belongs to the answer is set.
        modified: seconds since 1970 when the file was changed; 0 when nobody knows.
    """
    if modified:
        headers.put(b"last-modified", _http_date(modified))
    # Most requests ask for a file, whatever there is.
    status = _refused(method, asked, headers.get(b"etag"), modified) if asked else 0
    if status == 304:
        headers.drop(b"content-type", b"content-length")
        if headers.get(b"etag"):
            headers.drop(b"last-modified")
    elif status:
        headers.put(b"content-length", "0")
    return FileAnswer(status) if status else None


def answer_content(
    method: str, asked: Mapping[bytes, str], headers: AnswerHeaders, modified: int, size: int
) -> FileAnswer:
    """Choose what is sent of a file that is wanted.

    Args:
        method: of the request.
        asked: the request's `conditions`.
        headers: of the answer, with `Content-Type` and perhaps an `ETag`; what belongs to the answer is set.
        modified: see `answer_conditions`.
        size: bytes of the file.
    """
    wanted = asked.get(b"range", "")
    if wanted.count(",") >= _MOST_RANGES:
        wanted = ""
    if wanted and method in _READS and not _same_version(asked, headers.get(b"etag"), modified):
        wanted = ""
    try:
        ranges = _parse_ranges(wanted, size)
    except _BadRange as error:
        if error.outside:
            headers.put(b"content-range", f"bytes */{size}")
        return _unsatisfiable(headers, f"{error}\n".encode())
    return _content(headers, ranges, size)


def _content(headers: AnswerHeaders, ranges: list[tuple[int, int]], size: int) -> FileAnswer:
    headers.put(b"accept-ranges", "bytes")
    parts: tuple[Part, ...]
    # More than the whole file is an attack or a mistake.
    if not ranges or sum(length for _, length in ranges) > size:
        parts, status = (Part(b"", 0, size),), 200
    elif len(ranges) == 1:
        start, length = ranges[0]
        headers.put(b"content-range", _content_range(start, length, size))
        parts, status = (Part(b"", start, length),), 206
    else:
        parts, status = _mime_parts(headers, ranges, size), 206
    if not headers.get(b"content-encoding"):
        headers.put(b"content-length", str(sum(len(part.before) + part.length for part in parts)))
    return FileAnswer(status, parts)


def _mime_parts(headers: AnswerHeaders, ranges: list[tuple[int, int]], size: int) -> tuple[Part, ...]:
    boundary, content_type = secrets.token_hex(30), headers.get(b"content-type")
    headers.put(b"content-type", f"multipart/byteranges; boundary={boundary}")
    parts: list[Part] = []
    for start, length in ranges:
        line_end = "\r\n" if parts else ""
        head = (
            f"{line_end}--{boundary}\r\nContent-Range: {_content_range(start, length, size)}\r\n"
            f"Content-Type: {content_type}\r\n\r\n"
        )
        parts.append(Part(head.encode("latin-1"), start, length))
    return *parts, Part(f"\r\n--{boundary}--\r\n".encode(), 0, 0)


def _content_range(start: int, length: int, size: int) -> str:
    return f"bytes {start}-{start + length - 1}/{size}"


def _unsatisfiable(headers: AnswerHeaders, text: bytes) -> FileAnswer:
    headers.put(b"content-type", "text/plain; charset=utf-8")
    headers.put(b"x-content-type-options", "nosniff")
    headers.put(b"content-length", str(len(text)))
    return FileAnswer(416, (Part(text, 0, 0),))


def _refused(method: str, asked: Mapping[bytes, str], etag: str, modified: int) -> int:
    """Look at the preconditions in the order of RFC 9110 section 13.2.2.

    Returns:
        304 or 412; 0: go on.
    """
    if (expected := asked.get(b"if-match")) is not None:
        if not _matches(expected, etag, _strongly):
            return 412
    elif modified:
        at = _parse_date(asked.get(b"if-unmodified-since", ""))
        if at is not None and modified > at:
            return 412
    if (known := asked.get(b"if-none-match")) is not None:
        if not _matches(known, etag, _weakly):
            return 0
        return 304 if method in _READS else 412
    if method not in _READS or not modified:
        return 0
    at = _parse_date(asked.get(b"if-modified-since", ""))
    return 304 if at is not None and modified <= at else 0


def _same_version(asked: Mapping[bytes, str], etag: str, modified: int) -> bool:
    """Whether `If-Range` lets the range count."""
    version = asked.get(b"if-range")
    if version is None:
        return True
    if found := _ETAG.match(version):
        return _strongly(found[0], etag)
    return modified != 0 and _parse_date(version) == modified


def _strongly(one: str, other: str) -> bool:
    return one == other and one.startswith('"')


def _weakly(one: str, other: str) -> bool:
    return one.removeprefix("W/") == other.removeprefix("W/")


def _matches(listed: str, etag: str, same: Callable[[str, str], bool]) -> bool:
    """Whether a list of entity tags has this one, or is a star; what follows a broken one is not read."""
    rest = listed.strip(" \t\r\n")
    while rest:
        if rest[0] == ",":
            rest = rest[1:].strip(" \t\r\n")
            continue
        if rest[0] == "*":
            return True
        found = _ETAG.match(rest)
        if not found:
            return False
        if same(found[0], etag):
            return True
        rest = rest[found.end() :].strip(" \t\r\n")
    return False


@lru_cache(maxsize=1024)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _parse_date(text: str) -> int | None:
    for form in _DATES if text else ():
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    return None


def _parse_ranges(text: str, size: int) -> list[tuple[int, int]]:
    """Read a `Range` header as pairs of start and length.

    Raises:
        _BadRange: it is none, or asks for nothing that there is.
    """
    if not text:
        return []
    if not text.startswith("bytes="):
        raise _BadRange
    found, outside = [], False
    for item in text.removeprefix("bytes=").split(","):
        entry = item.strip(" \t\r\n")
        if not entry:
            continue
        first, dash, last = (word.strip(" \t\r\n") for word in entry.partition("-"))
        if not dash:
            raise _BadRange
        if not first:  # the last bytes of the file
            length = min(_number(last), size)
            found.append((size - length, length))
            continue
        start = _number(first)
        if start >= size:
            outside = True
            continue
        end = min(_number(last), size - 1) if last else size - 1
        if start > end:
            raise _BadRange
        found.append((start, end - start + 1))
    # Some clients ask for a range of whatever they load; an empty file has none.
    if outside and not found and size:
        raise _BadRange(outside=True)
    return found


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or not 0 <= int(text) < 2**63:
        raise _BadRange
    return int(text)
