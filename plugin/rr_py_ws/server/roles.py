"""The two halves of a server, each composed in one place.

The core half carries messages and asks PHP; the listener half has the sockets of browsers. The listener sees
of the core only ports: where topics are joined, an authorizer, backpressure. So the two can be composed in
one process, as `server.app` does, or in several that are linked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from rr_py_ws import __version__, config, logs
from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.adapters.auth.php import PHPAuthorizer
from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.brokers.redis import RedisBroker
from rr_py_ws.adapters.http.listener import HTTPListener
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.adapters.http.tls import server_context
from rr_py_ws.adapters.php import OutputBudget, WorkerFactory, WorkerPool, run_on_init
from rr_py_ws.adapters.rpc import RPCListener, build_registry
from rr_py_ws.adapters.ws import WebSocketHandler
from rr_py_ws.address import parse_dsn
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.hold import Topic
from rr_py_ws.core.node import Node
from rr_py_ws.core.ports import Authorizer, Broker, Probe, Subscriptions
from rr_py_ws.metrics import MetricSource
from rr_py_ws.server.rlimits import FileLimits
from rr_py_ws.server.systemd import InheritedSockets

_TURNS_PER_QUEUE = 4
"""Turns of the loop, each as full as may be, that fit into a send queue."""

log = logs.get_logger("app")
limited = logs.get_limited("broadcast")


class CoreRole:
    """Brokers and hubs, PHP workers, and the RPC listener that PHP publishes to.

    Args:
        loaded: a configuration that `config.validate_for_serve` accepts.
        max_rpc_connections: connections that the descriptors are enough for.

    Attributes:
        backpressure: told of receivers that are behind; holds and pauses publishers.
        node: where messages are published and topics joined.
        pool: PHP workers; None when nobody asks PHP.
        authorizer: decides who may connect and join.
        rpc: None when the file has no `rpc` section.
        probes: plugin name -> how the plugin is: `websockets`, `broadcast`, and `broadcast.<name>` of
            brokers.
        serving: whether everything is started and no stop has begun; the probes look at it.

    Raises:
        ConfigError: an address, or a file for TLS, cannot be used.
    """

    def __init__(self, loaded: config.Config, max_rpc_connections: int) -> None:
        assert loaded.websockets is not None
        self._config = loaded
        self._section = section = loaded.websockets
        loop = asyncio.get_running_loop()
        self.serving = False
        self.backpressure = Backpressure(
            loop.call_later, loop.time, section.limits.send_queue // _TURNS_PER_QUEUE, _report_hold
        )
        brokers = {name: _broker(name, broker) for name, broker in loaded.served_brokers.items()}
        self.node = Node(brokers, section.broker, loop.call_soon, self.backpressure)
        self._output_budget = OutputBudget(section.limits.worker_output_lines)
        self.pool, self.authorizer = self._build_authorizer()
        self.probes = self._build_probes()
        self._registry = build_registry(
            publisher=self.node,
            holds=self.node,
            pools={"websockets": self.pool},
            probes=self.probes,
            version=__version__,
            config=lambda: config.masked_json(loaded),
            limits=section.limits,
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
        if self.pool is not None:
            yield self.pool

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
            await self.rpc.start(sockets.take("rpc", self.rpc.address))
            for address in self.rpc.addresses:
                if not parse_dsn(address).is_local:
                    log.warning(
                        "RPC has no password: whoever reaches its address can publish to every topic",
                        address=address,
                    )
        if self.pool is None:
            log.warning("authorize is none: everybody may connect and join every topic")
            return
        if self._config.server is not None and self._config.server.on_init is not None:
            await run_on_init(self._config.server.on_init, self._output_budget)
        await self.pool.start()
        if self._section.allow_commas:
            log.warning("allow_commas is on: who may join a and b may also join the topic a,b")

    def _build_authorizer(self) -> tuple[WorkerPool | None, Authorizer]:
        section = self._section
        if section.authorize == "none":
            return None, AllowAll()
        assert self._config.server is not None  # validate_for_serve
        factory = WorkerFactory(
            self._config.server,
            rpc_address=lambda: self.rpc.address if self.rpc else "",
            broadcast_path=section.path,
            budget=self._output_budget,
            max_answer=section.limits.worker_answer,
        )
        pool = WorkerPool(factory, section.pool)
        return pool, PHPAuthorizer(pool, section.authorize_timeout, allow_commas=section.allow_commas)

    def _build_probes(self) -> dict[str, Probe]:
        def of_brokers(*names: str) -> Probe:
            return Probe(
                healthy=lambda: True,
                ready=lambda: self.serving and all(map(self.node.ready, names)),
            )

        return {
            "websockets": Probe(
                healthy=lambda: self.pool is None or self.pool.alive,
                ready=lambda: self.serving and (self.pool is None or self.pool.ready),
            ),
            "broadcast": of_brokers(*self.node.brokers),
            **{f"broadcast.{name}": of_brokers(name) for name in self.node.brokers},
        }


class ListenerRole:
    """The HTTP listener that browsers reach, and their WebSockets.

    Args:
        loaded: a configuration that `config.validate_for_serve` accepts.
        shares: how many connections the descriptors are enough for.
        authorizer: decides who may connect and join.
        subscriptions: where clients join topics.
        backpressure: told of receivers that are behind.
    """

    def __init__(
        self,
        loaded: config.Config,
        shares: FileLimits,
        authorizer: Authorizer,
        subscriptions: Subscriptions,
        backpressure: Backpressure,
    ) -> None:
        assert loaded.websockets is not None
        self._section = section = loaded.websockets
        self._http_section = http = loaded.http
        # Without the middleware nobody is trusted, as in RoadRunner.
        trusting = http is not None and "proxy_ip_parser" in http.middleware
        self.http = HTTPListener(
            section.limits,
            TrustedProxies(http.trusted_subnets if http and trusting else ()),
            not_found=f"WebSockets are at {section.path}",
            max_connections=shares.clients,
            max_refusals=shares.refusals,
        )
        self.websockets = WebSocketHandler(
            section, authorizer, subscriptions, backpressure, self.http.release
        )
        self.http.handlers[section.path] = self.websockets.handle

    def metric_sources(self) -> Sequence[MetricSource]:
        """Return the parts that have something to tell."""
        return self.http, self.websockets

    async def start(self, sockets: InheritedSockets) -> None:
        """Listen.

        Raises:
            ConfigError: an address cannot be listened on, or a certificate cannot be used.
        """
        section, http = self._section, self._http_section
        if section.address:
            await self._listen(sockets, "http", section.address, "websockets.address")
            return
        assert http is not None  # validate_for_serve
        if http.address:
            await self._listen(sockets, "http", http.address, "http.address")
        if http.ssl is not None and http.ssl.cert:
            context = server_context(http.ssl)
            inherited = sockets.take("https", http.ssl.address)
            await self.http.listen(
                http.ssl.address, context, key="http.ssl.address", path=section.path, inherited=inherited
            )

    async def _listen(self, sockets: InheritedSockets, name: str, address: str, key: str) -> None:
        inherited = sockets.take(name, address)
        await self.http.listen(address, key=key, path=self._section.path, inherited=inherited)


def _broker(name: str, section: config.BrokerSection) -> Broker:
    match section.driver:
        case "memory":
            return MemoryBroker()
        case "redis":
            return RedisBroker(name, config.redis_options(name, section), section.key)
        case driver:
            raise AssertionError(f"validate_for_serve let driver {driver} through")


def _report_hold(topic: Topic, behind: int, receivers: int) -> None:
    broker, name = topic
    text = "publishers wait, many receivers are behind"
    limited.warning(text, broker=broker, topic=name, behind=behind, receivers=receivers)
