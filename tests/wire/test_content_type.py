from __future__ import annotations

import pytest

from rr_py_ws.wire.content_type import detect_content_type


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "text/plain; charset=utf-8"),
        (b"hello", "text/plain; charset=utf-8"),
        ("grüße\n".encode(), "text/plain; charset=utf-8"),
        (b"a\x1bb", "text/plain; charset=utf-8"),
        (b"a\x00b", "application/octet-stream"),
        (b" " * 512 + b"\0", "text/plain; charset=utf-8"),
        (b" \n<!doctype HTML>", "text/html; charset=utf-8"),
        (b"<p>", "text/html; charset=utf-8"),
        (b"<p", "text/plain; charset=utf-8"),
        (b"<pre>", "text/plain; charset=utf-8"),
        (b'\n<?xml version="1.0"', "text/xml; charset=utf-8"),
        (b"%PDF-1.7", "application/pdf"),
        (b"%!PS-Adobe-3", "application/postscript"),
        (b"\xfe\xff\x00a", "text/plain; charset=utf-16be"),
        (b"\xff\xfea\x00", "text/plain; charset=utf-16le"),
        (b"\xef\xbb\xbfa", "text/plain; charset=utf-8"),
        (b"\x00\x00\x01\x00", "image/x-icon"),
        (b"BM", "image/bmp"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\n\n\n\nWEBPVP", "image/webp"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"ID3", "audio/mpeg"),
        (b"OggS\0", "application/ogg"),
        (b"RIFF1234WAVE", "audio/wave"),
        (b"\x00\x00\x00\x10ftypisom0000mp41", "application/octet-stream"),
        (b"\x00\x00\x00\x14ftypisom0000mp41", "video/mp4"),
        (b"\x00\x00\x00\x14ftypisommp41isom", "application/octet-stream"),
        (b"\x00\x00\x00\x0cftypmp42", "video/mp4"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
        (b"\x00" * 34 + b"LP", "application/vnd.ms-fontobject"),
        (b"\x00\x01\x00\x00", "font/ttf"),
        (b"wOF2", "font/woff2"),
        (b"\x1f\x8b\x08", "application/x-gzip"),
        (b"PK\x03\x04", "application/zip"),
        (b"Rar!\x1a\x07\x01\x00", "application/x-rar-compressed"),
        (b"\0asm", "application/wasm"),
    ],
)
def test_the_beginning_says_what_it_is(data: bytes, found: str) -> None:
    """The answers are those of Go's `http.DetectContentType`."""
    assert detect_content_type(data) == found
