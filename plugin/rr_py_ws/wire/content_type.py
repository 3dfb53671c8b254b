"""What bytes are, by their beginning: the rules of Go's net/http, `DetectContentType`.

For files and answers that do not say it themselves; see https://mimesniff.spec.whatwg.org/.
"""

from __future__ import annotations

import re

SNIFFED = 512
"""Bytes that are looked at."""

_TEXT = "text/plain; charset=utf-8"
_HTML = re.compile(
    rb"[\t\n\f\r ]*<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p|!--)"
    rb"[ >]",
    re.IGNORECASE,
)
_XML = re.compile(rb"[\t\n\f\r ]*<\?xml")
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_SIGNATURES = (
    (rb"%PDF-", "application/pdf"),
    (rb"%!PS-Adobe-", "application/postscript"),
    (rb"\xfe\xff..", "text/plain; charset=utf-16be"),
    (rb"\xff\xfe..", "text/plain; charset=utf-16le"),
    (rb"\xef\xbb\xbf.", _TEXT),
    (rb"\x00\x00[\x01\x02]\x00", "image/x-icon"),
    (rb"BM", "image/bmp"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF....WEBPVP", "image/webp"),
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"FORM....AIFF", "audio/aiff"),
    (rb"ID3", "audio/mpeg"),
    (rb"OggS\x00", "application/ogg"),
    (rb"MThd\x00\x00\x00\x06", "audio/midi"),
    (rb"RIFF....AVI ", "video/avi"),
    (rb"RIFF....WAVE", "audio/wave"),
)
_MORE_SIGNATURES = (  # after MP4, which no pattern describes
    (rb"\x1a\x45\xdf\xa3", "video/webm"),
    (rb".{34}LP", "application/vnd.ms-fontobject"),
    (rb"\x00\x01\x00\x00", "font/ttf"),
    (rb"OTTO", "font/otf"),
    (rb"ttcf", "font/collection"),
    (rb"wOFF", "font/woff"),
    (rb"wOF2", "font/woff2"),
    (rb"\x1f\x8b\x08", "application/x-gzip"),
    (rb"PK\x03\x04", "application/zip"),
    (rb"Rar!\x1a\x07(?:\x00|\x01\x00)", "application/x-rar-compressed"),
    (rb"\x00asm", "application/wasm"),
)


def _any_of(signatures: tuple[tuple[bytes, str], ...]) -> re.Pattern[bytes]:
    """One pattern, in which the number of the group that matched is that of the signature."""
    return re.compile(b"|".join(b"(" + pattern + b")" for pattern, _ in signatures), re.DOTALL)


_EARLY, _LATE = _any_of(_SIGNATURES), _any_of(_MORE_SIGNATURES)


def detect_content_type(data: bytes) -> str:
    """Guess a content type; there always is one."""
    start = data[:SNIFFED]
    if _HTML.match(start):
        return "text/html; charset=utf-8"
    if _XML.match(start):
        return "text/xml; charset=utf-8"
    if found := _EARLY.match(start):
        return _SIGNATURES[(found.lastindex or 1) - 1][1]
    if _is_mp4(start):
        return "video/mp4"
    if found := _LATE.match(start):
        return _MORE_SIGNATURES[(found.lastindex or 1) - 1][1]
    return "application/octet-stream" if _BINARY.search(start) else _TEXT


def _is_mp4(start: bytes) -> bool:
    """Whether the first box is of the type `ftyp` and one of its brands begins with mp4."""
    size = int.from_bytes(start[:4], "big")
    if len(start) < 12 or len(start) < size or size % 4 or start[4:8] != b"ftyp":
        return False
    # The four bytes at 12 are the version of the first brand.
    return any(start[at : at + 3] == b"mp4" for at in range(8, size, 4) if at != 12)
