"""JSON strings exactly as Go's encoders write them.

RoadRunner's frames went through goccy/go-json, whose output equals encoding/json of Go before 1.22: `<`, `>`,
`&`, U+2028 and U+2029 are escaped, control characters other than LF, CR and TAB have the six-character form,
and each byte that is not part of valid UTF-8 becomes the escape of U+FFFD. orjson does nearly that, faster;
what it does otherwise is mended here, only where it occurs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

_LT, _GT, _AMP, _BACKSLASH, _BS, _FF = b"<>&\\\b\f"
_SEPARATOR = 0xE2  # the first byte of U+2028 and U+2029, and of few other characters
_PIECE = 64 * 1024
"""Bytes of a text that are encoded at a time."""
_MARK = "\ufffe"
"""Begins what stands for two characters while a `?` stands for each surrogate. It may be in a text, too."""


def encode_string(text: str | bytes) -> bytes:
    """Encode one JSON string, with its quotes.

    Args:
        text: UTF-8 bytes, or a str. Bytes that are no valid UTF-8 (in a str: lone surrogates, the form in
            which Python keeps undecodable bytes) come out as the escape of U+FFFD, one for each byte.
    """
    if isinstance(text, str):
        has_controls = "\b" in text or "\f" in text
    else:
        has_controls = _BS in text or _FF in text
        text = text.decode("utf-8", "surrogateescape")
    try:
        encoded = orjson.dumps(text)
    except orjson.JSONEncodeError:  # surrogates
        encoded = _escape_surrogates(orjson.dumps(_hide_surrogates(text)))
    encoded = _mend(encoded)
    return _mend_controls(encoded) if has_controls else encoded


def encode_pieces(text: bytes) -> Iterator[bytes]:
    """Encode one JSON string, as `encode_string` does; yields it in pieces, each of a millisecond or two."""
    start, size = 0, len(text)
    yield b'"'
    while start < size:
        end = start + _PIECE
        # No character is cut; bytes that are none may be cut anywhere.
        while end > start + _PIECE - 4 and end < size and 0x80 <= text[end] < 0xC0:
            end -= 1
        yield encode_string(text[start:end])[1:-1]
        start = end
    yield b'"'


def encode_strings(texts: Sequence[str]) -> bytes:
    """Encode a list of strings, as `encode_string` would one by one, in a tenth of the time."""
    try:
        encoded = orjson.dumps(texts)
    except orjson.JSONEncodeError:  # surrogates in one of them
        encoded = _escape_surrogates(orjson.dumps([_hide_surrogates(text) for text in texts]))
    encoded = _mend(encoded)
    # Nearly no list has a backslash, for which alone the texts would be looked through one by one.
    return _mend_controls(encoded) if _BACKSLASH in encoded else encoded


def escape_not_ascii(encoded: bytes) -> bytes:
    """Escape what is no ASCII and to be escaped, in JSON in which all else is escaped already.

    Args:
        encoded: JSON, or a part of it; it may have bytes that are no valid UTF-8.
    """
    if encoded.isascii():
        return encoded
    try:
        encoded.decode()
    except UnicodeDecodeError:
        encoded = _escape_surrogates(_hide_surrogates(encoded.decode("utf-8", "surrogateescape")).encode())
    return _mend(encoded)


def _mend(encoded: bytes) -> bytes:
    """Escape what orjson leaves as it is and Go does not.

    To look for one byte takes no time at all, for several of them a nanosecond for each that is looked at.
    """
    if _LT in encoded:
        encoded = encoded.replace(b"<", rb"\u003c")
    if _GT in encoded:
        encoded = encoded.replace(b">", rb"\u003e")
    if _AMP in encoded:
        encoded = encoded.replace(b"&", rb"\u0026")
    if _SEPARATOR in encoded:
        encoded = encoded.replace("\u2028".encode(), rb"\u2028").replace("\u2029".encode(), rb"\u2029")
    return encoded


def _mend_controls(encoded: bytes) -> bytes:
    """Give backspace and form feed the form that Go gives them."""
    # So that a backslash that is escaped begins no escape; orjson never writes this byte.
    encoded = encoded.replace(rb"\\", b"\0")
    return encoded.replace(rb"\b", rb"\u0008").replace(rb"\f", rb"\u000c").replace(b"\0", rb"\\")


def _hide_surrogates(text: str) -> str:
    """Put a `?` in place of each surrogate. Codecs do that in no time, a table of characters is slow."""
    text = text.replace(_MARK, f"{_MARK}A").replace("?", f"{_MARK}B")
    return text.encode("utf-8", "replace").decode()


def _escape_surrogates(encoded: bytes) -> bytes:
    """Write what `_hide_surrogates` has hidden as escapes of U+FFFD, and everything else as it was."""
    mark = _MARK.encode()
    encoded = encoded.replace(b"?", rb"\ufffd")
    return encoded.replace(mark + b"B", b"?").replace(mark + b"A", mark)
