"""The two halves of a server, each composed in one place.

The core half carries messages and asks PHP; the listener half has the sockets of browsers. The listener sees
of the core only ports: where topics are joined, an authorizer, backpressure. So the two can be composed in
one process, as `server.app` does, or in several that are linked.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from rr_py_ws import config, logs
from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.adapters.http import server_context
from rr_py_ws.adapters.http.health import health_handler
from rr_py_ws.adapters.http.listener import HTTPListener
from rr_py_ws.adapters.http.places import Places
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.adapters.net.listen import expect_free
from rr_py_ws.adapters.php import RR_VERSION
from rr_py_ws.adapters.rpc import CallTurns, RPCListener, build_registry
from rr_py_ws.adapters.ws import WebSocketHandler
from rr_py_ws.address import parse_dsn, parse_host_port
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.hold import Topic
from rr_py_ws.core.hub import Hub
from rr_py_ws.core.node import MakeHub, Node
from rr_py_ws.core.ports import Authorizer, Broker, Probe, QuestionPool, Subscriptions
from rr_py_ws.metrics import MetricSource
from rr_py_ws.server.certificates import TLSFiles
from rr_py_ws.server.rlimits import FileLimits
from rr_py_ws.server.systemd import InheritedSockets

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.gateway import Gateway
    from rr_py_ws.adapters.php.pool import WorkerPool
    from rr_py_ws.adapters.rpc.forward import Forward
    from rr_py_ws.server.pages import Pages
    from rr_py_ws.server.workers import Workers

TURNS_PER_QUEUE = 4
"""Turns of the loop, each as full as may be, that fit into a send queue."""

log = logs.get_logger("app")
limited = logs.get_limited("broadcast")


class CoreRole:
    """Brokers and hubs, PHP workers, and the RPC listener that PHP publishes to.

    Args:
        loaded: the configuration.
        brokers: one for each section of `broadcast` that is served.
        max_rpc_connections: connections that the descriptors are enough for.
        make_hub: see `Node`.

    Attributes:
        backpressure: told of receivers that are behind; holds and pauses publishers.
        node: where messages are published and topics joined.
        pool: PHP workers that decide who may connect and join; None when nobody asks PHP.
        pages: PHP workers that answer all other requests; None when nobody asks them. They are others: a slow
            page never delays a handshake.
        authorizer: decides who may connect and join.
        rpc: None when the file has no `rpc` section.
        forward: RoadRunner's RPC behind ours; None without `websockets.rpc.forward`.
        probes: plugin name -> how the plugin is: `websockets`, `broadcast`, and `broadcast.<name>` of
            brokers.
        serving: whether everything is started and no stop has begun; the probes look at it.

    Raises:
        ConfigError: an address cannot be used.
    """

    def __init__(
        self,
        loaded: config.Config,
        brokers: Mapping[str, Broker],
        max_rpc_connections: int,
        make_hub: MakeHub = Hub,
    ) -> None:
        self._config = loaded
        self._section = section = loaded.settings
        loop = asyncio.get_running_loop()
        self.serving = False
        self.backpressure = Backpressure(
            loop.call_later, loop.time, section.limits.send_queue // TURNS_PER_QUEUE, report_hold
        )
        self.node = Node(brokers, section.broker, loop.call_soon, self.backpressure, make_hub)
        self._workers = self._build_workers()
        self.pool = self._workers.deciding if self._workers else None
        self.pages = self._workers.pages if self._workers else None
        self.authorizer: Authorizer = (self._workers and self._workers.authorizer) or AllowAll()
        self.probes = self._build_probes()
        turns = CallTurns()
        target = loaded.rpc_forward
        self.forward = _build_forward(target, section.limits, turns) if target is not None else None
        self._registry = build_registry(
            publisher=self.node,
            holds=self.node,
            pools={"websockets": self.pool, **({"http": self.pages} if self.pages else {})},
            probes=self.probes,
            version=RR_VERSION,  # who asks compares it with releases of RoadRunner
            config=lambda: config.masked_json(loaded),
            limits=section.limits,
            neighbour=self.forward,
            turns=turns,
        )
        self.rpc: RPCListener | None = None
        if loaded.rpc_listen is not None:
            own = section.rpc
            self.rpc = RPCListener(
                self._registry,
                loaded.rpc_listen,
                key="websockets.rpc.listen" if own and own.listen else "rpc.listen",
                limits=section.limits.model_copy(update={"max_rpc_connections": max_rpc_connections}),
                mode=own.mode if own else None,
            )
            self.backpressure.publishers.append(self.rpc.pause)

    def metric_sources(self) -> Iterator[MetricSource]:
        """Yield the parts that have something to tell."""
        yield self.node
        yield self._registry
        if self.rpc is not None:
            yield self.rpc
        if self.forward is not None:
            yield self.forward
        if self._workers is not None:
            yield from self._workers.metric_sources()

    def reload(self, section: config.WebSockets, max_rpc_connections: int) -> None:
        """Take the limits of publishers and workers."""
        # Clients that are there keep their send queues, so what is to fit into those may only become less.
        turn = section.limits.send_queue // TURNS_PER_QUEUE
        self.backpressure.turn = min(self.backpressure.turn, turn)
        limits = section.limits.model_copy(update={"max_rpc_connections": max_rpc_connections})
        if self.rpc is not None:
            self.rpc.reload(limits)
        if self.forward is not None:
            self.forward.limits = limits
        if self._workers is not None:
            self._workers.reload(section)

    @property
    def pools(self) -> dict[str, WorkerPool]:
        """Plugin name -> its PHP workers."""
        return self._workers.pools if self._workers else {}

    def ready(self) -> bool:
        """Whether clients can be served now: by workers and by the broker of `websockets.broker`."""
        return all(self.probes[name].ready() for name in ("websockets", f"broadcast.{self._section.broker}"))

    async def start(self, sockets: InheritedSockets) -> None:
        """Start brokers, then the RPC listener, then workers, which may publish while they boot.

        Raises:
            RRWSError: something cannot start.
        """
        await self.node.start()
        for name in sorted(self._config.broadcast.keys() - self._config.served_brokers.keys()):
            driver = self._config.broadcast[name].driver
            log.warning("broker left out, this version has no such driver", section=name, driver=driver)
        if self.rpc is None:
            log.warning("no rpc section in the configuration: nobody can publish")
        else:
            if self.forward is not None:
                await self.forward.start()
            await self.rpc.start(sockets.take("rpc", self.rpc.address))
            for address in self.rpc.addresses:
                if not parse_dsn(address).is_local:
                    log.warning(
                        "RPC has no password: whoever reaches its address can publish to every topic",
                        address=address,
                    )
        if self._config.websockets is None:
            log.warning("no websockets section in the configuration: messages only go to other nodes")
            return
        if self.pool is None:
            log.warning("authorize is none: everybody may connect and join every topic")
        if self._workers is not None:
            await self._workers.start()
        if self.pool is not None and self._section.allow_commas:
            log.warning("allow_commas is on: who may join a and b may also join the topic a,b")

    def _build_workers(self) -> Workers | None:
        if not self._config.starts_workers:
            return None
        from rr_py_ws.server.workers import Workers

        return Workers(self._config, lambda: self.rpc.address if self.rpc else "")

    def _build_probes(self) -> dict[str, Probe]:
        def of_brokers(*names: str) -> Probe:
            return Probe(
                healthy=lambda: True,
                ready=lambda: self.serving and all(map(self.node.ready, names)),
            )

        clients = Probe(
            healthy=lambda: self.pool is None or self.pool.alive,
            ready=lambda: self.serving and (self.pool is None or self.pool.ready),
        )
        pages = Probe(
            healthy=lambda: self.pages is not None and self.pages.alive,
            ready=lambda: self.serving and self.pages is not None and self.pages.ready,
        )
        return {
            **({"websockets": clients} if self._config.websockets else {}),
            **({"http": pages} if self.pages is not None else {}),
            "broadcast": of_brokers(*self.node.brokers),
            **{f"broadcast.{name}": of_brokers(name) for name in self.node.brokers},
        }


def _build_forward(target: str, limits: config.Limits, turns: CallTurns) -> Forward:
    from rr_py_ws.adapters.rpc.forward import Forward

    return Forward(target, limits, turns)


def tls_files(loaded: config.Config, brokers: Mapping[str, Broker]) -> Iterator[TLSFiles]:
    """Yield the files by which connections to Redis are secured."""
    for name, broker in brokers.items():
        section = loaded.broadcast[name]
        if section.driver != "redis":
            continue
        from rr_py_ws.adapters.brokers.redis import RedisBroker, tls_context

        assert isinstance(broker, RedisBroker)
        tls, key = config.redis_options(name, section).tls, f"{section.key}.tls"
        if tls is not None and (files := tuple(filter(None, (tls.ca, tls.cert, tls.key)))):
            yield TLSFiles(key, tls, files, partial(tls_context, tls, key), broker.use)


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
        yield TLSFiles("http.ssl", tls, files, partial(server_context, tls), self.http.use)

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


def page_workers(loaded: config.Config) -> int:
    """Return how many workers answer requests for pages."""
    return loaded.http.pool.num_workers if loaded.http and loaded.serves_pages else 0


def report_hold(topic: Topic, behind: int, receivers: int) -> None:
    """Log that publishers wait."""
    broker, name = topic
    text = "publishers wait, many receivers are behind"
    limited.warning(text, broker=broker, topic=name, behind=behind, receivers=receivers)
