"""The middleware of `http`: its sections `static` and `headers`, and what `check` says of the list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from rr_py_ws.config.report import Finding, about
from rr_py_ws.config.section import Count, Flag, RRSection, Text, TextList, decoded
from rr_py_ws.config.suggestion import did_you_mean
from rr_py_ws.config.values import boolean, map_of_texts, shown, text

SERVED = ("gzip", "headers", "http_metrics", "sendfile", "static")
"""Middleware that is a part of this program."""
ELSEWHERE = ("proxy_ip_parser", "websockets")
"""Names that stand for what other parts of this program do."""
NOT_SERVED = {
    "cache": "RoadRunner's HTTP cache (Souin)",
    "circuit_breaker": "a circuit breaker of other builds of RoadRunner",
    "fileserver": "a plugin of its own in RoadRunner, no middleware",
    "http3": "HTTP/3, which is no middleware and not served",
    "new_relic": "RoadRunner's agent of New Relic",
    "otel": "RoadRunner's OpenTelemetry traces",
    "prometheus": "the old name of http_metrics",
    "rate_limiter": "a rate limiter of other builds of RoadRunner",
    "sendremotefile": "files of other servers, of RoadRunner 2023.3 and later",
}
"""Middleware of RoadRunner that is no part of this program: name -> what it is."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-zA-Z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _header_map(value: object) -> dict[str, str]:
    """A map of headers, or a list of maps, which are merged; line ends in values are spaces, as in Go."""
    found = map_of_texts(value, "accepted: a map of header names and their values", _header_problem)
    return {name: _one_line(entry) for name, entry in found.items()}


def _one_line(entry: str) -> str:
    return entry.replace("\r", " ").replace("\n", " ").strip(" \t")


def _header_problem(name: str, entry: str) -> str:
    if not _NAME.fullmatch(name):
        return f"{shown(name)} is no name of a header, accepted: letters, digits and dashes"
    if _CONTROL.search(_one_line(entry)):
        return "has a control character, accepted: a text without"
    return ""


def _true_or_false(value: object) -> str:
    return "true" if boolean(value) else "false"


HeaderMap = Annotated[dict[str, str], decoded(_header_map)]
HeaderText = Annotated[str, decoded(lambda value: " ".join(text(value).split()))]


class CORS(RRSection):
    """`http.headers.cors`: what pages of other origins may do; an empty text is no header.

    Attributes:
        allow_credentials: `true` or `false`; empty: no header.
        max_age: seconds that a browser may remember a preflight; 0: no header.
    """

    allowed_origin: HeaderText = ""
    allowed_headers: HeaderText = ""
    allowed_methods: HeaderText = ""
    allow_credentials: Annotated[str, decoded(_true_or_false)] = ""
    exposed_headers: HeaderText = ""
    max_age: Count = 0


class Headers(RRSection):
    """`http.headers`: headers for every request and answer."""

    cors: CORS | None = None
    request: HeaderMap = Field(default_factory=dict)
    response: HeaderMap = Field(default_factory=dict)


class Static(RRSection):
    """`http.static`: a directory whose files are served.

    Attributes:
        dir: the directory, relative to that of the file.
        forbid: extensions, each with its dot, that are left to PHP.
        allow: the only extensions that are served; none: all that are not forbidden.
        calculate_etag: whether files have an `ETag`.
        weak: make it of the name only, and not of what is in the file.
        request: headers that are added to requests for files; nothing reads them.
        response: headers of the answers.
    """

    dir: Text = ""
    forbid: TextList = ()
    allow: TextList = ()
    calculate_etag: Flag = False
    weak: Flag = False
    request: HeaderMap = Field(default_factory=dict)
    response: HeaderMap = Field(default_factory=dict)

    @property
    def extensions(self) -> tuple[frozenset[str], frozenset[str]]:
        """Those that are forbidden, and those that are allowed; without the latter all others are."""
        # Requests are compared in lower case. What is forbidden in upper case is meant all the same.
        forbidden = frozenset(entry.lower() for entry in self.forbid if entry)
        return forbidden, frozenset(filter(None, self.allow)) - forbidden


def header_fields(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as ASGI has them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def middleware_findings(
    names: tuple[str, ...],
    static: Static | None,
    headers: Headers | None,
    directory: Path,
    *,
    serves_pages: bool,
) -> Iterator[Finding]:
    """Say what becomes of each name in `http.middleware`, and of the sections of those that have one.

    Args:
        names: the list.
        static: `http.static`.
        headers: `http.headers`.
        directory: what paths in the file are relative to.
        serves_pages: whether requests for pages are answered.
    """
    sections: dict[str, object | None] = {"static": static, "headers": headers}
    for name in filter(None, dict.fromkeys(names)):  # of a variable without a value
        key = f"http.middleware[{names.index(name)}]"
        if name in SERVED and not serves_pages:
            yield about(key, "ignored", f"{name}: for pages, and nobody serves any")
        elif name in SERVED and sections.get(name, True) is not None:
            yield about(key, "used", name)
        elif name in SERVED:
            yield about(key, "warning", f"{name} does nothing: there is no section http.{name}")
        elif name in NOT_SERVED:
            yield about(key, "ignored", f"{name} does nothing here: {NOT_SERVED[name]}")
        # Programs that were built from RoadRunner with plugins of their own.
        elif name not in ELSEWHERE:
            text = f"{name} is not run here: if it decides who may connect, do not start this server"
            meant = did_you_mean(name, (*SERVED, *ELSEWHERE, *NOT_SERVED))
            yield about(key, "warning", f"{text}{meant}")
    for name, section in sections.items():
        if section is not None and name not in names:
            yield about(f"http.{name}", "ignored", f"http.middleware does not list {name}")
    if static is not None and "static" in names:
        yield from _static_findings(static, directory)


def _static_findings(static: Static, directory: Path) -> Iterator[Finding]:
    yield from extension_findings("http.static", static.forbid, static.allow)
    forbidden, allowed = static.extensions
    if not allowed and ".php" not in forbidden:
        text = ".php is missing, so sources of PHP in http.static.dir can be read"
        yield about("http.static.forbid", "warning", text)
    if (directory / static.dir).resolve() == directory.resolve():
        text = "this is the directory of the program, so its configuration can be read, .env too"
        yield about("http.static.dir", "warning", text)


def extension_findings(key: str, forbid: Iterable[str], allow: Iterable[str]) -> Iterator[Finding]:
    """Find what is meant as an extension and is none, so that no file has it.

    Args:
        key: the section.
        forbid: its list of extensions that are forbidden.
        allow: its list of those that are allowed.
    """
    for name, entries in (("forbid", forbid), ("allow", allow)):
        for entry in entries:
            if entry and not entry.startswith("."):
                meant = shown("." + entry.lstrip("*."))
                yield about(f"{key}.{name}", "warning", f"{shown(entry)} is no extension: write {meant}")
