"""Forms of the type multipart/form-data, as they arrive: fields and files, by `python-multipart`."""

from __future__ import annotations

import posixpath
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from rr_py_ws.errors import ProtocolError


class PartBegin(NamedTuple):
    """A field or a file begins.

    Attributes:
        name: of the field.
        file: name of the file, without directories; None for a field.
        mime: what the client says that the file is.
    """

    name: str
    file: str | None
    mime: str


class PartEnd(NamedTuple):
    """A field or a file is complete."""


Event = PartBegin | bytes | PartEnd
"""What a piece of the body has; bytes are content."""


class MultipartDecoder:
    """Turns the body of a form into fields and files.

    A part that has no name is left out, as Go does. So is a file without a name, which is a field then: that
    is what browsers send where no file was chosen.

    Args:
        content_type: the header of the request.

    Attributes:
        complete: whether the end of the form has come.

    Raises:
        ProtocolError: it has no boundary.
    """

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise ProtocolError("no multipart boundary param in Content-Type")
        self.complete = False
        self._events: list[Event] = []
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._wanted = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise ProtocolError(f"bad form: {error}") from None

    def feed(self, data: bytes) -> list[Event]:
        """Take a piece of the body.

        Raises:
            ProtocolError: this is no such form.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise ProtocolError(f"bad form: {error}") from None
        events, self._events = self._events, []
        return events

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers.setdefault(self._name.lower(), self._value)
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"") if disposition == b"form-data" else b""
        self._wanted = bool(name)
        if self._wanted:
            file = options.get(b"filename", b"").decode("utf-8", "replace")
            mime = self._headers.get(b"content-type", b"").decode("utf-8", "replace")
            self._events.append(
                PartBegin(name.decode("utf-8", "replace"), posixpath.basename(file) if file else None, mime)
            )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._events.append(data[start:end])

    def _on_part_end(self) -> None:
        if self._wanted:
            self._events.append(PartEnd())

    def _on_end(self) -> None:
        self.complete = True
