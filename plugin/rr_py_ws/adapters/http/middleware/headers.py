"""RoadRunner's middleware `headers` (headers plugin.go @v2.13.4): fixed headers, and CORS."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from rr_py_ws import config
from rr_py_ws.adapters.http.middleware.response import RawHeaders, preset_headers, send_text, set_headers

_PREFLIGHT_VARY = (b"Origin", b"Access-Control-Request-Method", b"Access-Control-Request-Headers")


class Headers:
    """Adds headers to requests and answers; with `cors`, answers every OPTIONS request itself.

    Args:
        app: who answers.
        section: `http.headers`.
    """

    def __init__(self, app: ASGIApp, section: config.Headers) -> None:
        self._app = app
        self._request = config.header_fields(section.request)
        self._response = config.header_fields(section.response)
        self._cors = _cors(section.cors) if section.cors else None
        self._preflight = _preflight(section.cors) if section.cors else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight request, or have the application answer."""
        headers = preset_headers(scope)
        set_headers(headers, self._response)
        if self._cors is not None:
            if scope["method"] == "OPTIONS":
                headers += [(b"vary", name) for name in _PREFLIGHT_VARY]
                set_headers(headers, self._preflight)
                await send_text(send, 200, headers)
                return
            headers.append((b"vary", b"Origin"))
            set_headers(headers, self._cors)
        if self._request:
            scope = {**scope, "headers": [*scope["headers"], *self._request]}
        await self._app(scope, receive, send)


def _cors(cors: config.CORS) -> RawHeaders:
    return _fields(
        ("origin", cors.allowed_origin),
        ("headers", cors.allowed_headers),
        ("credentials", cors.allow_credentials),
        exposed=cors.exposed_headers,
    )


def _preflight(cors: config.CORS) -> RawHeaders:
    return _fields(
        ("origin", cors.allowed_origin),
        ("headers", cors.allowed_headers),
        ("methods", cors.allowed_methods),
        ("credentials", cors.allow_credentials),
        max_age=cors.max_age,
    )


def _fields(*allowed: tuple[str, str], exposed: str = "", max_age: int = 0) -> RawHeaders:
    """Make the headers that have a value."""
    named = {
        **{f"Access-Control-Allow-{name}": value for name, value in allowed},
        "Access-Control-Expose-Headers": exposed,
        "Access-Control-Max-Age": str(max_age or ""),
    }
    return config.header_fields({name: value for name, value in named.items() if value})
