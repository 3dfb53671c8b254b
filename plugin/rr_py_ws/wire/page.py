"""A request for a page as PHP gets it, and PHP's answer (RoadRunner's http plugin, JSON form).

The context of the question is that of a handshake (see `access`) with `parsed` and `uploads`; its body is
that of the request, or the JSON tree of a form. The answer's context is a JSON object with `status` and
`headers`; its body is the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from rr_py_ws.errors import WorkerError
from rr_py_ws.wire.access import decode_fields, decode_headers, encode_request

_NO_BODY = ("HEAD", "OPTIONS")
_DROPPED = frozenset((b"transfer-encoding", b"trailer"))
"""Headers of a request that describe how it was sent; Go takes them out, too."""
_MAX_CONTEXT = 4 * 1024 * 1024
"""Bytes of status and headers of an answer."""
_OURS = frozenset((b"transfer-encoding", b"keep-alive", b"upgrade", b"connection"))
"""Headers of an answer that describe the connection."""


class BodyKind(Enum):
    """What PHP gets of a body."""

    NONE = 0
    RAW = 1
    URLENCODED = 2
    MULTIPART = 3

    @property
    def is_form(self) -> bool:
        """Whether PHP gets a JSON tree."""
        return self in (BodyKind.URLENCODED, BodyKind.MULTIPART)


def body_kind(method: str, content_type: str, *, raw_forms: bool) -> BodyKind:
    """Tell what is to be done with the body of a request.

    Args:
        method: of the request.
        content_type: its header; what counts is whether it contains the type, as in RoadRunner.
        raw_forms: the key `http.raw_body`: urlencoded forms are not parsed.
    """
    if method in _NO_BODY:
        return BodyKind.NONE
    if "application/x-www-form-urlencoded" in content_type:
        return BodyKind.RAW if raw_forms else BodyKind.URLENCODED
    if "multipart/form-data" in content_type:
        return BodyKind.MULTIPART
    return BodyKind.RAW


def encode_page_request(
    *,
    remote_addr: str,
    protocol: str,
    method: str,
    uri: str,
    headers: Sequence[tuple[bytes, bytes]],
    raw_query: str,
    parsed: bool,
    uploads: bytes = b"null",
) -> bytes:
    """Encode the context of the question; see `access.encode_request`.

    Args:
        remote_addr: of the client.
        protocol: such as `HTTP/1.1`.
        method: as received.
        uri: absolute.
        headers: of the request, names in lower case.
        raw_query: undecoded.
        parsed: whether the body is a JSON tree made from a form.
        uploads: JSON tree of the files of the form.
    """
    request = encode_request(
        remote_addr=remote_addr,
        protocol=protocol,
        method=method,
        uri=uri,
        headers=[pair for pair in headers if pair[0] not in _DROPPED],
        raw_query=raw_query,
        parsed=parsed,
    )
    return b'%s{},"uploads":%s}' % (request, uploads)


class PageHead(NamedTuple):
    """Status and headers of an answer.

    Attributes:
        status: as PHP says it, any number.
        headers: in order, names in lower case; without those that describe the connection.
        trailers: what is sent behind the body.
        close: whether PHP asks for the end of the connection.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    trailers: list[tuple[bytes, bytes]]
    close: bool


def decode_page_head(context: bytes) -> PageHead:
    """Decode the context of an answer. See `access.decode_answer` for what is forgiven.

    Raises:
        WorkerError: this is no answer.
    """
    if len(context) > _MAX_CONTEXT:
        raise WorkerError(f"the status and the headers of the answer have {len(context)} bytes")
    fields = decode_fields(context)
    status = fields.get("status")
    if type(status) is not int:  # bool is an int, too
        raise WorkerError("the answer has no status")
    headers: list[tuple[bytes, bytes]] = []
    announced: set[bytes] = set()
    close = False
    for name, value in decode_headers(fields.get("headers", {})):
        pair = key, data = _lower(name), value.encode("utf-8", "replace")
        if key in _OURS:
            close = close or (key == b"connection" and b"close" in data.lower())
            continue
        if key == b"trailer":
            names = {name.strip().lower() for name in data.split(b",")} - {b""}
            if not names:
                continue
            announced |= names
        headers.append(pair)
    if not announced:
        return PageHead(status, headers, [], close)
    trailers = [pair for pair in headers if pair[0] in announced]
    return PageHead(status, [pair for pair in headers if pair[0] not in announced], trailers, close)


@lru_cache(maxsize=128)
def _lower(name: str) -> bytes:
    return name.encode().lower()
