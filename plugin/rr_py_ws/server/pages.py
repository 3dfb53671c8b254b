"""What answers requests for no path of ours, where anything does: PHP, files, or another server."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.types import ASGIApp

from rr_py_ws import config
from rr_py_ws.adapters.http.gateway import Gateway
from rr_py_ws.adapters.http.listener import HTTPListener
from rr_py_ws.adapters.http.middleware import WithMiddleware, not_found
from rr_py_ws.adapters.http.pages import Exchanges
from rr_py_ws.adapters.http.php import PHPPages
from rr_py_ws.adapters.net.accounts import find_account
from rr_py_ws.core.ports import QuestionPool
from rr_py_ws.metrics import MetricSource


class Pages:
    """The application of a listener's pages, with its middleware.

    Args:
        loaded: the configuration.
        listener: whose pages they are; what answers them is put there.
        workers: answer requests; None: nobody asks them.

    Attributes:
        gateway: passes on what nobody here answers; None without `websockets.http.forward`.
    """

    def __init__(self, loaded: config.Config, listener: HTTPListener, workers: QuestionPool | None) -> None:
        section = loaded.settings
        self.gateway = Gateway(section.http, listener) if section.http.forward else None
        self._php = _php(loaded, workers) if workers is not None else None
        app: ASGIApp = not_found(listener.not_found)
        if self.gateway is not None:
            app = self.gateway.forward
        elif self._php is not None:
            app = self._php
        self._middleware: WithMiddleware | None = None
        if loaded.http is not None and not section.address:  # else `http` is that of a RoadRunner
            app = self._middleware = WithMiddleware(app, loaded.http, loaded.directory)
        self._exchanges = listener.pages = Exchanges(app, section.limits.page_timeout)

    @property
    def has_middleware(self) -> bool:
        """Whether the section `http` is ours."""
        return self._middleware is not None

    def metric_sources(self) -> Iterator[MetricSource]:
        """Yield the parts that have something to tell."""
        for part in (self._php, self.gateway, self._middleware):
            if part is not None:
                yield part

    def reload(self, loaded: config.Config) -> None:
        """Take everything that can change while clients are served: see `server.changes`."""
        section, http = loaded.settings, loaded.http
        self._exchanges.reload(section.limits.page_timeout)
        if self.gateway is not None:
            self.gateway.reload(section.http, section.limits.max_refusal_size)
        if self._middleware is not None and http is not None:
            self._middleware.reload(http)
        if self._php is not None and http is not None:
            self._php.reload(http, section.limits)


def _php(loaded: config.Config, workers: QuestionPool) -> PHPPages:
    assert loaded.http is not None and loaded.server is not None
    # Workers read and move the files of uploads.
    account = find_account(loaded.server.user) if loaded.server.user else None
    owner = (account.pw_uid, account.pw_gid) if account else None
    return PHPPages(workers, loaded.http, loaded.settings.limits, owner)
