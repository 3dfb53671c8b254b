"""The section `http` as far as it is about pages: what RoadRunner's http plugin reads."""

from __future__ import annotations

from typing import Annotated

from rr_py_ws.config import quantities, values
from rr_py_ws.config.section import RRSection, Text, decoded

_FORBIDDEN = (".php", ".exe", ".bat")


def _extensions(value: object) -> tuple[str, ...]:
    return tuple(extension.strip().lower() for extension in values.text_list(value))


def http_status(value: object) -> int:
    """An HTTP status from 200 to 599; 0 is the default."""
    return quantities.count(value) and quantities.count(value, 200, 599, "an HTTP status from 200 to 599")


class Uploads(RRSection):
    """`http.uploads`: the files of forms.

    Attributes:
        dir: where they are kept until PHP has answered; empty: the system's directory.
        forbid: extensions that PHP gets as an error.
        allow: when there are any, all others are forbidden.
    """

    dir: Text = ""
    forbid: Annotated[tuple[str, ...], decoded(_extensions)] = _FORBIDDEN
    allow: Annotated[tuple[str, ...], decoded(_extensions)] = ()

    def forbids(self, extension: str) -> bool:
        """Whether a file with this extension, `.php`, is refused; it is in lower case."""
        return extension in self.forbid or bool(self.allow and extension not in self.allow)
