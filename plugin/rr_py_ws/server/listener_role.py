"""The listener half of a server: the port that browsers reach, and their WebSockets.

See `server.core_role`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from rr_py_ws import config
from rr_py_ws.adapters.http import server_context
from rr_py_ws.adapters.http.health import health_handler
from rr_py_ws.adapters.http.listener import HTTPListener
from rr_py_ws.adapters.http.places import Places
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.adapters.net.listen import expect_free
from rr_py_ws.adapters.ws import WebSocketHandler
from rr_py_ws.address import parse_host_port
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.ports import Authorizer, QuestionPool, Subscriptions
from rr_py_ws.metrics import MetricSource
from rr_py_ws.server.certificates import TLSFiles
from rr_py_ws.server.rlimits import FileLimits
from rr_py_ws.server.systemd import InheritedSockets

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.gateway import Gateway
    from rr_py_ws.server.pages import Pages


def client_addresses(loaded: config.Config) -> Iterator[tuple[str, str, str]]:
    """Yield name, address and key of every listener for clients."""
    section, http = loaded.settings, loaded.http
    if section.address:
        yield "http", section.address, "websockets.address"
    elif http is not None:
        if http.address:
            yield "http", http.address, "http.address"
        if http.ssl is not None and http.ssl.cert:
            yield "https", http.ssl.address, "http.ssl.address"


class ListenerRole:
    """The HTTP listener that browsers reach, and their WebSockets.

    Args:
        loaded: the configuration.
        https: certificate and key of `http.ssl`; None without TLS.
        shares: how many connections the descriptors are enough for.
        authorizer: decides who may connect and join.
        subscriptions: where clients join topics.
        backpressure: told of receivers that are behind.
        ready: whether the server can be used now, for `websockets.health_path`.
        pages: workers that answer what is for no path of ours; None: the answer is 404.
        places: what the other processes of the server have; None: there are no others.

    Attributes:
        http: the listener.
        websockets: the handler of `websockets.path`.
    """

    def __init__(
        self,
        loaded: config.Config,
        https: ssl.SSLContext | None,
        shares: FileLimits,
        authorizer: Authorizer,
        subscriptions: Subscriptions,
        backpressure: Backpressure,
        ready: Callable[[], bool],
        pages: QuestionPool | None,
        places: Places | None = None,
    ) -> None:
        self._config = loaded
        self._section = section = loaded.settings
        self._serves = loaded.websockets is not None
        self._https = https
        self._tls_port = 0
        self._http_section = http = loaded.http
        # Without the middleware nobody is trusted, as in RoadRunner.
        trusting = http is not None and "proxy_ip_parser" in http.middleware
        self.http = HTTPListener(
            section.limits,
            TrustedProxies(http.trusted_subnets if http and trusting else (), section.client_address_header),
            not_found=f"WebSockets are at {section.path}",
            max_connections=shares.clients,
            max_refusals=shares.refusals,
            places=places,
        )
        self.websockets = WebSocketHandler(
            section, authorizer, subscriptions, backpressure, self.http.release
        )
        self.http.handlers[section.path] = self.websockets.handle
        if section.health_path:
            self.http.handlers[section.health_path] = health_handler(ready)
            # A load balancer takes a 308 for the answer of a server that is not well.
            self.http.never_redirected.add(section.health_path)
        self._pages = self._build_pages(loaded, pages)

    def metric_sources(self) -> Iterator[MetricSource]:
        """Yield the parts that have something to tell."""
        yield self.http
        yield self.websockets
        if self._pages is not None:
            yield from self._pages.metric_sources()

    @property
    def serves_pages(self) -> bool:
        """Whether the section `http` has anything to do with requests for no path of ours."""
        return self._pages is not None and self._pages.has_middleware

    @property
    def gateway(self) -> Gateway | None:
        """What passes on requests that nobody here answers; None without `websockets.http.forward`."""
        return self._pages.gateway if self._pages is not None else None

    def reload(self, loaded: config.Config, max_connections: int) -> None:
        """Take everything that can change while clients are served: see `server.changes`."""
        section = loaded.settings
        self.http.reload(section.limits, max_connections)
        self.websockets.reload(section)
        if self._pages is not None:
            self._pages.reload(loaded)
        if self._tls_port and (tls := loaded.tls) is not None:
            self.http.redirect_port = self._tls_port if tls.redirect else 0

    def tls_files(self, loaded: config.Config) -> Iterator[TLSFiles]:
        """Yield the files by which connections of browsers are secured, when they are."""
        if self._https is None or (tls := loaded.tls) is None:
            return
        files = (tls.cert, tls.key, *([tls.root_ca] if tls.asks_for_certificates else []))
        yield TLSFiles("http.ssl", tls, files, partial(server_context, tls), self._use)

    def _use(self, https: ssl.SSLContext) -> None:
        """Secure connections from now on by another context, also those that are accepted later."""
        self._https = https
        self.http.use(https)

    async def expect_free_addresses(self, sockets: InheritedSockets) -> None:
        """Find out whether `start` will be able to listen, as long as nothing else is started.

        Raises:
            ConfigError: an address cannot be listened on.
        """
        for name, address, key in client_addresses(self._config):
            if not sockets.has(name, address):
                await expect_free(parse_host_port(address), key)

    async def start(self, sockets: InheritedSockets) -> None:
        """Listen.

        Raises:
            ConfigError: an address cannot be listened on.
        """
        section, http = self._section, self._http_section
        if not self._serves:
            return
        if section.address:
            await self._listen(sockets, "http", section.address, "websockets.address")
            return
        assert http is not None  # `prepare`
        # TLS first: the plain port must not serve anybody before it knows where to send them.
        if http.ssl is not None and self._https is not None:
            inherited = sockets.take("https", http.ssl.address)
            await self.http.listen(
                http.ssl.address, self._https, key="http.ssl.address", path=section.path, inherited=inherited
            )
            self._tls_port = self.http.addresses[0][1]
            if http.ssl.redirect:
                self.http.redirect_port = self._tls_port
        if http.address:
            await self._listen(sockets, "http", http.address, "http.address")

    def _build_pages(self, loaded: config.Config, workers: QuestionPool | None) -> Pages | None:
        section, http = loaded.settings, loaded.http
        has_files = http is not None and http.serves_files and not section.address
        if workers is None and not section.http.forward and not has_files:
            return None
        from rr_py_ws.server.pages import Pages

        return Pages(loaded, self.http, workers)

    async def _listen(self, sockets: InheritedSockets, name: str, address: str, key: str) -> None:
        inherited = sockets.take(name, address)
        await self.http.listen(address, key=key, path=self._section.path, inherited=inherited)
