"""The composition root: builds everything from the configuration, starts it, and ends it in order."""

from __future__ import annotations

import asyncio

from rr_py_ws import __version__, config, logs
from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.adapters.auth.php import PHPAuthorizer
from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.brokers.redis import RedisBroker
from rr_py_ws.adapters.http.tls import server_context
from rr_py_ws.adapters.ops import build_servers
from rr_py_ws.adapters.php import WorkerFactory, WorkerPool, run_on_init
from rr_py_ws.adapters.rpc import RPCLimits, RPCServer, Services, build_services
from rr_py_ws.adapters.ws import Settings, WebSocketServer
from rr_py_ws.address import parse_dsn
from rr_py_ws.core.backpressure import Brake
from rr_py_ws.core.limits import CommandLimits
from rr_py_ws.core.node import Node
from rr_py_ws.core.ports import Authorizer, Broker, Probe
from rr_py_ws.metrics import MetricSource
from rr_py_ws.server import rlimits
from rr_py_ws.server.shutdown import shut_down
from rr_py_ws.server.systemd import InheritedSockets

_TURNS = 4
"""Turns of the loop, each as full as may be, that fit into a send queue."""

log = logs.get_logger("app")
limited = logs.get_limited("broadcast")


class App:
    """All parts of one server process.

    Args:
        loaded: a configuration that `config.validate_for_serve` accepts.
        sockets: used instead of binding the addresses that they listen on; there must be no others.

    Raises:
        ConfigError: an address cannot be parsed, or a certificate cannot be used.
    """

    def __init__(self, loaded: config.Config, sockets: InheritedSockets | None = None) -> None:
        assert loaded.websockets is not None
        self._sockets = sockets or InheritedSockets([])
        self._config = loaded
        self._section = section = loaded.websockets
        loop = asyncio.get_running_loop()
        self._brake = Brake(loop.call_later, section.limits.send_queue // _TURNS, _report_hold)
        self._node = Node(
            {name: _broker(name, broker) for name, broker in loaded.served_brokers.items()},
            section.broker,
            loop.call_soon,
            self._brake,
        )
        self._pool = self._make_pool()
        self._shares = rlimits.share(section)
        self._websockets = WebSocketServer(
            _settings(loaded, self._shares),
            self._make_authorizer(),
            self._node,
        )
        self._serving = False
        probes = self._make_probes()
        services = build_services(
            publisher=self._node,
            pools={"websockets": self._pool},
            probes=probes,
            version=__version__,
            config=lambda: config.masked_json(loaded),
        )
        self._rpc: list[RPCServer] = []
        if loaded.rpc_listen is not None:
            self._rpc.append(_rpc_server(loaded, services, loaded.rpc_listen, self._shares.rpc))
            self._brake.publishers.append(self._rpc[0].hold)
        sources: list[MetricSource] = [self._websockets, self._node, services]
        if self._pool is not None:
            sources.append(self._pool)
        self._ops = build_servers(loaded, sources, probes)

    async def start(self) -> None:
        """Start everything: publishers before workers, which may publish while they boot; browsers last.

        Raises:
            RRWSError: something cannot start. Call `stop` even so.
        """
        if self._shares.warning:
            log.warning(self._shares.warning)
        for ops in self._ops:
            await ops.start(self._sockets.take(ops.key.split(".")[-2], ops.address))
        await self._node.start()
        for server in self._rpc:
            await server.start(self._sockets.take("rpc", server.address))
        for name in sorted(self._config.broadcast.keys() - self._config.served_brokers.keys()):
            driver = self._config.broadcast[name].driver
            log.warning("broker left out, this version has no such driver", section=name, driver=driver)
        if not self._rpc:
            log.warning("no rpc section in the configuration: nobody can publish")
        for address in [address for server in self._rpc for address in server.addresses]:
            if not parse_dsn(address).is_local:
                log.warning(
                    "RPC has no password: whoever reaches its address can publish to every topic",
                    address=address,
                )
        if self._pool is None:
            log.warning("authorize is none: everybody may connect and join every topic")
        else:
            if self._config.server is not None and self._config.server.on_init is not None:
                await run_on_init(self._config.server.on_init)
            await self._pool.start()
            if self._section.allow_commas:
                log.warning("allow_commas is on: who may join a and b may also join the topic a,b")
        await self._listen()
        self._sockets.expect_none_left()
        self._serving = True

    async def stop(self, grace: float) -> bool:
        """Stop publishers, then clients (1001), then workers; see `shut_down`.

        From the first moment `/ready` says no; it can be asked until the end.

        Returns:
            Whether that took no longer than `grace`.
        """
        self._serving = False
        self._sockets.close()
        return await shut_down(
            rpc=self._rpc,
            websockets=self._websockets,
            node=self._node,
            pool=self._pool,
            ops=self._ops,
            grace=grace,
            drain=self._section.drain.time,
        )

    async def _listen(self) -> None:
        section, http = self._section, self._config.http
        take = self._sockets.take
        if section.address:
            inherited = take("http", section.address)
            await self._websockets.listen(section.address, key="websockets.address", inherited=inherited)
            return
        assert http is not None  # validate_for_serve
        if http.address:
            await self._websockets.listen(http.address, inherited=take("http", http.address))
        if http.ssl is not None and http.ssl.cert:
            context, address = server_context(http.ssl), http.ssl.address
            await self._websockets.listen(
                address, context, key="http.ssl.address", inherited=take("https", address)
            )

    def _make_probes(self) -> dict[str, Probe]:
        """Say how each plugin is: `websockets`, `broadcast`, and `broadcast.<name>` for each broker."""
        brokers = {name: self._broker_probe([name]) for name in self._config.served_brokers}
        return {
            "websockets": Probe(
                healthy=lambda: self._pool is None or self._pool.alive,
                ready=lambda: self._serving and (self._pool is None or self._pool.ready),
            ),
            "broadcast": self._broker_probe(list(brokers)),
            **{f"broadcast.{name}": probe for name, probe in brokers.items()},
        }

    def _broker_probe(self, names: list[str]) -> Probe:
        def ready() -> bool:
            return self._serving and all(map(self._node.ready, names))

        return Probe(healthy=lambda: True, ready=ready)

    def _make_pool(self) -> WorkerPool | None:
        if self._section.authorize == "none":
            return None
        assert self._config.server is not None  # validate_for_serve
        factory = WorkerFactory(
            self._config.server,
            rpc_address=lambda: self._rpc[0].address if self._rpc else "",
            broadcast_path=self._section.path,
        )
        return WorkerPool(factory, self._section.pool)

    def _make_authorizer(self) -> Authorizer:
        if self._pool is None:
            return AllowAll()
        timeout, allow_commas = self._section.authorize_timeout, self._section.allow_commas
        return PHPAuthorizer(self._pool, timeout, allow_commas=allow_commas)


def _broker(name: str, section: config.BrokerSection) -> Broker:
    match section.driver:
        case "memory":
            return MemoryBroker()
        case "redis":
            return RedisBroker(name, config.redis_options(name, section), section.key)
        case driver:
            raise AssertionError(f"validate_for_serve let driver {driver} through")


def _report_hold(behind: int, receivers: int) -> None:
    limited.warning("publishers wait, many receivers are behind", behind=behind, receivers=receivers)


def _rpc_server(loaded: config.Config, services: Services, dsn: str, connections: int) -> RPCServer:
    assert loaded.websockets is not None
    own, limits = loaded.websockets.rpc, loaded.websockets.limits
    return RPCServer(
        services,
        dsn,
        key="websockets.rpc.listen" if own and own.listen else "rpc.listen",
        limits=RPCLimits(
            connections=connections,
            calls=limits.max_rpc_calls,
            payload=limits.rpc_payload,
            frame_timeout=limits.rpc_frame_timeout,
            unfinished=limits.rpc_memory,
        ),
        mode=own.mode if own else None,
    )


def _settings(loaded: config.Config, shares: rlimits.FileLimits) -> Settings:
    section, http = loaded.websockets, loaded.http
    assert section is not None
    trusting = http is not None and "proxy_ip_parser" in http.middleware
    return Settings(
        path=section.path,
        allowed_origin=section.allowed_origin,
        trusted_subnets=[str(network) for network in http.trusted_subnets] if http and trusting else (),
        authorize_timeout=section.authorize_timeout,
        max_connections=shares.clients,
        max_connections_per_address=section.limits.max_connections_per_address,
        max_refusals=shares.refusals,
        max_handshakes=section.limits.max_handshakes,
        handshakes_per_second=section.limits.handshakes_per_second,
        handshake_wait=section.limits.handshake_wait,
        max_head_size=section.limits.max_head_size,
        head_timeout=section.limits.head_timeout,
        max_message_size=section.limits.max_message_size,
        send_queue=section.limits.send_queue,
        send_queue_policy=section.limits.send_queue_policy,
        commands_per_second=section.limits.commands_per_second,
        max_commands_waiting=section.limits.max_commands_waiting,
        commands=CommandLimits(
            max_topics=section.limits.max_topics,
            max_topics_per_command=section.limits.max_topics_per_command,
            max_topic_length=section.limits.max_topic_length,
            max_joins_waiting=section.limits.max_joins_waiting,
        ),
        ping_interval=section.ping.interval,
        ping_timeout=section.ping.timeout,
        compression_level=section.compression.level if section.compression.enabled else 0,
        compression_min_size=section.compression.min_size,
    )
