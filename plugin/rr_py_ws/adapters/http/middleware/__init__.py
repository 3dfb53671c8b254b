"""RoadRunner's `http.middleware`, as ASGI applications around the one that serves the pages."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from rr_py_ws import config, logs
from rr_py_ws.adapters.http.middleware.gzip import GZip
from rr_py_ws.adapters.http.middleware.headers import Headers
from rr_py_ws.adapters.http.middleware.metrics import HTTPMetrics, RequestMetrics
from rr_py_ws.adapters.http.middleware.response import PresetHeaders, send_text
from rr_py_ws.adapters.http.middleware.sendfile import SendFile
from rr_py_ws.adapters.http.middleware.static import Static
from rr_py_ws.metrics import Metric
from rr_py_ws.wire import http as wire

__all__ = ["RequestMetrics", "WithMiddleware", "build", "not_found"]

_ELSEWHERE = ("websockets", "proxy_ip_parser")
"""Names that stand for what other parts of the program do."""

log = logs.get_logger("http")


def build(app: ASGIApp, section: config.HTTP, directory: Path, metrics: RequestMetrics) -> ASGIApp:
    """Put the middleware of a file around an application.

    As in RoadRunner, the last of the list sees a request first (http helpers/middleware.go @v2.23.5).

    Args:
        app: what serves the pages.
        section: `http`.
        directory: what paths in the file are relative to.
        metrics: where `http_metrics` counts.
    """
    if section.middleware:
        app = PresetHeaders(app)
    for name in section.middleware:
        if name == "static" and section.static is not None:
            app = Static(app, section.static, directory)
        elif name == "headers" and section.headers is not None:
            app = Headers(app, section.headers)
        elif name == "gzip":
            app = GZip(app)
        elif name == "http_metrics":
            app = HTTPMetrics(app, metrics)
        elif name == "sendfile":
            app = SendFile(app, directory)
        elif name not in _ELSEWHERE:
            log.warning("requested middleware does not exist", requested=name)
    return app


class WithMiddleware:
    """An application and its middleware, which can become other middleware while it serves.

    Args:
        app: what serves the pages.
        section: `http`.
        directory: what paths in the file are relative to.
    """

    def __init__(self, app: ASGIApp, section: config.HTTP, directory: Path) -> None:
        self._app = app
        self._directory = directory
        self._metrics = RequestMetrics()
        self.reload(section)

    def reload(self, section: config.HTTP) -> None:
        """Answer by other rules from the next request on."""
        self._stack = build(self._app, section, self._directory, self._metrics)
        self._counts = "http_metrics" in section.middleware

    def metrics(self) -> Iterator[Metric]:
        """Read what `http_metrics` counts, when it is there; see `metrics.MetricSource`."""
        if self._counts:
            yield from self._metrics.metrics()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer a request."""
        return self._stack(scope, receive, send)


def not_found(served: str) -> ASGIApp:
    """Make the application for a server that has files, and nobody who makes pages.

    Args:
        served: what is served instead.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        verdict = wire.not_found(scope["path"], served)
        await send_text(send, verdict.status, [], verdict.body.decode().rstrip())

    return app
