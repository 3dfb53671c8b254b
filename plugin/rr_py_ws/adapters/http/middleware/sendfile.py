"""RoadRunner's middleware `sendfile`: PHP names a file in `X-Sendfile`, and is free while it is sent.

As in RoadRunner 2.12 and later (send plugin.go @v3.3.0). In 2.11 the header of the *request* counted: whoever
sent it was sent any file that the server may read, and PHP's header was passed on. That is not copied.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rr_py_ws import logs
from rr_py_ws.adapters.http.middleware.files import open_file, send_file
from rr_py_ws.adapters.http.middleware.response import RawHeaders, send_text

_NAME = b"x-sendfile"
_OF_THE_BODY = (_NAME, b"accept-ranges", b"content-length", b"content-range", b"transfer-encoding")
"""Headers that speak of the body that PHP sent, which the file takes the place of."""

log = logs.get_limited("http")


class SendFile:
    """Answers with the files that the application names.

    Args:
        app: who names them.
        directory: what relative paths are relative to.
    """

    def __init__(self, app: ASGIApp, directory: Path) -> None:
        self._app = app
        self._directory = os.fsencode(directory)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer, and send the file that it names."""
        path, headers = b"", RawHeaders()

        async def send_or_keep(message: Message) -> None:
            nonlocal path
            if message["type"] == "http.response.start":
                path = next((value for name, value in message["headers"] if name == _NAME), b"")
                headers.extend(field for field in message["headers"] if field[0] not in _OF_THE_BODY)
            if not path:
                await send(message)

        await self._app(scope, receive, send_or_keep)
        if path:
            await self._send(path, headers, scope, send)

    async def _send(self, path: bytes, headers: RawHeaders, scope: Scope, send: Send) -> None:
        if b".." in path:
            await send_text(send, 403, headers)
            return
        try:
            file = open_file(posixpath.join(self._directory, path))
        except FileNotFoundError:
            await send_text(send, 404, headers, "not found")
            return
        except OSError as error:
            log.warning("X-Sendfile: cannot be read", path=os.fsdecode(path), reason=error.strerror)
            await send_text(send, 500, headers, "the file cannot be read")
            return
        with file:
            await send_file(file, "", headers, scope, send)
