"""Content types by extension, as Go's `mime` package knows them: a few, and those of the system."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

_BUILT_IN = {
    ".avif": "image/avif",
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
    ".xml": "text/xml; charset=utf-8",
}
"""Those of Go 1.19, which RoadRunner 2.11 is built with."""
GLOBS = ("/usr/local/share/mime/globs2", "/usr/share/mime/globs2")
TYPES = (
    "/etc/mime.types",
    "/etc/apache2/mime.types",
    "/etc/apache/mime.types",
    "/etc/httpd/conf/mime.types",
)


@cache
def mime_types(globs: Sequence[str] = GLOBS, types: Sequence[str] = TYPES) -> dict[str, str]:
    """Return extension with its dot -> content type.

    Args:
        globs: databases of freedesktop.org; the first that there is counts, and nothing of `types` then.
        types: tables of other programs, one after the other.
    """
    known = dict(_BUILT_IN)
    for path in globs:
        if (lines := _lines(path)) is not None:
            for extension, content_type in _of_globs(lines):
                known.setdefault(extension, _with_charset(content_type))
            return known
    for path in types:
        for extension, content_type in _of_types(_lines(path) or ()):
            known[extension] = _with_charset(content_type)
    return known


def _lines(path: str) -> list[str] | None:
    try:
        return Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return None


def _of_globs(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Lines such as `50:image/png:*.png`, those that count most first."""
    for line in lines:
        fields = line.split(":")
        if len(fields) >= 3 and fields[0][:1] != "#" and fields[2].startswith("*."):
            extension = fields[2][1:]
            if len(extension) > 1 and not set(extension) & set("?*["):
                yield extension, fields[1]


def _of_types(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Lines such as `image/jpeg jpeg jpg # a comment`."""
    for line in lines:
        content_type, *extensions = line.partition("#")[0].split() or [""]
        yield from ((f".{extension}", content_type) for extension in extensions)


def _with_charset(content_type: str) -> str:
    if content_type.startswith("text/") and "charset=" not in content_type:
        return f"{content_type}; charset=utf-8"
    return content_type
