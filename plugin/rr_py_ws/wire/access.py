"""The question to PHP "may this client connect, or join?", and PHP's answer.

The question is the context part of a worker request: a JSON object that PHP reads as an HTTP request with one
attribute (roadrunner-server/websockets validator/access_validator.go @v2.16.5). The answer is a status,
headers and a body; exactly 200 means yes. RoadRunner looks at nothing else of a yes; here it may have details
in a body of a type of its own, see `details`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import orjson

from rr_py_ws.errors import WorkerError
from rr_py_ws.wire.details import DETAILS_TYPE, NO_DETAILS, decode_details
from rr_py_ws.wire.go_base64 import decode_base64
from rr_py_ws.wire.jsontext import encode_string, escape_not_ascii
from rr_py_ws.wire.verdict import ALLOWS, Verdict

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ESCAPE = rb"%[0-9A-Fa-f]{2}"
_IN_WORD, _IN_QUOTES = rb"[!#$&-:<-\[\]-~]", rb"[ !#$&-:<-\[\]-~]"
_REST = rb"%s*+(?:%s%s*+)*" % (_IN_WORD, _ESCAPE, _IN_WORD)
_COOKIE = re.compile(
    rb";[ \t\r\n]*+(%s+)[ \t]*+" % _TOKEN.pattern
    + rb'(?:=("%s*+(?:%s%s*+)*"|' % (_IN_QUOTES, _ESCAPE, _IN_QUOTES)
    + rb"%s(?: ++(?:%s|%s)%s)*))?[ \t\r\n]*+(?=;|\Z)" % (_REST, _IN_WORD, _ESCAPE, _REST)
)
"""With the `;` before it. There is one way to read a value, so that a header takes linear time.

Only single characters have possessive quantifiers: until Python 3.11.4 what follows a group that has one
starts where its last try failed, not where that began.
"""
_DIGITS = b"0123456789abcdefABCDEF"
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_MAX_VALUES = 1024
"""Header values of an answer: the dearest take four milliseconds."""
_MAX_ELEMENTS = 16 * 1024
"""Commas and opening brackets in the JSON of an answer: a decoder makes a hundred bytes of each."""
_MAX_HEADERS = 1024 * 1024
"""Bytes of the header values of an answer."""
_KNOWN = 128
"""Answers that need not be decoded again,"""
_LONGEST_KNOWN = 1024
"""and the bytes that each part of one of these has at most."""
_LARGE = 8 * 1024
"""Bytes; what is longer is compressed. Browsers' requests hardly are, with a large token in a cookie."""
_PLAIN = bytes(set(range(0x20, 0x7F)) - set(b'"\\<>&'))
_SIMPLE = bytes(set(_PLAIN) - set(b"%+"))
"""What is in a cookie as it is in JSON."""
_UNESCAPED = {
    bytes(pair): encode_string(byte)[1:-1] if byte.isascii() else byte
    for pair in product(_DIGITS, repeat=2)
    for byte in [bytes.fromhex(bytes(pair).decode())]
}
"""Two digits of a URL's escape -> the byte in a JSON string; those of no ASCII make characters together."""


def encode_request(
    *,
    remote_addr: str,
    protocol: str,
    method: str,
    uri: str,
    headers: Sequence[tuple[bytes, bytes]],
    raw_query: str,
    parsed: bool = False,
) -> bytes:
    """Encode an upgrade request as PHP gets it with every question about this client, but for the attributes.

    `connect_question` and `join_question` add those. The bytes, packed, are all that is kept of the request,
    because there is one for each connection.

    Args:
        remote_addr: the peer's address without port.
        protocol: such as `HTTP/1.1`.
        method: as received.
        uri: absolute, with host, path and query as received.
        headers: in the order of arrival; `Host` may be among them and is left out, as Go leaves it out.
        raw_query: what follows the `?` in `uri`, undecoded.
        parsed: whether the body of the question is JSON, made from a form.
    """
    fields: dict[bytes, bytes] = {}
    cookies = b""
    for name, value in headers:
        key = _encoded_name(name)
        value = value.strip(b" \t")
        text = encode_string(value) if value.translate(None, _PLAIN) else b'"%s"' % value
        fields[key] = b"%s,%s" % (fields[key], text) if key in fields else text
        if key == b'"Cookie"':
            cookies += b";" + value
    # Go moves it out of the headers; PHP finds the host in the URI.
    fields.pop(b'"Host"', None)
    return (
        b'{"remoteAddr":%s,"protocol":%s,"method":%s,"uri":%s,"headers":{%s},"cookies":{%s},'
        b'"rawQuery":%s,"parsed":%s,"attributes":'
        % (
            _encode_known(remote_addr),
            _encode_known(protocol),
            _encode_known(method),
            _encode_text(_one_line(uri)),
            # Go writes maps in the order of their keys.
            b",".join([b"%s:[%s]" % field for field in sorted(fields.items())]),
            _encode_cookies(cookies) if cookies else b"",
            _encode_text(_one_line(raw_query)),
            b"true" if parsed else b"false",
        )
    )


