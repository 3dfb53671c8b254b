"""JSON strings exactly as Go's encoders write them.

RoadRunner's frames went through goccy/go-json, whose output equals encoding/json of Go before 1.22: `<`, `>`,
`&`, U+2028 and U+2029 are escaped, control characters other than LF, CR and TAB have the six-character form,
and each byte that is not part of valid UTF-8 becomes the escape of U+FFFD. orjson does nearly that, faster;
what it does otherwise is mended here, only where it occurs.
"""

from __future__ import annotations

import codecs
import re

import orjson

_INVALID = "\ud800"  # cannot come out of a UTF-8 decoder, so it marks a byte that was no UTF-8
_DIFFERENT = re.compile(rb'[<>&]|\xe2\x80[\xa8\xa9]|\\["\\bfnrtu]')
_MAYBE_DIFFERENT = re.compile(rb"[<>&]|\xe2\x80[\xa8\xa9]|\\[bf]")
_GO_FORM = {
    b"<": rb"\u003c",
    b">": rb"\u003e",
    b"&": rb"\u0026",
    b"\xe2\x80\xa8": rb"\u2028",
    b"\xe2\x80\xa9": rb"\u2029",
    rb"\b": rb"\u0008",
    rb"\f": rb"\u000c",
}


def _one_byte_at_a_time(error: UnicodeError) -> tuple[str, int]:
    """Decode on after one invalid byte, as Go does; Python's own handlers skip a whole bad sequence."""
    assert isinstance(error, UnicodeDecodeError)
    return _INVALID, error.start + 1


codecs.register_error("rr_py_ws.go", _one_byte_at_a_time)


def encode_string(text: str | bytes) -> bytes:
    """Encode one JSON string, with its quotes.

    Args:
        text: UTF-8 bytes, or a str. Bytes that are no valid UTF-8 (in a str: lone surrogates, the form in
            which Python keeps undecodable bytes) come out as the escape of U+FFFD, one for each byte.
    """
    if isinstance(text, str):
        try:
            encoded = orjson.dumps(text)
        except TypeError:
            return _encode_invalid(text.encode("utf-8", "surrogateescape"))
    else:
        try:
            encoded = orjson.dumps(text.decode())
        except UnicodeDecodeError:
            return _encode_invalid(text)
    if _MAYBE_DIFFERENT.search(encoded):
        return _DIFFERENT.sub(_go_form, encoded)
    return encoded


def _go_form(found: re.Match[bytes]) -> bytes:
    return _GO_FORM.get(found[0], found[0])


def _encode_invalid(text: bytes) -> bytes:
    parts = text.decode("utf-8", "rr_py_ws.go").split(_INVALID)
    return b'"' + rb"\ufffd".join(encode_string(part)[1:-1] for part in parts) + b'"'
