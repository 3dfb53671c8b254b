"""RoadRunner's middleware `static` (static plugin.go @v2.14.4): files of a directory before PHP.

As in RoadRunner the method does not count, symbolic links are followed, names that begin with a dot are
served, and a path that has two dots anywhere is 403; what has no extension, one that is forbidden or not
allowed, or is no file, is for PHP.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Awaitable
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from rr_py_ws import config, logs
from rr_py_ws.adapters.http.middleware.etags import ETags
from rr_py_ws.adapters.http.middleware.files import File, send_file
from rr_py_ws.adapters.http.middleware.kept_files import KeptFiles
from rr_py_ws.adapters.http.middleware.mime_types import mime_types
from rr_py_ws.adapters.http.middleware.response import preset_headers, send_text, set_headers

OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)

log = logs.get_limited("http")


class Static:
    """Serves what is there, and lets the application answer what is not.

    Args:
        app: who answers everything else.
        section: `http.static`.
        directory: what `dir` is relative to.
    """

    def __init__(self, app: ASGIApp, section: config.Static, directory: Path) -> None:
        self._app = app
        self._root = os.fsencode(directory / section.dir)
        self._forbidden, self._allowed = section.extensions
        self._request = config.header_fields(section.request)
        self._response = config.header_fields(section.response)
        self._etags = ETags(weak=section.weak) if section.calculate_etag else None
        self._files = KeptFiles()
        self._types = mime_types()
        self._type_of = lru_cache(maxsize=256)(self._look_up)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer with a file, or have the application answer."""
        path = scope["raw_path"]
        if b"%" in path:
            path = unquote_to_bytes(path)
        path = path.translate(None, b"\r\n")
        if b".." in path:
            return send_text(send, 403, preset_headers(scope))
        content_type = self._type_of(_extension(path))
        if content_type is None:
            return self._app(scope, receive, send)
        try:
            file = self._files.open(self._root + _normal(path))
        except OSError as error:
            if error.errno in OUT_OF_DESCRIPTORS:
                log.warning("no file descriptor is left for a file", path=os.fsdecode(path))
                return send_text(send, 503, preset_headers(scope), "too many open files")
            return self._app(scope, receive, send)
        return self._send(file, content_type, scope, send)

    def _look_up(self, extension: bytes) -> str | None:
        """Return the content type of files with an extension; None: they are not served."""
        exact = os.fsdecode(extension)
        known = exact.lower()
        if not known or known in self._forbidden or (self._allowed and known not in self._allowed):
            return None
        return self._types.get(exact) or self._types.get(known, "")

    async def _send(self, file: File, content_type: str, scope: Scope, send: Send) -> None:
        with file:
            headers = preset_headers(scope)
            if self._etags is not None and (etag := await self._etags.of(file)):
                set_headers(headers, [(b"etag", etag)])
            if self._request:
                scope = {**scope, "headers": [*scope["headers"], *self._request]}
            set_headers(headers, self._response)
            await send_file(file, content_type, headers, scope, send)


def _extension(path: bytes) -> bytes:
    """Return what follows the last dot of the name, with the dot (Go's `path.Ext`): `/.env` has one."""
    dot = path.rfind(b".", path.rfind(b"/") + 1)
    return b"" if dot < 0 else path[dot:]


def _normal(path: bytes) -> bytes:
    """Return a path without what does not count in it, such as a second slash."""
    if path.startswith(b"/") and b"//" not in path and b"/." not in path and not path.endswith(b"/"):
        return path
    # No path begins with two slashes: POSIX lets them mean something else, and normpath keeps them.
    return posixpath.normpath(b"/" + path.lstrip(b"/"))