def pack_request(request: bytes) -> bytes:
    """Return an encoded request in the form in which it is kept, as long as its connection.

    Usual requests stay as they are. A `<` is six bytes of JSON, and what a URI or cookie has is there twice:
    the question of a head may be twelve times as long. Compressed it is no longer than the head.
    """
    return request if len(request) <= _LARGE else zlib.compress(request, level=1)


def unpack_request(kept: bytes) -> bytes:
    """Return the encoded request again."""
    return kept if kept.startswith(b"{") else zlib.decompress(kept)


def connect_question(request: bytes) -> bytes:
    """Return the context part of the question whether the client of an encoded request may connect."""
    return request + b'{"ws:joinServer":true}}'


def join_question(request: bytes, topics: Sequence[str]) -> bytes:
    """Return the context part of the question whether it may join these topics.

    PHP gets them as one text with commas between them, and splits that.
    """
    return b'%s{"ws:joinTopics":%s}}' % (request, encode_string(",".join(topics)))


def _encode(text: bytes) -> bytes:
    """Encode one JSON string; most headers and cookies have nothing to escape."""
    return encode_string(text) if text.translate(None, _PLAIN) else b'"%s"' % text


def _encode_text(text: str) -> bytes:
    return _encode(text.encode()) if text.isascii() else encode_string(text)


_encode_known = lru_cache(maxsize=256)(_encode_text)
"""For texts that come again with other requests."""


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")


def canonical_name(name: bytes) -> bytes:
    """Return a header name as Go writes it: `Sec-Websocket-Key`. One that is not a token stays as it is."""
    if not _TOKEN.fullmatch(name):
        return name
    return b"-".join([part.capitalize() for part in name.split(b"-")])


@lru_cache(maxsize=128)
def _encoded_name(name: bytes) -> bytes:
    """Clients use few names, so their JSON form is remembered."""
    return encode_string(canonical_name(name))


def _encode_cookies(line: bytes) -> bytes:
    """Encode `Cookie` headers, a `;` before each, as what is between the braces of a JSON object.

    The rules are those of Go's net/http: a cookie with an illegal name or value, or with a value that is not
    URL-encoded properly, is left out. Of two with one name the last wins. A head may have thousands of them,
    so all are encoded together; no name and no value has a line feed, raw or escaped.
    """
    cookies = sorted(dict(_COOKIE.findall(line)).items())
    if cookies and line.translate(None, _SIMPLE):
        names = b"\n".join([name for name, _ in cookies]).replace(b"&", rb"\u0026").split(b"\n")
        values = _encode_values(b"\n".join([value for _, value in cookies])).split(b"\n")
        cookies = list(zip(names, values, strict=True))
    return b",".join([b'"%s":"%s"' % cookie for cookie in cookies])


def _encode_values(values: bytes) -> bytes:
    """URL-decode values of cookies, and write them as they are within the quotes of JSON strings."""
    values = values.replace(b'"', b"").replace(b"+", b" ")
    for raw in b"<", b">", b"&":
        values = values.replace(raw, b"\\u%04x" % ord(raw))
    first, *rest = values.split(b"%")
    if rest:
        values = first + b"".join([_UNESCAPED[part[:2]] + part[2:] for part in rest])
    return escape_not_ascii(values)


