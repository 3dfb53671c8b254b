"""RoadRunner's middleware `static` (static plugin.go @v2.14.4): files of a directory before PHP.

As in RoadRunner the method does not count, symbolic links are followed, names that begin with a dot are
served, and a path that has two dots anywhere is 403; what has no extension, one that is forbidden or not
allowed, or is no file, is for PHP.
"""

from __future__ import annotations

import errno
import os
import posixpath
from pathlib import Path
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from rr_py_ws import config, logs
from rr_py_ws.adapters.http.middleware.etags import ETags
from rr_py_ws.adapters.http.middleware.files import File, open_file, send_file
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
        self._types = mime_types()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file, or have the application answer."""
        path = unquote_to_bytes(scope["raw_path"])
        if b".." in path:
            await send_text(send, 403, preset_headers(scope))
            return
        path = path.translate(None, b"\r\n")
        extension = _extension(path)
        if not self._serves(extension.lower()):
            await self._app(scope, receive, send)
            return
        try:
            # No path begins with two slashes: POSIX lets them mean something else, and normpath keeps them.
            file = open_file(self._root + posixpath.normpath(b"/" + path.lstrip(b"/")))
        except OSError as error:
            if error.errno in OUT_OF_DESCRIPTORS:
                log.warning("no file descriptor is left for a file", path=os.fsdecode(path))
                await send_text(send, 503, preset_headers(scope), "too many open files")
            else:
                await self._app(scope, receive, send)
            return
        with file:
            await self._send(file, extension, scope, send)

    def _serves(self, extension: str) -> bool:
        if not extension or extension in self._forbidden:
            return False
        return not self._allowed or extension in self._allowed

    async def _send(self, file: File, extension: str, scope: Scope, send: Send) -> None:
        headers = preset_headers(scope)
        if self._etags is not None and (etag := await self._etags.of(file)):
            set_headers(headers, [(b"etag", etag)])
        if self._request:
            scope = {**scope, "headers": [*scope["headers"], *self._request]}
        set_headers(headers, self._response)
        content_type = self._types.get(extension) or self._types.get(extension.lower(), "")
        await send_file(file, content_type, headers, scope, send)


def _extension(path: bytes) -> str:
    """Return what follows the last dot of the name, with the dot (Go's `path.Ext`): `/.env` has one."""
    name = path[path.rfind(b"/") + 1 :]
    dot = name.rfind(b".")
    return "" if dot < 0 else os.fsdecode(name[dot:])
