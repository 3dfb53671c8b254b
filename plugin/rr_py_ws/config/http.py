"""`http`: the listener that browsers reach, and the pages behind it."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from rr_py_ws.config import quantities, values
from rr_py_ws.config.middleware import Headers, Static
from rr_py_ws.config.section import Address, Flag, Networks, RRSection, Text, TextList, decoded
from rr_py_ws.config.workers import Command, Pool

ClientAuth = Literal[
    "no_client_cert",
    "request_client_cert",
    "require_any_client_cert",
    "verify_client_cert_if_given",
    "require_and_verify_client_cert",
]

_FORBIDDEN = (".php", ".exe", ".bat")


def _extensions(value: object) -> tuple[str, ...]:
    return tuple(extension.strip().lower() for extension in values.text_list(value))


def _client_auth(value: object) -> str:
    # RoadRunner's sample file writes the first word with an s, its code without.
    return values.one_of(*get_args(ClientAuth))("no_client_cert" if value == "no_client_certs" else value)


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


class SSL(RRSection):
    """`http.ssl`: TLS is on when a certificate or a key is named."""

    address: Address = "127.0.0.1:443"
    cert: Text = ""
    key: Text = ""
    root_ca: Text = ""
    redirect: Flag = False
    client_auth_type: Annotated[ClientAuth, decoded(_client_auth)] = "no_client_cert"

    @property
    def asks_for_certificates(self) -> bool:
        """Whether clients are asked for a certificate. As in RoadRunner, not without an authority."""
        return bool(self.root_ca) and self.client_auth_type != "no_client_cert"

    @property
    def requires_certificates(self) -> bool:
        """Whether the file wants nobody without a certificate to come in."""
        return self.client_auth_type.startswith("require_")


class HTTPPool(Pool):
    """`http.pool`: the workers that answer requests for pages.

    Attributes:
        command: instead of `server.command`.
    """

    command: Command = ()


class HTTP(RRSection):
    """`http`: the listener that browsers reach, and the pages behind it.

    Attributes:
        pool: the workers that answer requests for pages.
        max_request_size: bytes of a body; the file has MiB. Over it the answer is 413.
        internal_error_code: status of the answer when a worker fails.
        access_logs: whether the log line of a request is at level info and tells more.
        raw_body: whether PHP gets urlencoded forms as they are.
    """

    address: Address = ""
    middleware: TextList = ()
    ssl: SSL | None = None
    trusted_subnets: Networks = ()
    pool: HTTPPool = HTTPPool()
    max_request_size: Annotated[int, decoded(quantities.mebibytes)] = 1000 * 1024 * 1024
    internal_error_code: Annotated[int, decoded(http_status)] = 500
    access_logs: Flag = False
    raw_body: Flag = False
    uploads: Uploads = Uploads()
    static: Static | None = None
    headers: Headers | None = None

    @property
    def serves_files(self) -> bool:
        """Whether files of a directory are served, also without PHP."""
        return self.static is not None and "static" in self.middleware
