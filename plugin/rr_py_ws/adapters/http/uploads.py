"""The files of forms, from their first byte until PHP has answered."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import PurePosixPath

from rr_py_ws import logs
from rr_py_ws.adapters.http.spool import FileWriter
from rr_py_ws.adapters.net.threads import in_thread
from rr_py_ws.config import Uploads

log = logs.get_limited("http")


@dataclass(slots=True)
class Upload:
    """A file of a form, as PHP is told of it.

    Attributes:
        name: as the client has named it.
        mime: what the client says that it is.
        size: bytes.
        error: 0 when it is there, else one of PHP's numbers.
        tmpName: where it is.
    """

    name: str
    mime: str
    size: int = 0
    error: int = 0
    tmpName: str = ""


_NO_DIRECTORY, _NOT_WRITTEN, _FORBIDDEN = 6, 7, 8


class UploadFiles:
    """The files of one form; they are gone when it is closed, unless PHP has moved them.

    Args:
        options: where they are made, and which are refused.
        owner: user and group of the workers; None when they run as this process does.
    """

    def __init__(self, options: Uploads, owner: tuple[int, int] | None) -> None:
        self._options = options
        self._owner = owner
        self._paths: list[str] = []
        self._upload: Upload | None = None
        self._file: FileWriter | None = None

    async def begin(self, name: str, mime: str) -> Upload:
        """A file begins."""
        self._upload = upload = Upload(name, mime)
        if self._options.forbids(PurePosixPath(name).suffix.lower()):
            upload.error = _FORBIDDEN
            return upload
        try:
            await in_thread(self._make)
        except OSError as error:
            log.error("an upload cannot be kept, see http.uploads.dir", reason=error.strerror)
            upload.error = _NO_DIRECTORY
        else:
            upload.tmpName = self._paths[-1]
        return upload

    async def write(self, data: bytes) -> None:
        """Take a part of the file."""
        await self._try(data)

    async def end(self) -> None:
        """The file is complete."""
        await self._try(b"")
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _try(self, data: bytes) -> None:
        if self._file is None or self._upload is None or self._upload.error:
            return
        try:
            if data:
                await self._file.write(data)
            else:
                await self._file.flush()
            self._upload.size = self._file.size
        except OSError as error:
            log.error("an upload cannot be written, see http.uploads.dir", reason=error.strerror)
            self._upload.error = _NOT_WRITTEN

    async def close(self) -> None:
        """Remove the files."""
        if self._file is not None:
            self._file.close()
        if self._paths:
            await in_thread(self._remove)

    def _make(self) -> None:
        descriptor, path = tempfile.mkstemp(prefix="upload", dir=self._options.dir or None)
        self._paths.append(path)
        self._file = FileWriter(descriptor)
        if self._owner is not None:
            os.fchown(descriptor, *self._owner)

    def _remove(self) -> None:
        for path in self._paths:
            try:
                os.unlink(path)  # noqa: PTH108
            except FileNotFoundError:  # PHP has moved it
                pass
            except OSError as error:
                text = "an upload cannot be removed, see http.uploads.dir"
                log.error(text, path=path, reason=error.strerror)