def decode_answer(context: bytes, body: bytes, grant: object = None) -> Verdict:
    """Decode what PHP answered.

    The context is a JSON object with `status` (an integer), `headers` (an object of lists of strings;
    missing and null are none) and perhaps `body` (base64, in place of the body part). The case of keys is
    ignored, other keys too. A header whose name is not a token is left out and control characters in a value
    become spaces, as in Go's net/http, so that PHP cannot be made to split the HTTP response.

    Args:
        context: the context part of the worker's answer.
        body: its body part.
        grant: see `Verdict.grant`; given to a verdict that allows.

    Raises:
        WorkerError: this is not an answer, its status is not an HTTP status (RoadRunner crashed), or its
            body is of the type of details and has none.
    """
    if len(context) > _LONGEST_KNOWN or len(body) > _LONGEST_KNOWN:
        verdict = _decode_answer(context, body)
    else:
        verdict = _known_answer(context, body)
    if grant is None or not verdict.allowed:
        return verdict
    return Verdict(verdict.status, verdict.headers, verdict.body, grant=grant, details=verdict.details)


def _decode_answer(context: bytes, body: bytes) -> Verdict:
    fields = decode_fields(context)
    status = _decode_status(fields.get("status"))
    headers = tuple(decode_headers(fields["headers"])) if "headers" in fields else ()
    body = _decode_body(fields["body"]) if "body" in fields else body
    if status != ALLOWS:
        return Verdict(status, headers, body)
    details = decode_details(body) if headers and _has_details(headers) else NO_DETAILS
    return Verdict(status, headers, body, details=details)


_known_answer = lru_cache(_KNOWN)(_decode_answer)
"""Applications answer most questions with the same bytes."""


def _has_details(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether the body of an answer is ours to read, by its `Content-Type`."""
    types = [value for name, value in headers if name == "Content-Type"]
    return bool(types) and types[-1].partition(";")[0].strip().lower() == DETAILS_TYPE


def decode_fields(context: bytes) -> dict[str, Any]:
    """Decode the JSON object of an answer: keys in lower case, without those that are null.

    Go's encoding/json ignores the case of keys, and null leaves a field as it is.

    Raises:
        WorkerError: this is no JSON object, or one with so much in it that it would take long to decode.
    """
    if sum(map(context.count, (b",", b"[", b"{"))) > _MAX_ELEMENTS:
        raise WorkerError(f"the answer has more than {_MAX_ELEMENTS} values")
    try:
        answer = orjson.loads(context)
    except orjson.JSONDecodeError as error:
        raise WorkerError(f"the answer is not JSON: {error}") from None
    if not isinstance(answer, dict):
        raise WorkerError("the answer is not a JSON object")
    return {key.lower(): value for key, value in answer.items() if value is not None}


def _decode_status(status: Any) -> int:
    if status is None:
        raise WorkerError("the answer has no status")
    # bool is an int, too.
    if type(status) is not int:
        raise WorkerError("the status of the answer is not an integer")
    # Three digits are all that Go asks for, and applications have statuses of their own.
    if not 100 <= status <= 999:
        raise WorkerError(f"the status of the answer is {status}, 100 to 999 are possible")
    return status


def decode_headers(headers: Any) -> Iterable[tuple[str, str]]:
    """Yield the headers of an answer, name by name in Go's form; see `decode_answer`.

    Raises:
        WorkerError: they are none.
    """
    if not isinstance(headers, dict):
        raise WorkerError("the headers of the answer are not an object")
    left, room = _MAX_VALUES, _MAX_HEADERS
    for name, values in headers.items():
        if values is None:
            continue
        if not isinstance(values, list):
            raise WorkerError(f"the values of the header {name!r} of the answer are not a list")
        for value in values:
            if not isinstance(value, str | None):
                raise WorkerError(f"a value of the header {name!r} of the answer is not a string")
            left, room = left - 1, room - len(name) - len(value or "")
            if left < 0 or room < 0:
                raise WorkerError(
                    f"the answer has more than {_MAX_VALUES} header values, or {_MAX_HEADERS} bytes of them"
                )
            if known := _answered_name(name):
                yield known, _CONTROL.sub(" ", value or "").strip(" \t")


@lru_cache(maxsize=128)
def _answered_name(name: str) -> str:
    """A header name of an answer in Go's form; empty when it is no token. PHP uses few."""
    encoded = name.encode("utf-8", "replace")
    return canonical_name(encoded).decode() if _TOKEN.fullmatch(encoded) else ""


def _decode_body(body: Any) -> bytes:
    if not isinstance(body, str):
        raise WorkerError("the body key of the answer is not a string")
    try:
        return decode_base64(body)
    except ValueError:
        raise WorkerError("the body key of the answer is not base64") from None
